"""Changes training pictures at random, as albumentations' policies say, and addressably.

Two kinds of data need two kinds of policy. A photo is larger than the square that the model sees, so a
random part of it is cut out and resized (Szegedy et al. 2015, "Going deeper with convolutions").
Pictures that are about as small as the square, such as CIFAR's, have nothing to spare: they are padded
by their mirror image and shifted (He et al. 2016, section 4.2). No policy turns a picture upside down,
which would change what many things are. All mirror left and right except "none": text and digits want
"none" or a policy of the recipe's own.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps

from hftune.data.dataset import Visit
from hftune.errors import BadInput
from hftune.seed import generator, key

if TYPE_CHECKING:
    import albumentations

PRESETS = ("none", "light", "standard", "strong", "randaugment")
GREY = (124, 116, 104)  # ImageNet's mean: about zero once it is normalised
LONGEST = 4  # sides; more of a strip is cut off, since resizing its short side would fill the memory


def policy(name: str, image_size: int, small: bool) -> albumentations.Compose:
    """Returns a preset: a transform from uint8 (H, W, 3) of any size to uint8 (S, S, 3).

    Args:
        name: One of `PRESETS`, from gentle to rough. "none" changes nothing at random;
            "randaugment" is Cubuk et al. 2020, two different operations of thirteen at about a third of
            their range, after the crop and flip of "standard".
        image_size: S, the side of the result in pixels.
        small: Whether the pictures are about as small as the square, see `hftune.data.image.load.is_small`.

    Raises:
        BadInput: There is no such preset, or albumentations is not installed.
    """
    if name not in PRESETS:
        raise BadInput(f"--augmentation {name}: expected one of {', '.join(PRESETS)}")
    A = _albumentations()
    steps = (_small_steps if small else _photo_steps)(A, name, image_size)
    return A.Compose(steps)


def describe(name: str, small: bool) -> str:
    """Says which part of a picture a preset shows."""
    if name == "none" or (small and name == "light"):
        return "the square in the middle"
    if small:
        return "small images: padded by their mirror image and shifted"
    return {
        "light": "random crops of the resized image",
        "strong": "random crops of 20 to 100 % of the image",
    }.get(name, "random crops of 35 to 100 % of the image")


class Augmenter:
    """Makes a training view of a picture; where the row's visit is known, always the same one.

    Args:
        transform: An `albumentations.Compose` from uint8 (H, W, 3) to uint8 (S, S, 3).
        seed: The run's.

    Raises:
        BadInput: `transform` is something else, or albumentations is not installed.
    """

    def __init__(self, transform: albumentations.Compose, seed: int):
        if not isinstance(transform, _albumentations().Compose):
            kind = type(transform).__name__
            raise BadInput(f"augmentation: a {kind}, expected an albumentations.Compose, which can be seeded")
        self.transform = transform
        self.seed = seed

    def view(self, picture: np.ndarray, row: int) -> np.ndarray:
        """Returns a random view of a picture.

        Args:
            picture: uint8 of shape (H, W, 3); it is not changed.
            row: A `Visit`, whose view is a pure function of the seed, its epoch and row; or a plain number,
                whose randomness comes from torch's global generator. In workers of a DataLoader that
                is seeded anew in every epoch, so the views are new there too.

        Returns:
            uint8 of shape (S, S, 3).

        Raises:
            BadInput: The transform returns something else.
        """
        if isinstance(row, Visit):
            address: tuple[int | str, ...] = ("augment", self.seed, row.epoch, int(row))
        else:
            address = ("augment", self.seed, "draw", int(torch.randint(2**63 - 1, ())), row)
        # One source for the whole tree of transforms: `set_random_seed` gives each its own copy of the
        # same one, and then all that happen with the same probability happen together.
        self.transform.set_random_state(generator(*address), random.Random(key(*address)))
        view = self.transform(image=picture)["image"]
        _check_view(view)
        return view


def _check_view(view: Any) -> None:
    shape = tuple(view.shape)
    square = len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3
    if not isinstance(view, np.ndarray) or view.dtype != np.uint8 or not square:
        kind = f"{type(view).__name__} {view.dtype} {shape}"
        raise BadInput(
            f"augmentation: returns {kind}, expected uint8 (S, S, 3): end with a crop or resize to a square, "
            "without Normalize or ToTensorV2 (batches are normalised later)"
        )


def _albumentations() -> ModuleType:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version
    try:
        import albumentations
        import cv2
    except ImportError as problem:
        raise BadInput(
            f"--augmentation needs albumentations ({problem}): pip install 'hftune[image]'"
        ) from None
    cv2.setNumThreads(0)  # a worker of the DataLoader is one of many
    return albumentations


def _photo_steps(A: ModuleType, name: str, size: int) -> list:
    resized_crop = partial(A.RandomResizedCrop, (size, size), area_for_downscale="image")
    flip = A.HorizontalFlip(p=0.5)
    if name == "none":
        return [_square(A, size)]
    if name == "light":
        strip = A.Lambda(image=shorten, name="shorten")
        resize = A.SmallestMaxSize(round(size * 8 / 7), area_for_downscale="image")  # 256 for 224
        return [strip, resize, A.RandomCrop(size, size), flip]
    if name == "standard":
        return [resized_crop(scale=(0.35, 1.0)), flip, _jitter(A, 0.2, p=0.8)]
    if name == "randaugment":
        return [resized_crop(scale=(0.35, 1.0)), flip, _two_of_many(A)]
    degrade = A.OneOf([A.GaussianBlur(sigma_limit=(0.3, 1.5)), A.GaussNoise(std_range=(0.02, 0.08))], p=0.25)
    rotate = _affine(A, rotate=(-15, 15), p=0.5)
    return [resized_crop(scale=(0.2, 1.0)), flip, rotate, _jitter(A, 0.4, p=0.8), degrade, _erase(A)]


def _small_steps(A: ModuleType, name: str, size: int) -> list:
    import cv2

    square = _square(A, size)
    flip = A.HorizontalFlip(p=0.5)
    pad = A.Pad(size // 8, border_mode=cv2.BORDER_REFLECT_101)
    shift = [square, pad, A.RandomCrop(size, size), flip]
    if name == "none":
        return [square]
    if name == "light":
        return [square, flip]
    if name == "standard":
        return shift
    if name == "randaugment":
        return [*shift, _two_of_many(A)]
    rotate = _affine(A, rotate=(-15, 15), scale=(0.85, 1.15), p=0.5)
    return [*shift, rotate, _jitter(A, 0.3, p=0.8), _erase(A)]


def _square(A: ModuleType, size: int) -> Any:
    return A.Lambda(image=partial(central_square, size=size), name="central_square")


def _jitter(A: ModuleType, range_: float, p: float) -> Any:
    """Changes brightness, contrast and saturation by up to a share; hue by little: red is not green."""
    factors = (1 - range_, 1 + range_)
    return A.ColorJitter(brightness=factors, contrast=factors, saturation=factors, hue=range_ / 10, p=p)


def _affine(A: ModuleType, **arguments: Any) -> Any:
    import cv2

    return A.Affine(border_mode=cv2.BORDER_REFLECT_101, **arguments)


def _erase(A: ModuleType) -> Any:
    """Hides a box, as Cutout (DeVries and Taylor 2017) and random erasing (Zhong et al. 2020) do."""
    sides = (0.2, 0.45)
    return A.CoarseDropout((1, 1), hole_height_range=sides, hole_width_range=sides, fill=GREY, p=0.5)


def _two_of_many(A: ModuleType) -> Any:
    """Draws two different operations of RandAugment, in random order, each at about a third of its range."""
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


def a_third_of(picture: np.ndarray, operation: Callable[[Image.Image], Image.Image], **_: Any) -> np.ndarray:
    """Goes a third of the way to what an operation of Pillow makes of uint8 (H, W, 3)."""
    image = Image.fromarray(picture)
    return np.array(Image.blend(image, operation(image), 1 / 3))


def central_square(picture: np.ndarray, size: int, **_: Any) -> np.ndarray:
    """Returns the square in the middle of uint8 (H, W, 3), resized to (S, S, 3): as scoring sees it."""
    import cv2

    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = picture[top : top + side, left : left + side]
    if side == size:
        return square.copy()
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def shorten(picture: np.ndarray, **_: Any) -> np.ndarray:
    """Cuts a strip's ends off, so that no side is longer than `LONGEST` times the other one."""
    most = LONGEST * min(picture.shape[:2])
    top, left = (max(0, length - most) // 2 for length in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + most, left : left + most])
