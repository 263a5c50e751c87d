"""What `--augmentation NAME` does to training images: a preset is a function and its line in `PRESETS`.

Two kinds of data need two kinds of changes. A photo is larger than the square that the model sees, so a
random part of it is cut out and resized (Szegedy et al. 2015, "Going deeper with convolutions"). Images that
are about as small as the square, such as CIFAR's, have nothing to spare: they are padded by their mirror
image and shifted (He et al. 2016, section 4.2). No preset turns an image upside down, which would change what
many things are. All mirror left and right except "none": text and digits want "none" or a recipe's own.

The settings read the names for `--help`, so nothing heavy is imported before a preset is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

GREY = (124, 116, 104)  # ImageNet's mean: about zero once it is normalised
LONGEST = 4  # sides; more of a strip is cut off, since resizing its short side would fill the memory


def none(A: ModuleType, size: int, small: bool) -> list:
    """Changes nothing at random."""
    return [_square(A, size)]


def light(A: ModuleType, size: int, small: bool) -> list:
    """Mirrors; photos are cut at random, near their full size."""
    flip = A.HorizontalFlip(p=0.5)
    if small:
        return [_square(A, size), flip]
    strip = A.Lambda(image=shorten, name="shorten")
    resize = A.SmallestMaxSize(round(size * 8 / 7), area_for_downscale="image")  # 256 for 224
    return [strip, resize, A.RandomCrop(size, size), flip]


def standard(A: ModuleType, size: int, small: bool) -> list:
    """Crops 35 to 100 % of a photo and changes its colours; shifts a small image."""
    return _shift(A, size) if small else [*_crop(A, size, 0.35), _jitter(A, 0.2)]


def strong(A: ModuleType, size: int, small: bool) -> list:
    """Also rotates and hides boxes, with stronger colours; photos are cropped more, and blurred or noisy."""
    if small:
        rotate = _affine(A, rotate=(-15, 15), scale=(0.85, 1.15), p=0.5)
        return [*_shift(A, size), rotate, _jitter(A, 0.3), _erase(A)]
    degrade = A.OneOf([A.GaussianBlur(sigma_limit=(0.3, 1.5)), A.GaussNoise(std_range=(0.02, 0.08))], p=0.25)
    rotate = _affine(A, rotate=(-15, 15), p=0.5)
    return [*_crop(A, size, 0.2), rotate, _jitter(A, 0.4), degrade, _erase(A)]


def randaugment(A: ModuleType, size: int, small: bool) -> list:
    """Applies two of thirteen operations, drawn for each view (Cubuk et al. 2020), after a crop or shift."""
    return [*(_shift(A, size) if small else _crop(A, size, 0.35)), _two_of_many(A)]


# From gentle to rough. Each makes a list of albumentations' transforms, from uint8 (H, W, 3) of any size to
# uint8 (S, S, 3): of the module `albumentations`, S, and whether images are about as small as the square.
PRESETS: dict[str, Callable[[ModuleType, int, bool], list]] = {
    "none": none,
    "light": light,
    "standard": standard,
    "strong": strong,
    "randaugment": randaugment,
}


def _crop(A: ModuleType, size: int, least: float) -> list:
    crop = A.RandomResizedCrop((size, size), scale=(least, 1.0), area_for_downscale="image")
    return [crop, A.HorizontalFlip(p=0.5)]


def _shift(A: ModuleType, size: int) -> list:
    import cv2

    pad = A.Pad(size // 8, border_mode=cv2.BORDER_REFLECT_101)
    return [_square(A, size), pad, A.RandomCrop(size, size), A.HorizontalFlip(p=0.5)]


def _square(A: ModuleType, size: int) -> Any:
    return A.Lambda(image=partial(central_square, size=size), name="central_square")


def _jitter(A: ModuleType, range_: float) -> Any:
    """Changes brightness, contrast and saturation by up to a share; hue by little: red is not green."""
    factors = (1 - range_, 1 + range_)
    return A.ColorJitter(brightness=factors, contrast=factors, saturation=factors, hue=range_ / 10, p=0.8)


def _affine(A: ModuleType, **arguments: Any) -> Any:
    import cv2

    return A.Affine(border_mode=cv2.BORDER_REFLECT_101, **arguments)


def _erase(A: ModuleType) -> Any:
    """Hides a box, as Cutout (DeVries and Taylor 2017) and random erasing (Zhong et al. 2020) do."""
    sides = (0.2, 0.45)
    return A.CoarseDropout((1, 1), hole_height_range=sides, hole_width_range=sides, fill=GREY, p=0.5)


def _two_of_many(A: ModuleType) -> Any:
    """Draws two different operations of RandAugment, in random order, each at about a third of its range."""
    from PIL import ImageOps

    off = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    change = (0.7, 1.3)
    whole = (ImageOps.autocontrast, ImageOps.equalize, ImageOps.solarize)  # these have no strength
    operations = [
        A.NoOp(p=1),
        *(A.Lambda(image=partial(a_third_of, operation=of), name=of.__name__, p=1) for of in whole),
        _affine(A, rotate=(-12, 12), p=1),
        _affine(A, shear={"x": (-8, 8), "y": (0, 0)}, p=1),
        _affine(A, shear={"x": (0, 0), "y": (-8, 8)}, p=1),
        _affine(A, translate_percent={"x": (-0.12, 0.12), "y": (0, 0)}, p=1),
        _affine(A, translate_percent={"x": (0, 0), "y": (-0.12, 0.12)}, p=1),
        A.ColorJitter(**(off | {"brightness": change, "contrast": change}), p=1),
        A.ColorJitter(**(off | {"saturation": change}), p=1),
        A.Posterize((6, 7), p=1),
        A.Sharpen(alpha=(0.01, 0.03), lightness=(1, 1), p=1),  # 1/13 of the factor that PIL's would have
    ]
    return A.RandomOrder(operations, n=2)


def a_third_of(image: np.ndarray, operation: Callable[[Image.Image], Image.Image], **_: Any) -> np.ndarray:
    """Goes a third of the way to what an operation of Pillow makes of uint8 (H, W, 3)."""
    import numpy as np
    from PIL import Image

    whole = Image.fromarray(image)
    return np.array(Image.blend(whole, operation(whole), 1 / 3))


def central_square(image: np.ndarray, size: int, **_: Any) -> np.ndarray:
    """Returns the square in the middle of uint8 (H, W, 3), resized to (S, S, 3): as scoring sees it."""
    import cv2

    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    if side == size:
        return square.copy()
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def shorten(image: np.ndarray, **_: Any) -> np.ndarray:
    """Cuts a strip's ends off, so that no side is longer than `LONGEST` times the other one."""
    most = LONGEST * min(image.shape[:2])
    top, left = (max(0, length - most) // 2 for length in image.shape[:2])
    return image[top : top + most, left : left + most].copy()
