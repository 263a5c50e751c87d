"""Training rows beside a teacher's answers: one more column of the batch, nothing of which is padded."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hftune.data.dataset import Rows

TEACHER = "teacher_logits"  # the column
UNLABELED = -100  # target of a row that the teacher alone answers


class TaughtRows(torch.utils.data.Dataset):
    """Rows, and what a teacher answered to each.

    Args:
        rows: Any rows that are dicts.
        logits: The teacher's, float32 (N, C).

    Attributes:
        lengths: As `rows` has them, int64 (N,).
        weights: Likewise.
        targets: Likewise, `UNLABELED` where there is no label.
    """

    def __init__(self, rows: Rows, logits: np.ndarray):
        self.lengths, self.weights, self.targets = rows.lengths, rows.weights, rows.targets
        self._rows, self._logits = rows, logits

    def __len__(self) -> int:
        return len(self._logits)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Returns the row with `teacher_logits`, float32 (C,)."""
        return self._rows[row] | {TEACHER: self._logits[int(row)]}


class TaughtCollate:
    """Stacks a teacher's logits beside what another collate makes of the rows.

    Args:
        rest: The other one, which all rows go to; those that are scored have no teacher.

    Returns (when called with rows):
        A batch, of `TaughtRows` with `teacher_logits`, float32 (B, C).
    """

    def __init__(self, rest: Callable[[list], dict[str, torch.Tensor]]):
        self.rest = rest

    def __call__(self, rows: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Makes a batch of rows."""
        batch = self.rest(list(rows))
        if TEACHER in rows[0]:
            batch[TEACHER] = torch.from_numpy(np.stack([row[TEACHER] for row in rows]))
        return batch
