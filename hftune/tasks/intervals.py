"""95 % confidence intervals of scores, computed from counts, never from stored rows.

Every function is pure: the resampling draws from an address in `hftune.seed`, so the same counts give
the same interval in every run and with any number of processes. All scores are fractions in their
own range (accuracy in [0, 1], log loss in nats); an interval is a pair `(low, high)`.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest

from hftune import seed

Interval = tuple[float, float]

Z = 1.959963984540054  # the 97.5 % point of the normal distribution
DRAWS = 1000
CELLS_AT_ONCE = 4_000_000  # resampled cells held in memory at a time, 32 MB
UNKNOWN: Interval = (math.nan, math.nan)


def wilson(correct: int, n: int) -> Interval:
    """Returns the score interval of a binomial proportion (Wilson 1927).

    Args:
        correct: Number of successes.
        n: Number of trials; 0 gives `(nan, nan)`.
    """
    if n == 0:
        return UNKNOWN
    share = correct / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return (0.0 if correct == 0 else centre - half, 1.0 if correct == n else centre + half)


def normal_mean(mean: float, variance: float, n: int) -> Interval:
    """Returns the normal interval of a mean that cannot be negative, such as log loss.

    Args:
        mean: Mean over rows.
        variance: Sample variance over rows (divided by n - 1).
        n: Number of rows; fewer than 2 give `(nan, nan)`.
    """
    if n < 2:
        return UNKNOWN
    half = Z * math.sqrt(variance / n)
    return max(0.0, mean - half), mean + half


def ranking(auc: float, negatives: int, positives: int) -> Interval:
    """Returns the interval of an area under the ROC curve.

    The variance is that of Hanley & McNeil 1982, taken at the limits rather than at the estimate
    (Newcombe 2006, method 5), so that it stays inside [0, 1] and keeps a width at 0 and 1.

    Args:
        auc: The estimate; nan gives `(nan, nan)`.
        negatives: Rows of the other class or classes.
        positives: Rows of the positive class.
    """
    if math.isnan(auc):
        return UNKNOWN
    weight = (negatives + positives) / 2 - 1

    def excess(limit: float) -> float:
        spread = 1 + weight * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        return abs(limit - auc) - Z * math.sqrt(limit * (1 - limit) * spread / (negatives * positives))

    edge = 1e-12  # at 0 and 1 the variance is 0, a root that means nothing
    low = 0.0 if auc < edge else brentq(excess, 0.0, min(auc, 1 - edge))
    high = 1.0 if auc > 1 - edge else brentq(excess, max(auc, edge), 1.0)
    return low, high


def confusion_scores(
    hits: np.ndarray, actual: np.ndarray, predicted: np.ndarray, positive: int = 1
) -> dict[str, np.ndarray]:
    """Computes the scores that depend on three margins of a confusion matrix, for many matrices at once.

    The definitions are scikit-learn's, `zero_division=0`: averages run over the classes that occur in
    the labels or in the predictions.

    Args:
        hits: Diagonals, (R, C).
        actual: Row sums: rows per label, (R, C).
        predicted: Column sums: rows per prediction, (R, C).
        positive: Of two classes, the one that `precision`, `recall` and `f1` are of.

    Returns:
        `precision`, `recall`, `f1` (of class `positive` for C = 2, else averaged over classes), `f1_macro`
        and `mcc`, each (R,) float64.
    """
    hits, actual, predicted = (part.astype(np.float64) for part in (hits, actual, predicted))
    occurs = actual + predicted > 0
    per_class = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, actual),
        "f1": _ratio(2 * hits, actual + predicted),
    }
    macro = {name: _ratio((values * occurs).sum(1), occurs.sum(1)) for name, values in per_class.items()}
    two = hits.shape[1] == 2
    chosen = {name: values[:, positive] for name, values in per_class.items()} if two else macro
    n = actual.sum(1)
    covariance = n * hits.sum(1) - (actual * predicted).sum(1)
    spread = (n**2 - (actual**2).sum(1)) * (n**2 - (predicted**2).sum(1))
    return {**chosen, "f1_macro": macro["f1"], "mcc": _ratio(covariance, np.sqrt(spread))}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(denominator.shape), where=denominator > 0)


def confusion(counts: np.ndarray, positive: int = 1) -> dict[str, Interval]:
    """Returns percentile bootstrap intervals (Efron 1979) of the scores in `confusion_scores`.

    A multinomial draw of the cells is what resampling the rows would give. A matrix without errors
    resamples to itself, so its intervals have no width; the Wilson interval of accuracy has.

    Args:
        counts: Confusion matrix, (C, C) int64, rows are labels.
        positive: See `confusion_scores`.
    """
    actual, predicted = np.nonzero(counts)
    n = int(counts.sum())
    if n == 0:
        return dict.fromkeys(("precision", "recall", "f1", "f1_macro", "mcc"), UNKNOWN)
    random = seed.generator("interval", "confusion")
    shares = counts[actual, predicted] / n
    at_once = max(1, CELLS_AT_ONCE // len(shares))
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, DRAWS, at_once):
        draws = random.multinomial(n, shares, size=min(at_once, DRAWS - start))
        margins = (
            _sum_by(np.where(actual == predicted, actual, -1), draws, len(counts)),
            _sum_by(actual, draws, len(counts)),
            _sum_by(predicted, draws, len(counts)),
        )
        parts.append(confusion_scores(*margins, positive))
    return {name: _percentiles(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def _sum_by(group: np.ndarray, draws: np.ndarray, groups: int) -> np.ndarray:
    """Adds up the columns of `draws` (R, K) that share a `group` (K,) >= 0 into (R, groups) int64."""
    sums = np.zeros((groups, len(draws)), np.int64)
    np.add.at(sums, group[group >= 0], draws.T[group >= 0])
    return sums.T


def calibration_error(counts: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Computes the expected calibration error of binned predictions (Guo et al. 2017).

    Args:
        counts: Rows per bin, wrong and right, (..., bins, 2).
        confidence: Sums of the confidence in the same cells, (..., bins, 2).

    Returns:
        The error in [0, 1], (...,) float64.
    """
    gap = np.abs(counts[..., 1] - confidence.sum(-1))
    return gap.sum(-1) / counts.sum((-1, -2))


