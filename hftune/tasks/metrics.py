"""Scores of a single-label classifier from running counts: small, exact, whatever the order of the rows.

Nothing that grows with the data is kept: a confusion matrix, sums in fixed point and a bounded sketch
of the ranking. All of it is integers that add up, so one process or many, any order and any split of
the rows give the same bits. scikit-learn computes the scores from the compressed counts.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)

from hftune.errors import BadInput, NonFiniteError, listed
from hftune.tasks import intervals
from hftune.tasks.intervals import Interval
from hftune.tasks.ranking import RANKED_SCORES, RankingSketch

METRICS = ("accuracy", "precision", "recall", "f1", "f1_macro", "mcc", "roc_auc", "log_loss", "ece")
LOWER_IS_BETTER = ("loss", "log_loss", "ece")
AVERAGED = {"precision": precision_score, "recall": recall_score, "f1": f1_score, "f1_macro": f1_score}

BINS = 15  # of confidence, as in Guo et al. 2017
NLL_LIMIT = 100.0  # nats; a row's loss is cut off here
FRACTION_BITS = 44  # of a fixed-point number: 6e-14
LOW_BITS = 24  # two int64 hold a sum of 1e8 squared losses of 1e4 without overflow
RANKED_SCORES_PER_CLASS = 2**10  # at least, however many classes there are
CLASSES_WITH_RESULTS = 100  # of more, the scores of each would make all_results.json unreadable


def known_metrics() -> tuple[str, ...]:
    """Returns the names that `ClassificationCounts` can compute."""
    return METRICS


def check_metrics(names: Iterable[str]) -> None:
    """Raises `BadInput` for a name that is not a metric's, naming the nearest that is."""
    for name in names:
        if name not in METRICS:
            _unknown(name, METRICS)


def greater_is_better(name: str) -> bool:
    """Returns whether more of a metric is better; `loss` counts as a name here.

    Raises:
        BadInput: The name is unknown.
    """
    if name not in LOWER_IS_BETTER:
        check_metrics([name])
    return name not in LOWER_IS_BETTER


def _unknown(name: str, known: Iterable[str]) -> None:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
    raise BadInput(f"unknown metric {name!r}: did you mean {nearest!r}? Known are {', '.join(known)}")


