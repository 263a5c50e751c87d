"""Tiles, striped or chequered: images from a function, seen in random crops and turns.

    accelerate launch tiles.py
    accelerate launch tiles.py --augmentation none

Data    96 tiles to train, 24 to watch, 24 to test
"""

import hashlib

import numpy as np

from hftune import Data, ImageSettings, launch
from hftune.recipes import cifar10

ROWS = {"train": 96, "validation": 24, "test": 24}
LABELS = ("striped", "chequered")
SIDE = 20  # pixels


def draw(row: int) -> np.ndarray:
    """Draws a tile, uint8 (SIDE, SIDE, 3): striped for even rows, chequered for odd ones."""
    rng = np.random.default_rng(row)
    across, down = np.meshgrid(*[np.arange(SIDE) // rng.integers(2, 5)] * 2)
    pattern = (across + down * (row % 2)) % 2  # (SIDE, SIDE)
    colours = rng.integers([[0] * 3, [140] * 3], [[100] * 3, [240] * 3])  # a dark one, a light one
    noisy = colours[pattern] + rng.normal(0, 12, (SIDE, SIDE, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def load_data(settings: ImageSettings) -> Data:
    """Drawn tiles -> random views for training, the saved processor's for scoring."""
    from hftune.data.image.augment import Augmenter, policy
    from hftune.data.image.processor import load_processor
    from hftune.data.image.rows import ImageCollator, ImageRows, processed
    from hftune.tasks.single_label import SingleLabel

    prepared = load_processor(settings)
    augment = policy(settings.augmentation, prepared.image_size, small=True)
    sets, digest, first = {}, hashlib.sha256(), 0
    for name, count in ROWS.items():
        images = np.stack([draw(row) for row in range(first, first + count)])
        digest.update(images.tobytes())
        view = Augmenter(augment, settings.seed).view if name == "train" else processed(prepared.processor)
        sets[name] = ImageRows(images, np.arange(count) % 2, view)
        first += count
    return Data(
        **sets,
        collate=ImageCollator(prepared.mean, prepared.std),
        task=SingleLabel(LABELS),
        processor=prepared,
        fingerprint=digest.hexdigest(),
        origin="tiles, drawn",
        facts={f"{name}_samples": count for name, count in ROWS.items()},
        image=sets["test"].images.__getitem__,
    )


recipe = cifar10.recipe.replace(
    name="tiles",
    description=__doc__,
    load_data=load_data,
    dataset_name=None,
    image_size=SIDE,
    image_mean="0.5",
    image_std="0.25",
    config_overrides="width=8",
    per_device_train_batch_size=16,
    learning_rate=0.05,
    num_train_epochs=4,
    dataloader_num_workers=0,
    baselines=False,  # this load_data brings no simple model to beat
)

if __name__ == "__main__":
    launch(recipe)
