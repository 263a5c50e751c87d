"""Changes training images at random, as albumentations' transforms say, and addressably."""

from __future__ import annotations

import os
import random
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hftune.data.dataset import EpochIndex
from hftune.data.image.presets import PRESETS
from hftune.errors import BadInput
from hftune.seed import generator, key

if TYPE_CHECKING:
    import albumentations


def policy(name: str, image_size: int, small: bool) -> albumentations.Compose:
    """Returns a preset: a transform from uint8 (H, W, 3) of any size to uint8 (S, S, 3).

    Args:
        name: One of `PRESETS`.
        image_size: S, the side of the result in pixels.
        small: Whether the images are about as small as the square, see `hftune.data.image.load.is_small`.

    Raises:
        BadInput: There is no such preset, or albumentations is not installed.
    """
    if name not in PRESETS:
        raise BadInput(f"--augmentation {name}: expected one of {', '.join(PRESETS)}")
    A = _albumentations()
    return A.Compose(PRESETS[name](A, image_size, small))


def describe(transform: albumentations.Compose) -> str:
    """Returns the names of a transform's steps, in their order."""
    return ", ".join(getattr(step, "name", None) or type(step).__name__ for step in transform.transforms)


class Augmenter:
    """Makes a training view of an image; where the row's visit is known, always the same one.

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

    def view(self, image: np.ndarray, row: int) -> np.ndarray:
        """Returns a random view of an image.

        Args:
            image: uint8 of shape (H, W, 3); it is not changed.
            row: An `EpochIndex`, whose view is a pure function of the seed, its epoch and row; or a plain
                number, whose randomness comes from torch's global generator. In workers of a DataLoader
                that is seeded again in every epoch, so the views are new there too.

        Returns:
            uint8 of shape (S, S, 3).

        Raises:
            BadInput: The transform returns something else.
        """
        if isinstance(row, EpochIndex):
            address: tuple[int | str, ...] = ("augment", self.seed, row.epoch, int(row))
        else:
            address = ("augment", self.seed, "draw", int(torch.randint(2**63 - 1, ())), row)
        # One source for the whole tree of transforms: `set_random_seed` gives each its own copy of the
        # same one, and then all that happen with the same probability happen together.
        self.transform.set_random_state(generator(*address), random.Random(key(*address)))
        view = self.transform(image=image)["image"]
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
