"""The probability above which a row gets a label, chosen on validation rows for the macro-F1.

N rows, C labels. A half is far too much for a rare label: most rows that have it would not get it. The
threshold with the highest F1 on a few validation rows is mostly noise, though, so each label learns from the
others the more, the fewer rows it has (shrinkage, as of James & Stein 1961). What labels share is not a
probability, as rare ones stay far below a half, but how many rows get a label for each row that has it.
"""

import math

import numpy as np
from scipy.special import expit, logit

from hftune.tasks.class_metrics import ratio

HALF = 0.5
GRID = expit(np.linspace(-9, 9, 901))  # thresholds that are tried for all labels at once
RATIOS = np.geomspace(0.2, 5, 81)  # rows that get a label for each that has it
BELIEVED = 20  # rows of a label at which its validation rows and the model's probabilities count alike
SHARED = 50  # rows of a label at which its own F1 and the mean of all labels count alike
DIGITS = 4  # of a threshold: people read and copy it
SURE = 1e-9  # probabilities are kept this far from 0 and 1, whose log odds are infinite


def choose_thresholds(chances: np.ndarray, targets: np.ndarray, rule: str) -> tuple[float, ...]:
    """Returns a threshold for each label; a row gets the labels whose probability is above it.

    Args:
        chances: Probabilities of the validation rows, float64 (N, C).
        targets: 0 or 1, (N, C).
        rule: "per_label", "common", or "0.5", which chooses nothing.
    """
    positive = targets > 0
    if rule == str(HALF) or not positive.any():
        return (HALF,) * positive.shape[1]
    if rule == "common":
        return (common_threshold(chances, positive),) * positive.shape[1]
    return thresholds_per_label(chances, positive)


def common_threshold(chances: np.ndarray, positive: np.ndarray) -> float:
    """Returns the one threshold of all labels with the highest mean of their F1."""
    scores = np.mean([_f1_on_grid(*pair) for pair in zip(chances.T, positive.T, strict=True)], axis=0)
    best = scores == scores.max()
    first = int(best.argmax())
    length = int(np.argmin(np.append(best[first:], False)))  # of the first run of the best ones
    return _rounded(float(GRID[first + (length - 1) // 2]))


def _f1_on_grid(chances: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the F1 of one label at each threshold of `GRID`."""
    given, hits = (
        len(some) - np.searchsorted(np.sort(some), GRID, side="right")
        for some in (chances, chances[positive])
    )
    return ratio(2.0 * hits, given + positive.sum())


def thresholds_per_label(chances: np.ndarray, positive: np.ndarray) -> tuple[float, ...]:
    """Returns the threshold of each label with the highest F1, the label's own mixed with that of all.

    Args:
        chances: float64 (N, C).
        positive: bool (N, C).
    """
    rows = positive.sum(0)
    share = rows / (rows + BELIEVED)
    believed = share * positive + (1 - share) * chances  # how far each row has each label
    found = [_f1_by_ratio(*pair) for pair in zip(chances.T, believed.T, strict=True)]
    mean = np.mean([scores for scores, _ in found], axis=0)
    own = rows / (rows + SHARED)
    best = [int((w * scores + (1 - w) * mean).argmax()) for w, (scores, _) in zip(own, found, strict=True)]
    return tuple(_rounded(thresholds[place]) for place, (_, thresholds) in zip(best, found, strict=True))


def _f1_by_ratio(chances: np.ndarray, believed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the F1 of one label and its threshold, at each of `RATIOS`.

    Args:
        chances: float64 (N,).
        believed: How far each row has the label, float64 (N,) from 0 to 1.
    """
    order = np.argsort(-chances, kind="stable")
    ranked, total = chances[order], believed.sum()
    count = np.clip(RATIOS * total, 1, len(ranked)).astype(np.int64)
    count = np.searchsorted(-ranked, -ranked[count - 1], side="right")  # equal ones are given together
    scores = 2 * np.cumsum(believed[order])[count - 1] / (count + total)
    below = np.append(ranked, ranked[-1] / 2)[count]
    return scores, expit((_log_odds(ranked[count - 1]) + _log_odds(below)) / 2)  # amid the gap


def _log_odds(chances: np.ndarray) -> np.ndarray:
    return logit(np.clip(chances, SURE, 1 - SURE))


def _rounded(threshold: float) -> float:
    """Keeps `DIGITS` digits, counted from 0 or from 1, whichever is nearer."""
    return round(float(threshold), DIGITS - 1 - math.floor(math.log10(min(threshold, 1 - threshold))))
