"""The scores of a classifier that gives each row one of C classes: functions of arrays.

A new metric is a function here and its line in `class_metrics`. What the functions read of N rows:

    prediction   the predicted class, int64 (N,)
    nll          negative log likelihood of the true class in nats, cut off at 100, float64 (N,)
    confidence   probability of the predicted class, float64 (N,)
    bin          which fifteenth of (0, 1] that is in, int64 (N,); each holds its upper edge
    rank         place of each row by its log odds for a class, equal ones share it, int64: (N,) for two
                 classes, of which it is the second's, else (N, C)

Definitions are scikit-learn's with `zero_division=0`: averages run over the classes that occur in the
labels or the predictions. A score that is not defined is nan.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from hftune.tasks.intervals import share_of_rows
from hftune.tasks.metric import Metric, Predictions

BINS = 15  # of confidence, as in Guo et al. 2017
NLL_LIMIT = 100.0  # nats


def class_metrics(classes: int, positive: int) -> dict[str, Metric]:
    """Returns the metrics by name.

    Args:
        classes: How many there are, C.
        positive: Of two, the one that precision, recall and F1 are of; of more they are means over all.
    """

    def mean(share: str, over_all: bool = False) -> partial:
        return partial(_mean_share, share=share, classes=classes, one=None if over_all else positive)

    return {
        "accuracy": share_of_rows(lambda rows, targets: rows["prediction"] == targets),
        "precision": Metric(mean("precision")),
        "recall": Metric(mean("recall")),
        "f1": Metric(mean("f1"), title="F1"),
        "f1_macro": Metric(mean("f1", over_all=True), title="F1, macro"),
        "mcc": Metric(partial(mcc, classes=classes), title="MCC"),
        "roc_auc": Metric(roc_auc, title="ROC AUC"),
        "log_loss": Metric(log_loss, greater_is_better=False, title="log loss"),
        "ece": Metric(ece, greater_is_better=False, title="ECE"),
    }


def rows_of(logits: np.ndarray, targets: np.ndarray, ranked: bool) -> dict[str, np.ndarray]:
    """Returns what the metrics read of N rows.

    Args:
        logits: Finite, float (N, C).
        targets: Class ids, int64 (N,) in [0, C).
        ranked: Whether `rank` is needed, which costs a sort for each class.
    """
    logits = np.ascontiguousarray(logits, np.float64)
    every, total = np.arange(len(targets)), logsumexp(logits, axis=1)
    prediction = logits.argmax(1)
    confidence = np.exp(logits[every, prediction] - total)
    rows = {
        "prediction": prediction,
        "nll": np.minimum(total - logits[every, targets], NLL_LIMIT),
        "confidence": confidence,
        "bin": np.searchsorted(np.arange(1, BINS) / BINS, confidence),
    }
    if ranked:
        rows["rank"] = rank(_log_odds(logits))
    return rows


def rank(scores: np.ndarray) -> np.ndarray:
    """Returns the place of each row in each column's order, from 0, int64; equal float32 share one."""
    scores = scores.astype(np.float32)
    if scores.ndim == 1:
        return np.unique(scores, return_inverse=True)[1]
    return np.stack([rank(column) for column in scores.T], axis=1)


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Returns each class's log odds against all others, which unlike a softmax do not saturate into ties.

    Args:
        logits: float64 (N, C).

    Returns:
        (N, C); for two classes the second's alone, (N,).
    """
    if logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    rows, best = np.arange(len(logits)), logits.argmax(1)
    exponentials = np.exp(logits - logits[rows, best][:, None])
    rest = exponentials.sum(1, keepdims=True) - exponentials
    rest[rows, best] = 1  # cancels to nothing when the best class stands alone: computed apart
    odds = logits - logits[rows, best][:, None] - np.log(rest)
    others = logits.copy()
    others[rows, best] = -np.inf
    odds[rows, best] = logits[rows, best] - logsumexp(others, axis=1)
    return odds


class _Counts(NamedTuple):
    """Of each class: rows that are it and predicted so, that are it, that are predicted so, float64 (C,)."""

    hits: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray


def _count(rows: Predictions, targets: np.ndarray, classes: int) -> _Counts:
    prediction = rows["prediction"]
    parts = (targets[prediction == targets], targets, prediction)
    return _Counts(*(np.bincount(part, minlength=classes).astype(np.float64) for part in parts))


def _mean_share(rows: Predictions, targets: np.ndarray, share: str, classes: int, one: int | None) -> float:
    """Returns the precision, recall or F1 of one of two classes, else the mean over those that occur."""
    hits, actual, predicted = _count(rows, targets, classes)
    values = {
        "precision": lambda: ratio(hits, predicted),
        "recall": lambda: ratio(hits, actual),
        "f1": lambda: ratio(2 * hits, actual + predicted),
    }[share]()
    if classes == 2 and one is not None:
        return float(values[one])
    return float(values[actual + predicted > 0].mean())


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides; what is divided by 0 is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(denominator)), where=denominator > 0)


def mcc(rows: Predictions, targets: np.ndarray, classes: int) -> float:
    """Returns Matthews' correlation of predicted and true classes, 0 where one side has a single class."""
    hits, actual, predicted = _count(rows, targets, classes)
    n = len(targets)
    covariance = n * hits.sum() - actual @ predicted
    spread = (n**2 - actual @ actual) * (n**2 - predicted @ predicted)
    return float(covariance / math.sqrt(spread)) if spread > 0 else 0.0


def roc_auc(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the area under the ROC curve, for more than two classes the mean of each against the rest."""
    places = rows["rank"]
    if places.ndim == 1:
        return area_under_roc(places, targets == 1)
    if not np.bincount(targets, minlength=places.shape[1]).all():
        return math.nan  # one class has no area; of a thousand classes, most samples of rows lack some
    return float(np.mean([area_under_roc(column, targets == c) for c, column in enumerate(places.T)]))


def area_under_roc(places: np.ndarray, positive: np.ndarray) -> float:
    """Returns the share of pairs that are in order, ties for half; nan where a class is absent.

    Args:
        places: int64 (N,) from 0, higher is more likely positive.
        positive: bool (N,).
    """
    steps = int(places.max()) + 1
    up, down = (np.bincount(places[side], minlength=steps) for side in (positive, ~positive))
    pairs = float(up.sum()) * float(down.sum())
    return float(up @ (np.cumsum(down) - down / 2)) / pairs if pairs else math.nan


def log_loss(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the mean negative log likelihood in nats."""
    return float(rows["nll"].mean())


def ece(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the expected gap of confidence and accuracy over 15 equal bins (Guo et al. 2017)."""
    gaps = np.bincount(rows["bin"], (rows["prediction"] == targets) - rows["confidence"])
    return float(np.abs(gaps).sum() / len(targets))