class ClassificationCounts:
    """Running counts of a classifier's predictions, and the scores they give.

    A score that is not defined (any score of no rows; `roc_auc` when a class is absent from the labels)
    is nan; a precision, recall, F1 or MCC with an empty denominator is 0, as in scikit-learn.

    - `precision`, `recall`, `f1`: of class `positive` for two labels, else averaged over the classes that
      occur.
    - `roc_auc`: of the difference of the two logits, which unlike a softmax does not saturate into ties;
      for more labels the mean over classes of each against the rest. See `RankingSketch`.
    - `log_loss`: mean negative log likelihood in nats, a row's loss cut off at 100.
    - `ece`: expected calibration error over 15 equal bins of confidence (Guo et al. 2017).

    Args:
        num_labels: Number of classes C, at least 2.
        names: The metrics that will be asked for. A ranking is kept only if `roc_auc` is among them: at
            most 2**17 distinct scores in all, 3 MB (from 128 classes on 2**10 each).
        positive: Of two classes, the one that precision, recall and F1 are of.

    Raises:
        BadInput: A name is unknown.
    """

    def __init__(self, num_labels: int, names: Iterable[str] = METRICS, positive: int = 1):
        if num_labels < 2:
            raise ValueError(f"a classifier has at least 2 labels, not {num_labels}")
        names = tuple(names)
        check_metrics(names)
        self.num_labels = num_labels
        self.positive = positive
        self.confusion: np.ndarray = np.zeros((num_labels, num_labels), np.int64)  # label, prediction
        self.nll: np.ndarray = np.zeros((2, 2), np.int64)  # loss and its square, in fixed point
        self.bins: np.ndarray = np.zeros((BINS, 2), np.int64)  # rows per bin of confidence, wrong and right
        self.confidence: np.ndarray = np.zeros(
            (BINS, 2, 2), np.int64
        )  # sum of it in each cell, in fixed point
        ranked = (1 if num_labels == 2 else num_labels) if "roc_auc" in names else 0
        limit = max(RANKED_SCORES // max(ranked, 1), RANKED_SCORES_PER_CLASS)
        self.rankings = [RankingSketch(limit) for _ in range(ranked)]

    def update(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Adds rows.

        Args:
            logits: (B, C) float.
            labels: (B,) int in [0, C).

        Raises:
            BadInput: A label is outside [0, C).
            NonFiniteError: A logit is NaN or infinite.
        """
        logits, labels = np.ascontiguousarray(logits, np.float64), np.asarray(labels, np.int64)
        self._check(logits, labels)
        if not len(labels):
            return
        rows = np.arange(len(labels))
        predicted = logits.argmax(1)
        np.add.at(self.confusion, (labels, predicted), 1)
        log_total = _log_sum_exp(logits)
        nll = np.minimum(log_total - logits[rows, labels], NLL_LIMIT)
        self.nll += _fixed(np.stack([nll, nll**2])).sum(1)
        confidence = np.exp(logits[rows, predicted] - log_total)
        bin_of_row = np.searchsorted(np.arange(1, BINS) / BINS, confidence)  # a bin holds its upper edge
        cell = (bin_of_row, (predicted == labels).astype(np.int64))
        np.add.at(self.bins, cell, 1)
        np.add.at(self.confidence, cell, _fixed(confidence))
        if self.rankings:
            scores = _one_against_rest(logits)
            first = self.num_labels - len(self.rankings)  # two labels: class 1 alone
            for label, ranking in enumerate(self.rankings, first):
                ranking.update(scores[:, label], labels == label)

    def _check(self, logits: np.ndarray, labels: np.ndarray) -> None:
        if logits.shape != (len(labels), self.num_labels):
            raise ValueError(f"logits {logits.shape} do not fit {len(labels)} rows, {self.num_labels} labels")
        outside = np.flatnonzero((labels < 0) | (labels >= self.num_labels))
        if len(outside):
            wrong = labels[outside[0]]
            raise BadInput(f"label {wrong} cannot be scored: labels are 0 to {self.num_labels - 1}")
        if not np.isfinite(logits).all():
            raise NonFiniteError("the model's logits are NaN or infinite, so it cannot be scored")

    def state(self) -> dict[str, np.ndarray]:
        """Returns everything counted so far, as int64 arrays that do not depend on the order of rows."""
        parts = {"confusion": self.confusion, "nll": self.nll, "bins": self.bins}
        parts["confidence"] = self.confidence
        for number, ranking in enumerate(self.rankings):
            parts[f"ranking_{number}"] = ranking.cells()
            parts[f"ranking_{number}_dropped"] = np.array(ranking.dropped, np.int64)
        return {name: part.copy() for name, part in parts.items()}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "ClassificationCounts":
        """Makes counts from what `state` returned."""
        counts = cls(len(state["confusion"]), ("roc_auc",) if "ranking_0" in state else ())
        counts.merge_state(state)
        return counts

    def merge_state(self, state: dict[str, np.ndarray]) -> None:
        """Adds the rows behind another process's `state`, made with the same labels and names."""
        if set(state) != set(self.state()) or state["confusion"].shape != self.confusion.shape:
            raise ValueError("counts of other labels or other metrics cannot be added")
        self.confusion += state["confusion"]
        self.nll += state["nll"]
        self.bins += state["bins"]
        self.confidence += state["confidence"]
        for number, ranking in enumerate(self.rankings):
            ranking.merge(state[f"ranking_{number}"], int(state[f"ranking_{number}_dropped"]))

    def merge(self, other: "ClassificationCounts") -> None:
        """Adds the rows counted by `other`."""
        self.merge_state(other.state())

    def compute(self, names: Iterable[str]) -> dict[str, float]:
        """Returns the scores, in the order of `names`.

        Raises:
            BadInput: A name is unknown.
            ValueError: `roc_auc` is asked for and no ranking was kept.
        """
        names = self._checked(names)
        return {name: self._score(name) if self.confusion.any() else math.nan for name in names}

    def intervals(self, names: Iterable[str]) -> dict[str, Interval]:
        """Returns the 95 % intervals `(low, high)` of the scores, in the order of `names`.

        Wilson for accuracy; the bootstrap for the other scores of the confusion matrix and for `ece`;
        Hanley & McNeil for `roc_auc` (for more than two labels the means of the classes' limits, which is
        at least as wide as it need be); normal for `log_loss`. See `hftune.tasks.intervals`.

        Raises:
            BadInput: A name is unknown.
            ValueError: `roc_auc` is asked for and no ranking was kept.
        """
        names = self._checked(names)
        n = int(self.confusion.sum())
        found: dict[str, Interval] = {}
        if "accuracy" in names:
            found["accuracy"] = intervals.wilson(int(self.confusion.trace()), n)
        if not {"precision", "recall", "f1", "f1_macro", "mcc"}.isdisjoint(names):
            found |= intervals.confusion(self.confusion, self.positive)
        if "roc_auc" in names:
            low, high = np.mean([ranking.interval() for ranking in self.rankings], axis=0)
            found["roc_auc"] = (float(low), float(high))
        if "log_loss" in names:
            total, squares = _real(self.nll).tolist()
            variance = max(0.0, squares - total**2 / n) / (n - 1) if n > 1 else math.nan
            found["log_loss"] = intervals.normal_mean(self._score("log_loss") if n else math.nan, variance, n)
        if "ece" in names:
            found["ece"] = intervals.calibration(self.bins, _real(self.confidence))
        return {name: found[name] for name in names}

    def _checked(self, names: Iterable[str]) -> tuple[str, ...]:
        names = tuple(names)
        check_metrics(names)
        if "roc_auc" in names and not self.rankings:
            raise ValueError("these counts were made without roc_auc among their names")
        return names

    def _score(self, name: str) -> float:
        if name == "roc_auc":
            return float(np.mean([ranking.auc() for ranking in self.rankings]))
        if name == "log_loss":
            return float(_real(self.nll)[0] / self.confusion.sum())
        if name == "ece":
            return float(intervals.calibration_error(self.bins, _real(self.confidence)))
        return score_confusion(self.confusion, name, self.positive)


def positive_class(labels: Sequence[str], pos_label: str | None) -> int:
    """Returns the number of the class that precision, recall and F1 of two classes are of.

    Args:
        labels: The class names.
        pos_label: The one that `--pos_label` names; None: the last.

    Raises:
        BadInput: There is no such class, or there are more than two.
    """
    if pos_label is None:
        return 1
    if pos_label not in labels:
        raise BadInput(f"--pos_label {pos_label}: no such class; the classes are {listed(labels)}")
    if len(labels) > 2:
        raise BadInput(
            f"--pos_label {pos_label}: scores of {len(labels)} classes are means over all; leave it out"
        )
    return labels.index(pos_label)


class ClassScores(NamedTuple):
    """How well one class is recognised; what has an empty denominator is nan."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


def per_class(confusion: np.ndarray, labels: Sequence[str]) -> list[ClassScores]:
    """Returns precision, recall and F1 of each class, by scikit-learn, in the order of the classes.

    Args:
        confusion: Rows per label and prediction, int64 (C, C), not all zero.
        labels: The C class names.
    """
    true, predicted = np.nonzero(confusion)
    weights, classes = confusion[true, predicted], range(len(labels))
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, predicted, labels=classes, sample_weight=weights, zero_division=np.nan
    )
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), confusion.sum(1).tolist())
    return [ClassScores(*row) for row in zip(labels, *columns, strict=True)]


def class_results(prefix: str, confusion: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """Returns each class's scores as `all_results.json` has them; nothing of more than 100 classes.

    The score's name stands behind the class's, so that no class, whatever it is called, makes the key
    of another class or of an interval.

    Args:
        prefix: The split's name in `all_results.json`, such as "test".
        confusion: Rows per label and prediction, int64 (C, C).
        labels: The C class names.

    Returns:
        `PREFIX_class_NAME_precision`, `_recall`, `_f1` and `_support`, the rows that have the class. A class
        with rows that is never answered has precision 0, as in the scores over all classes.
    """
    if len(labels) > CLASSES_WITH_RESULTS or not confusion.any():
        return {}
    results: dict[str, float] = {}
    for scores in per_class(confusion, labels):
        key = f"{prefix}_class_{scores.label}"
        never = scores.rows > 0 and np.isnan(scores.precision)
        results |= {f"{key}_precision": 0.0 if never else scores.precision, f"{key}_recall": scores.recall}
        results |= {f"{key}_f1": scores.f1, f"{key}_support": scores.rows}
    return results


def only_answer(confusion: np.ndarray) -> int | None:
    """Returns the class that all rows (at least two) were answered with, None where there are several."""
    answered = np.flatnonzero(confusion.sum(0))
    return int(answered[0]) if len(answered) == 1 and confusion.sum() > 1 else None


def note_only_answer(split: str, confusion: np.ndarray) -> dict[str, float]:
    """Returns `SPLIT_only_answer`, the number of the class that all rows were answered with, if it is one."""
    answer = only_answer(confusion)
    return {} if answer is None else {f"{split}_only_answer": float(answer)}


def score_confusion(confusion: np.ndarray, name: str, positive: int = 1) -> float:
    """Lets scikit-learn compute a score of a confusion matrix.

    Args:
        confusion: Rows per label and prediction, (C, C) int64, not all zero.
        name: `accuracy`, `precision`, `recall`, `f1`, `f1_macro` or `mcc`.
        positive: Of two classes, the one that precision, recall and F1 are of.

    Returns:
        What scikit-learn gives for the rows themselves, with `zero_division=0`.
    """
    labels, predictions = np.nonzero(confusion)
    rows = {"y_true": labels, "y_pred": predictions, "sample_weight": confusion[labels, predictions]}
    if name == "accuracy":
        return float(accuracy_score(**rows))
    if name == "mcc":
        if len(np.union1d(labels, predictions)) == 1:
            return 0.0  # scikit-learn's value too, which comes with a warning
        return float(matthews_corrcoef(**rows))
    if len(confusion) == 2 and name != "f1_macro":
        return float(AVERAGED[name](**rows, pos_label=positive, zero_division=0))
    return float(AVERAGED[name](**rows, average="macro", zero_division=0))


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Returns log(sum(exp(logits))) over the last axis of (B, C) as (B,)."""
    highest = logits.max(1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(1))


def _one_against_rest(logits: np.ndarray) -> np.ndarray:
    """Returns each class's log odds against all others, (B, C), without the softmax's saturation."""
    if logits.shape[1] == 2:
        return logits - logits[:, ::-1]
    rows, best = np.arange(len(logits)), logits.argmax(1)
    exponentials = np.exp(logits - logits[rows, best][:, None])
    rest = exponentials.sum(1, keepdims=True) - exponentials
    rest[rows, best] = 1  # cancels to nothing when the best class stands alone: computed apart
    odds = logits - logits[rows, best][:, None] - np.log(rest)
    others = logits.copy()
    others[rows, best] = -np.inf
    odds[rows, best] = logits[rows, best] - _log_sum_exp(others)
    return odds


def _fixed(values: np.ndarray) -> np.ndarray:
    """Returns non-negative floats as fixed-point integers, high and low part, (..., 2) int64."""
    whole = np.rint(values * 2.0**FRACTION_BITS).astype(np.int64)
    return np.stack([whole >> LOW_BITS, whole & (2**LOW_BITS - 1)], axis=-1)


def _real(fixed: np.ndarray) -> np.ndarray:
    """Returns sums of `_fixed` numbers, (..., 2) int64, as (...,) float64."""
    return np.ldexp(fixed[..., 0].astype(float), LOW_BITS - FRACTION_BITS) + np.ldexp(
        fixed[..., 1].astype(float), -FRACTION_BITS
    )