def calibration(counts: np.ndarray, confidence: np.ndarray) -> Interval:
    """Returns the bootstrap interval of the expected calibration error, resampling (bin, right) cells.

    Noise can only add to a sum of absolute gaps, so resampled errors lie above the estimate as the
    estimate lies above the truth; the basic (reflected) interval takes that out. It is widened to hold
    the estimate, and begins at 0 when calibrated predictions of this confidence would do no better in
    2.5 % of samples.

    Args:
        counts: Rows per bin, wrong and right, (bins, 2) int64.
        confidence: Sums of the confidence in the same cells, (bins, 2) float64.
    """
    n = int(counts.sum())
    if n == 0:
        return UNKNOWN
    random = seed.generator("interval", "calibration")
    draws = random.multinomial(n, counts.ravel() / n, size=DRAWS).reshape(DRAWS, *counts.shape)
    estimate = float(calibration_error(counts, confidence))
    low, high = _percentiles(calibration_error(draws, draws * _ratio(confidence, counts)))
    rows, mean = counts.sum(1), _ratio(confidence.sum(1), counts.sum(1))
    by_chance = np.abs(random.binomial(rows, np.minimum(mean, 1), size=(DRAWS, len(rows))) - rows * mean).sum(
        1
    )
    least = 0.0 if estimate <= _percentiles(by_chance / n)[1] else 2 * estimate - high
    return max(0.0, min(estimate, least)), min(1.0, max(estimate, 2 * estimate - low))


def _percentiles(draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Returns the p-value of McNemar's exact test that two classifiers are equally often right.

    Args:
        correct_a: Whether the first was right on each row, (n,) bool.
        correct_b: The same rows for the second, (n,) bool.
    """
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((~correct_a & correct_b).sum())
    return 1.0 if only_a + only_b == 0 else float(binomtest(only_a, only_a + only_b).pvalue)


def paired_difference(correct_model: np.ndarray, correct_floor: np.ndarray) -> tuple[float, float, float]:
    """Returns how much more accurate one classifier is than another on the same rows.

    The interval is the normal one for paired proportions with half a row added to each of the four
    cells (Agresti & Min 2005), which keeps a width when the two never differ.

    Args:
        correct_model: Whether the model was right on each row, (n,) bool.
        correct_floor: The same rows for the floor, (n,) bool.

    Returns:
        The difference in accuracy, and its low and high limit, within [-1, 1]; nan for no rows.
    """
    n = len(correct_model)
    if n == 0:
        return (math.nan, *UNKNOWN)
    better, worse = int((correct_model & ~correct_floor).sum()), int((~correct_model & correct_floor).sum())
    centre = (better - worse) / (n + 2)
    half = Z * math.sqrt((better + worse + 1) - (better - worse) ** 2 / (n + 2)) / (n + 2)
    return (better - worse) / n, max(-1.0, centre - half), min(1.0, centre + half)
