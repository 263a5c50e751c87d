"""How well scores rank positives above negatives, from bounded counts."""

import math

import numpy as np
from sklearn.metrics import roc_auc_score

from hftune.tasks import intervals
from hftune.tasks.intervals import Interval

RANKED_SCORES = 2**17  # distinct scores in all sketches of a set of counts


class RankingSketch:
    """How often negatives and positives got each score: all that an area under a ROC curve needs.

    Scores are float32. While there are at most `limit` distinct ones the sketch is exact. Beyond that,
    the last bits of the mantissa are dropped, as many as needed, and scores that then coincide count as
    ties (half a point each in the area). How many bits go depends on the set of all scores alone, not on
    their order: dropping bits twice is dropping them once, and a subset never needs to drop more.

    Args:
        limit: The most distinct scores to keep, at least 2.
    """

    def __init__(self, limit: int = RANKED_SCORES):
        self.limit = limit
        self.dropped = 0  # bits
        self._cells = np.zeros((0, 3), np.int64)  # score as an ordered integer, negatives, positives
        self._waiting: list[np.ndarray] = []
        self._waiting_rows = 0
        self._auc: float | None = None  # of the rows so far: of a thousand classes it takes seconds

    def update(self, scores: np.ndarray, positive: np.ndarray) -> None:
        """Adds rows.

        Args:
            scores: Higher means more likely positive, (B,) float, rounded to float32.
            positive: (B,) bool.
        """
        bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
        ordered = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))  # sign and magnitude; -0 becomes 0
        self._add(np.stack([ordered >> self.dropped, ~positive, positive], axis=1))

    def merge(self, cells: np.ndarray, dropped: int) -> None:
        """Adds another sketch's `cells`, (K, 3) int64, of which `dropped` bits are gone."""
        self._compact()
        if dropped > self.dropped:
            self._drop(dropped - self.dropped)
        self._add(np.concatenate([cells[:, :1] >> (self.dropped - dropped), cells[:, 1:]], axis=1))

    def cells(self) -> np.ndarray:
        """Returns (K, 3) int64: score (ascending, an ordered integer), negatives, positives."""
        self._compact()
        return self._cells

    def auc(self) -> float:
        """Returns the area under the ROC curve, nan when a class is absent."""
        if self._auc is None:
            self._auc = _area(self.cells())
        return self._auc

    def interval(self) -> Interval:
        """Returns the 95 % interval of `auc`."""
        negatives, positives = self.cells()[:, 1:].sum(0)
        return intervals.ranking(self.auc(), int(negatives), int(positives))

    def _add(self, cells: np.ndarray) -> None:
        self._auc = None
        self._waiting.append(cells)
        self._waiting_rows += len(cells)
        if self._waiting_rows > self.limit:  # sorting now and then, not for each batch
            self._compact()

    def _drop(self, bits: int) -> None:
        self.dropped += bits
        self._cells[:, 0] >>= bits
        self._cells = _add_up(self._cells)

    def _compact(self) -> None:
        if self._waiting:
            self._cells = _add_up(np.concatenate([self._cells, *self._waiting]))
            self._waiting, self._waiting_rows = [], 0
        while len(self._cells) > self.limit:
            self._drop(1)


def _area(cells: np.ndarray) -> float:
    if not len(cells) or not cells[:, 1:].sum(0).all():
        return math.nan
    positive = np.repeat([0, 1], len(cells))
    weight = cells[:, 1:].T.ravel()
    return float(roc_auc_score(positive, np.tile(cells[:, 0], 2), sample_weight=weight))


def _add_up(cells: np.ndarray) -> np.ndarray:
    """Sorts cells (K, 3) by their first column and adds up those that share it."""
    cells = cells[np.argsort(cells[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(cells[:, 0], prepend=np.iinfo(np.int64).min))
    counts = np.add.reduceat(cells[:, 1:], starts, axis=0) if len(starts) else cells[:, 1:]
    return np.concatenate([cells[starts, :1], counts], axis=1)
