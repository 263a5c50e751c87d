"""The scores of numbers that are predicted: functions of arrays.

What they read of N rows: `prediction`, float64 (N,), in the unit of the targets, float64 (N,).
"""

import math

import numpy as np
from scipy.stats import rankdata

from hftune.tasks.metric import Metric, Predictions

CONSTANT = 1e-7  # of the largest value: float32 keeps no smaller differences


def number_metrics() -> dict[str, Metric]:
    """Returns the scores by name; a new one is a function below and its line here."""
    return {
        "rmse": Metric(rmse, greater_is_better=False, title="RMSE"),
        "mae": Metric(mae, greater_is_better=False, title="MAE"),
        "r2": Metric(r2, title="R²"),
        "pearson": Metric(pearson, title="Pearson"),
        "spearman": Metric(spearman, title="Spearman"),
        "mse": Metric(mse, greater_is_better=False, title="MSE"),
    }


def is_constant(values: np.ndarray) -> bool:
    """Says whether values, float64 (N,), do not differ, so that nothing can be correlated with them."""
    return not len(values) or float(np.ptp(values)) <= CONSTANT * float(np.abs(values).max())


def mse(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the mean squared error."""
    return float(np.square(rows["prediction"] - targets).mean())


def rmse(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the root of the mean squared error, in the targets' unit."""
    return math.sqrt(mse(rows, targets))


def mae(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the mean absolute error, in the targets' unit."""
    return float(np.abs(rows["prediction"] - targets).mean())


def r2(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the share of the targets' variance that is explained; nan where they do not differ."""
    if is_constant(targets):
        return math.nan
    return 1 - mse(rows, targets) / float(targets.var())


def pearson(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the linear correlation; nan where predictions or targets do not differ."""
    return correlation(rows["prediction"], targets)


def spearman(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the correlation of the ranks, equal ones shared; nan where one side does not differ."""
    if is_constant(rows["prediction"]) or is_constant(targets):
        return math.nan
    return correlation(rankdata(rows["prediction"]), rankdata(targets))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Returns Pearson's correlation of two columns, float64 (N,)."""
    if is_constant(first) or is_constant(second):
        return math.nan
    first, second = first - first.mean(), second - second.mean()
    return float(np.clip(first @ second / math.sqrt((first @ first) * (second @ second)), -1, 1))
