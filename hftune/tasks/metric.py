"""What a score is: a function of arrays, with its direction, its title and its interval."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Interval = tuple[float, float]
Predictions = Mapping[str, np.ndarray]  # what is kept of the model's output, rows first


@dataclass(frozen=True)
class Metric:
    """A score: a function of arrays.

    Args:
        compute: From N predictions, as `Task.scored` returns them, and N targets to a number; nan where
            it is not defined.
        greater_is_better: Whether more of it is better.
        title: What people read; "": the metric's name.
        only_tested: Whether it says nothing of rows that chose the model.
        interval: The 95 % interval of `compute`; None: the bootstrap of `hftune.tasks.intervals`.
        difference: Of two sets of predictions for the same targets: how much greater the first one's score
            is, and the 95 % interval of that; None: the bootstrap again.
    """

    compute: Callable[[Predictions, np.ndarray], float]
    greater_is_better: bool = True
    title: str = ""
    only_tested: bool = False
    interval: Callable[[Predictions, np.ndarray], Interval] | None = None
    difference: Callable[[Predictions, Predictions, np.ndarray], tuple[float, float, float]] | None = None


class LabelScores(NamedTuple):
    """How well one label is recognised; what has an empty denominator is nan."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int
    threshold: float | None = None  # the probability above which a row gets it, where the task chose one
