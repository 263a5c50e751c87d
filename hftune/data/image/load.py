"""Data of images from settings: splits, processor, augmented views, and a baseline."""

import logging
from typing import Any

import numpy as np

from hftune.data.dataset import Data
from hftune.data.image.augment import Augmenter, describe, policy
from hftune.data.image.baseline import ImageBaseline
from hftune.data.image.images import free_memory
from hftune.data.image.processor import load_processor
from hftune.data.image.rows import ImageCollator, ImageRows, processed
from hftune.data.image.splits import load_image_splits
from hftune.data.splits import log_splits
from hftune.errors import BadInput
from hftune.runtime.device import computes_on_cpu
from hftune.settings.image import ImageSettings
from hftune.tasks.base import Task

log = logging.getLogger(__name__)

TINY = 64  # pixels: an image of such a side has none to spare for a crop


def load_images(settings: ImageSettings, augment: Any = None, task: Task | None = None) -> Data:
    """Loads, checks and splits a set of images; training images get a new random view every epoch.

    Args:
        settings: Where the images are, and how they are seen.
        augment: An albumentations `Compose` of the recipe's own that ends in images of one size; None
            for the policy that `--augmentation` names.
        task: What is asked of a row, where it is the recipe's own; None for the one that `--task` names.

    Raises:
        BadInput: If the data or the processor cannot be used; the message names file and row.
    """
    splits, images, odd = load_image_splits(settings, task)
    sizes = {name: len(part.rows) for name, part in splits.parts.items()}
    log_splits(splits.origin, sizes, splits.task, splits.warnings)
    _refuse_too_large(settings)
    prepared = load_processor(settings)
    small = is_small(images["train"].sizes, prepared.image_size)
    chosen = policy(settings.augmentation, prepared.image_size, small) if augment is None else augment
    views: dict[str, Any] = {name: processed(prepared.processor) for name in splits.parts}
    augmenter = Augmenter(chosen, settings.seed)
    views["train"] = augmenter.view
    log.info(
        "images: %s; training views of %d x %d pixels, augmentation %s: %s",
        describe_sizes(images["train"].sizes),
        prepared.image_size,
        prepared.image_size,
        settings.augmentation if augment is None else "of the recipe's own",
        describe(augmenter.transform),
    )
    rows = {name: ImageRows(images[name], part.targets, views[name]) for name, part in splits.parts.items()}
    baseline = None
    if "test" in rows:
        baseline = ImageBaseline(images["train"], images["test"], images["validation"])
    return Data(
        train=rows["train"],
        validation=rows["validation"],
        test=rows.get("test"),
        collate=ImageCollator(prepared.mean, prepared.std),
        task=splits.task,
        processor=prepared,
        fingerprint=splits.fingerprint,
        origin=splits.origin,
        dataset_commit=splits.commit or None,
        facts={**{f"{name}_samples": size for name, size in sizes.items()}, **odd},
        baseline=baseline,
        image=images["test"].__getitem__ if "test" in rows else None,
        places=images["test"].places() if "test" in rows else None,
    )


def is_small(sizes: np.ndarray, image_size: int) -> bool:
    """Returns whether images are about as large as the training square, so that shifts replace crops.

    None is larger than 1.25 squares, and they are tiny (64 pixels) or nearly all squares of one size, as in
    the sets that were made for a network's input. Photos of 192 x 256 pixels have a margin to crop.

    Args:
        sizes: Height and width of each image in pixels, int (N, 2).
        image_size: Side of the square.
    """
    alike = float(np.mean(sizes == np.median(sizes)))  # of heights and widths
    return bool(sizes.max() <= 1.25 * image_size and (sizes.max() <= TINY or alike >= 0.95))


def _refuse_too_large(settings: ImageSettings) -> None:
    """Raises `BadInput` for squares of which not even one batch could fit into the memory."""
    free = free_memory()
    # A pixel as uint8 and float32; on a CPU also what a small network makes of it, at the very least.
    bytes_per_pixel = 32 if computes_on_cpu() else 15
    sides = {
        "image_size": (settings.image_size, "per_device_train_batch_size"),
        "eval_image_size": (settings.eval_image_size, "per_device_eval_batch_size"),
    }
    for flag, (side, rows) in sides.items():
        needed = getattr(settings, rows) * (side or 0) ** 2 * bytes_per_pixel
        if free is not None and needed > free:
            raise BadInput(
                f"--{flag} {side}: a batch of {getattr(settings, rows)} needs at least "
                f"{needed / 2**30:,.0f} GiB, and {free / 2**30:,.0f} GiB of memory are free; lower it, "
                f"or --{rows}"
            )


def describe_sizes(sizes: np.ndarray) -> str:
    """Says how large images are: "32 x 32", or the range of widths and heights."""
    (least_height, least_width), (height, width) = sizes.min(0), sizes.max(0)
    if (least_height, least_width) == (height, width):
        return f"{width} x {height} pixels"
    return f"{least_width} to {width} pixels wide, {least_height} to {height} high"
