"""A few rows of each set that is scored, for a dry run."""

import dataclasses
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from hftune.data.dataset import Data, Rows
from hftune.training.estimate import some_batches


class Excerpt(Dataset):
    """Some rows of a set.

    Args:
        rows: The set.
        ids: Which, int64 (M,).
    """

    def __init__(self, rows: Rows, ids: np.ndarray):
        self.rows, self.ids = rows, ids
        self.lengths, self.weights, self.targets = (
            of[ids] for of in (rows.lengths, rows.weights, rows.targets)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Any:
        return self.rows[int(self.ids[row])]


def excerpt(data: Data, rows_per_batch: int) -> Data:
    """Keeps a few batches of the validation and the test rows, the longest among them."""
    validation = Excerpt(data.validation, some_batches(data.validation.lengths, rows_per_batch))
    if data.test is None:
        return dataclasses.replace(data, validation=validation)
    test = Excerpt(data.test, some_batches(data.test.lengths, rows_per_batch))
    image = data.image
    shown = None if image is None else lambda row: image(int(test.ids[row]))
    places = data.places and data.places.take(test.ids)
    swapped = None if data.swapped is None else Excerpt(data.swapped, test.ids)
    few = dataclasses.replace(data, validation=validation, test=test, image=shown, places=places)
    return dataclasses.replace(few, swapped=swapped)
