"""Hands rows of images to a DataLoader, and makes batches of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from hftune.errors import BadInput

View = Callable[[np.ndarray, int], "np.ndarray | torch.Tensor"]


class Images(Protocol):
    """Images by their row: a list, an array (N, H, W, 3), or files that are decoded when asked for."""

    def __len__(self) -> int:
        """Returns N."""

    def __getitem__(self, row: int, /) -> np.ndarray:
        """Returns uint8 of shape (H, W, 3)."""


class ImageRows(Dataset):
    """Rows of one split, as a torch `DataLoader` or transformers' `Trainer` takes them.

    Args:
        images: uint8 of shape (H, W, 3) each.
        targets: What the task asks for, rows first, such as class ids, int64 (N,).
        view: What the model sees of an image; called with the image and its row, which is a
            `EpochIndex` where the training loop asks.

    Attributes:
        lengths: Ones, int64 (N,): all images take the same room in a batch.
        weights: Ones, int64 (N,).
    """

    def __init__(self, images: Images, targets: np.ndarray, view: View):
        self.images = images
        self.targets = targets
        self.view = view
        self.lengths = self.weights = np.ones(len(targets), np.int64)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"pixel_values": self.view(self.images[row], row), "labels": self.targets[row].tolist()}

    def seen_as(self, others: ImageRows) -> ImageRows:
        """Returns these rows with the view of others, such as training rows without random changes."""
        return ImageRows(self.images, self.targets, others.view)


def processed(processor: Any) -> View:
    """Returns the view that scoring takes, which is what `pipeline("image-classification")` sees.

    Args:
        processor: An image processor of transformers, which is saved with the model.

    Returns:
        A function from uint8 (H, W, 3) and a row's number to float32 (3, S, S).
    """
    return partial(_process, processor)


def _process(processor: Any, image: np.ndarray, row: int) -> torch.Tensor:
    inputs = processor(images=Image.fromarray(image), return_tensors="pt")  # as the pipeline calls it
    return inputs["pixel_values"][0]


class ImageCollator:
    """Makes a batch of rows; uint8 views are normalised here, since it is cheaper for all at once.

    Args:
        mean: Of red, green and blue on a scale of 0 to 1.
        std: Likewise.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.offset = torch.tensor(mean, dtype=torch.float32) * 255
        self.scale = 1 / (torch.tensor(std, dtype=torch.float32) * 255)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Stacks rows.

        Args:
            rows: "pixel_values" is uint8 (S, S, 3), or float32 (3, S, S) that is normalised already;
                "labels" is the row's target.

        Returns:
            "pixel_values" float32 (B, 3, S, S) in channels_last memory, and "labels", such as
            class ids, int64 (B,).

        Raises:
            BadInput: Views of one batch differ in size.
        """
        views = [row["pixel_values"] for row in rows]
        shapes = sorted({tuple(view.shape) for view in views})
        if len(shapes) > 1:
            raise BadInput(
                f"pixel_values: shapes {shapes[0]} and {shapes[-1]} in one batch; end the augmentation "
                "with a crop or a resize to one size"
            )
        stacked = (
            torch.from_numpy(np.stack(views)) if isinstance(views[0], np.ndarray) else torch.stack(views)
        )
        labels = torch.tensor([row["labels"] for row in rows])
        return {"pixel_values": self._normalised(stacked), "labels": labels}

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.dtype == torch.uint8:  # (B, S, S, 3): permuted, this is channels_last already
            return pixels.float().sub_(self.offset).mul_(self.scale).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=torch.channels_last)
