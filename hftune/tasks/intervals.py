"""95 % confidence intervals of scores: how far a score may be off because the rows are a sample.

Resampling draws from an address in `hftune.seed`: the same predictions give the same interval in every
run and with any number of processes.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.stats import binomtest

from hftune import seed
from hftune.tasks.metric import Interval, Metric, Predictions

DRAWS = 1000
FEWEST_DRAWS = 200  # where there are so many values that more would take minutes
VALUES = 1_000_000_000  # that all draws together take
Z = 1.959963984540054  # the 97.5 % point of the normal distribution
UNKNOWN: Interval = (math.nan, math.nan)


def intervals(
    metrics: Mapping[str, Metric], rows: Predictions, targets: np.ndarray, values: Mapping[str, float]
) -> dict[str, Interval]:
    """Returns the interval of each metric.

    One that has no formula of its own gets the percentile bootstrap over rows (Efron 1979), widened to
    hold the score: noise can only add to some, such as a calibration error.

    Args:
        metrics: By name.
        rows: What they read of N rows, as `Task.scored` returns it.
        targets: Those of the rows.
        values: The scores themselves.
    """
    if not len(targets):
        return dict.fromkeys(metrics, UNKNOWN)
    own = {name: metric.interval(rows, targets) for name, metric in metrics.items() if metric.interval}
    resampled = {name: metric for name, metric in metrics.items() if name not in own}
    found: dict[str, list[float]] = {name: [] for name in resampled}
    if resampled:
        for sample, sampled_targets in _samples(targets, rows):
            for name, metric in resampled.items():
                found[name].append(metric.compute(sample[0], sampled_targets))
    bootstrap = {name: _percentiles(draws, values[name]) for name, draws in found.items()}
    return {name: own[name] if name in own else bootstrap[name] for name in metrics}


def paired_difference(
    metric: Metric, rows: Predictions, others: Predictions, targets: np.ndarray
) -> tuple[float, float, float]:
    """Returns how much greater a metric is for one model than for another on the same rows.

    Args:
        metric: By its own formula, or by the bootstrap over rows.
        rows: What it reads of the first model's predictions.
        others: Likewise of the second's.
        targets: Those of the rows.

    Returns:
        The difference, and its low and high limit; nan for no rows.
    """
    if not len(targets):
        return (math.nan, *UNKNOWN)
    if metric.difference:
        return metric.difference(rows, others, targets)
    difference = metric.compute(rows, targets) - metric.compute(others, targets)
    draws = [
        metric.compute(first, sampled) - metric.compute(second, sampled)
        for (first, second), sampled in _samples(targets, rows, others)
    ]
    return (difference, *_percentiles(draws, difference))


class _Sample(dict):
    """Rows of a table, each column taken when it is first asked for."""

    def __init__(self, table: Predictions, chosen: np.ndarray):
        super().__init__()
        self.table, self.chosen = table, chosen

    def __missing__(self, name: str) -> np.ndarray:
        values = self[name] = self.table[name][self.chosen]
        return values


def _samples(targets: np.ndarray, *tables: Predictions) -> Iterator[tuple[list[_Sample], np.ndarray]]:
    """Yields samples of N rows with repetition, the same rows of every table and of the targets."""
    n, random = len(targets), seed.generator("interval", "rows")
    size = max(values.size for table in tables for values in table.values())
    for _ in range(_draws(size)):
        chosen = random.integers(0, n, n)
        yield [_Sample(table, chosen) for table in tables], targets[chosen]


def _draws(size: int) -> int:
    """Returns how many samples are drawn of so many values."""
    return min(DRAWS, max(FEWEST_DRAWS, VALUES // max(size, 1)))


def _percentiles(draws: list[float], value: float) -> Interval:
    """Returns the middle 95 % of the draws that are defined, widened to hold the score."""
    defined = [draw for draw in draws if not math.isnan(draw)]
    if not defined or math.isnan(value):
        return UNKNOWN
    low, high = np.quantile(defined, [0.025, 0.975]).tolist()
    return min(low, value), max(high, value)


def f1_intervals(given: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the 95 % interval of each label's F1, float64 (C, 2), by the percentile bootstrap over rows.

    Args:
        given: Which labels each row was given, bool (N, C).
        positive: Which it has, bool (N, C).
    """
    parts = np.concatenate([given & positive, given, positive], axis=1).astype(np.float32)  # counts
    n, random, draws = len(parts), seed.generator("interval", "labels"), []
    for _ in range(_draws(parts.size)):
        weights = np.bincount(random.integers(0, n, n), minlength=n).astype(np.float32)
        hits, predicted, actual = np.split(weights @ parts, 3)
        draws.append(2 * hits / np.maximum(predicted + actual, 1))
    return np.quantile(draws, [0.025, 0.975], axis=0).T


def share_of_rows(
    counts: Callable[[Predictions, np.ndarray], np.ndarray], title: str = "", only_tested: bool = False
) -> Metric:
    """Returns the metric that is the share of rows which count.

    Args:
        counts: From N predictions and targets to bool (N,).
        title: See `Metric`.
        only_tested: See `Metric`.
    """

    def interval(rows: Predictions, targets: np.ndarray) -> Interval:
        return wilson(int(counts(rows, targets).sum()), len(targets))

    def difference(rows: Predictions, others: Predictions, targets: np.ndarray) -> tuple[float, float, float]:
        return difference_of_shares(counts(rows, targets), counts(others, targets))

    def compute(rows: Predictions, targets: np.ndarray) -> float:
        return float(counts(rows, targets).mean())

    return Metric(compute, title=title, only_tested=only_tested, interval=interval, difference=difference)


def wilson(correct: int, n: int) -> Interval:
    """Returns the score interval of a share (Wilson 1927), which has a width at 0 and 1 too.

    Args:
        correct: Rows that count.
        n: All rows, at least one.
    """
    low, high = binomtest(correct, n).proportion_ci(method="wilson")
    return float(low), float(high)


def difference_of_shares(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Returns how much greater one share of the same rows is than another, and the interval of that.

    The interval is the normal one for paired proportions with half a row added to each of the four
    cells (Agresti & Min 2005), which keeps a width when the two never differ.

    Args:
        first: Whether each row counts, bool (N,), at least one.
        second: The same for the other.

    Returns:
        The difference, and its low and high limit, within [-1, 1].
    """
    n = len(first)
    better, worse = int((first & ~second).sum()), int((~first & second).sum())
    centre = (better - worse) / (n + 2)
    half = Z * math.sqrt((better + worse + 1) - (better - worse) ** 2 / (n + 2)) / (n + 2)
    return (better - worse) / n, max(-1.0, centre - half), min(1.0, centre + half)
