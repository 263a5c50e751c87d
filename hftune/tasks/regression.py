"""Each row has a number: standardised in training, answered in its own unit with a 90 % interval."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch.nn.functional import mse_loss

from hftune.data.labels import UNLABELLED
from hftune.data.numbers import first_fraction, read_numbers
from hftune.data.tables.table import Table
from hftune.errors import BadInput
from hftune.models.scale import exact_output, last_layers, rescale
from hftune.tasks.base import Batch, Loss, SimpleModel, Task, TestRows
from hftune.tasks.intervals import share_of_rows
from hftune.tasks.linear import layer_of_numbers
from hftune.tasks.metric import Metric, Predictions
from hftune.tasks.number_metrics import is_constant, number_metrics
from hftune.tasks.use import Use

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from hftune.settings.base import Settings

COVERAGE = 0.9  # of the rows an answer's interval is to hold the true number
BINS = 10  # of the numbers, whose shares a random choice of rows keeps
ROWS_OF_BIN = 10  # at least
NARROW = 1e-3  # of the standard deviation: steps of float32 that are wider are told
KEYS = ("text", "text_pair", "file", "low", "high")  # of an answer, besides the number's name


@dataclass(frozen=True)
class Regression(Task):
    """A number a row; targets are float64 (N,), predictions are `logits`, float (N, 1), in the same unit.

    In training the model answers on another scale, (number - `mean`) / `deviation`, which suits its learning
    rate whatever the unit. `finish` folds the scale into its last layer: the saved model answers in the unit.

    Args:
        mean: That of the training rows; 0 for a finished model.
        deviation: Their standard deviation; 1 for a finished model.
        radius: Half the width of each answer's interval, by split conformal prediction (Papadopoulos et al.
            2002; Lei et al. 2018) from the validation rows; None: not known, or they are too few.
    """

    mean: float = 0.0
    deviation: float = 1.0
    radius: float | None = None

    problem_type = "regression"
    outputs = 1
    difference_unit = "of the largest"
    label_names = ("score", "rating", "stars", "similarity_score", "value")
    loss_name = "mse"
    loss_is_scaled = True
    by_words = "red ones raise {}, purple ones lower it"
    faint = 0.0
    baseline_titles = {  # noqa: RUF012  a constant
        "tfidf": "TF-IDF + ridge",
        "thumbnails": "thumbnails + ridge",
        "frozen": "frozen model + ridge",
        "mean": "mean of train",
    }
    constant = "mean"
    simplest = "always giving the mean of the training rows"
    limit = "It always answers with a number, also for rows unlike those that it was trained on."

    def __post_init__(self) -> None:
        if self.pos_label is not None:
            raise BadInput(f"--pos_label {self.pos_label}: a number has no classes; leave it out")

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...], pos_label: str | None) -> Self:
        return cls(labels, pos_label, radius=config.get("conformal_radius"))

    @classmethod
    def claims(cls, table: Table, column: str) -> str:
        number = first_fraction(table, column)
        return f"are numbers such as {number}; --task single_label takes them as classes" if number else ""

    @property
    def name(self) -> str:
        """What the number is called: its column."""
        return self.labels[0]

    @property
    def key(self) -> str:
        """The key of the number in an answer."""
        return "value" if self.name in KEYS else self.name

    @property
    def no_answer(self) -> dict[str, Any]:  # type: ignore[override]
        return {self.key: None, "low": None, "high": None}

    @property
    def metrics(self) -> dict[str, Metric]:
        return number_metrics() | ({} if self.radius is None else {"coverage": self._coverage()})

    def _coverage(self) -> Metric:
        def inside(rows: Predictions, targets: np.ndarray) -> np.ndarray:
            return np.abs(rows["prediction"] - targets) <= self.radius

        return share_of_rows(inside, title=f"in its {100 * COVERAGE:.0f} % interval", only_tested=True)

    # --- targets ---

    def read_targets(
        self, tables: Mapping[str, Table], column: str, *, own: bool
    ) -> tuple[Regression, dict[str, np.ndarray], list[str]]:
        targets, warnings = {}, []
        for split, table in tables.items():
            targets[split], told = read_numbers(table, column)
            warnings += [*told, *_doubts(table, targets[split])]
        train = targets["train"]
        if not len(train) or not np.ptp(train):
            every = f"every row has the number {train[0]:g}" if len(train) else "it has no rows"
            raise BadInput(f"{tables['train'].name}: {every} (column {column!r}); nothing can be learned")
        step = float(np.spacing(np.float32(np.abs(train).max())))
        if step > NARROW * train.std():
            warnings.append(
                f"{tables['train'].name}: the numbers (column {column!r}) are large beside how they differ, "
                f"and a model answers in steps of {step:.2g} there; subtract a constant from them"
            )
        return replace(self, labels=(column,)), targets, warnings

    def match_targets(self, table: Table, column: str) -> np.ndarray:
        return read_numbers(table, column)[0]

    def count_labels(self, targets: np.ndarray) -> np.ndarray:
        return np.array([len(targets)])

    def too_alike(self, targets: np.ndarray) -> str:
        return "" if np.ptp(targets) else "rows of one number are left"

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Returns the tenth that each number is in, of fewer rows a larger part; equal ones stay together."""
        bins = max(1, min(BINS, len(targets) // ROWS_OF_BIN))
        edges = np.unique(np.quantile(targets, np.arange(1, bins) / bins))
        return np.unique(np.searchsorted(edges, targets, side="right"), return_inverse=True)[1]

    # --- training ---

    def fit(self, targets: np.ndarray) -> Self:
        return replace(self, mean=float(targets.mean()), deviation=float(targets.std()) or 1.0)

    def check_model(self, model: PreTrainedModel) -> None:
        last_layers(model)

    def take_up(self, model: PreTrainedModel, batch: Batch) -> None:
        rescale(model, batch, 1 / self.deviation, -self.mean / self.deviation)

    def linear_layer(self, features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return layer_of_numbers(features, (targets - self.mean) / self.deviation)

    def scaled(self, loss: Loss) -> Loss:
        def of_scaled(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            return loss(model, {**batch, "labels": (batch["labels"] - self.mean) / self.deviation})

        return of_scaled

    def loss(self, settings: Settings, targets: np.ndarray) -> Loss:
        super().loss(settings, targets)  # refuses flags of labels
        return squared_error

    def predict(self, model: torch.nn.Module, batch: Batch) -> Predictions:
        with exact_output(model):
            logits = model(**batch).logits.double().cpu().numpy()
        return {"logits": logits * self.deviation + self.mean}

    def finish(self, model: PreTrainedModel, batch: Batch) -> Self:
        rescale(model, batch, self.deviation, self.mean)
        return replace(self, mean=0.0, deviation=1.0)

    def tune(self, predictions: Predictions, targets: np.ndarray) -> Self:
        return replace(self, radius=conformal_radius(np.abs(_numbers(predictions) - targets)))

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"conformal_radius": self.radius}

    # --- scores ---

    def scored(
        self, predictions: Predictions, targets: np.ndarray, names: Collection[str]
    ) -> dict[str, np.ndarray]:
        shape = predictions["logits"].shape
        if shape != (len(targets), 1):
            raise ValueError(f"logits {shape} do not fit {len(targets)} numbers")
        super().scored(predictions, targets, names)
        return {"prediction": _numbers(predictions)}

    def check_metric(self, metric: str, targets: np.ndarray) -> str:
        if metric in ("r2", "pearson", "spearman") and is_constant(targets):
            raise BadInput(
                f"--metric_for_best_model {metric}: the validation rows have one number, so it is not "
                "defined; choose another, such as rmse, or other rows"
            )
        if conformal_radius(targets) is None:
            return f"{len(targets):,} validation rows are too few for a {COVERAGE:.0%} interval of an answer"
        return ""

    def shown_targets(self, targets: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
        return np.arange(len(targets)), [self.figure(target) for target in targets]

    def only_answer(self, predictions: Predictions) -> float | None:
        found = _numbers(predictions)
        return float(found[0]) if len(found) > 1 and is_constant(found) else None

    def shown_answer(self, answer: float) -> str:
        return f"{self.figure(answer)}, so correlations are not defined"

    def baselines(self, targets: np.ndarray, rows: int, simple: SimpleModel | None) -> dict[str, Predictions]:
        found = {"mean": np.full(rows, targets.mean())}
        if simple and rows:
            train, test = simple.features()
            found[simple.name] = simple.regressor().fit(train, targets).predict(test)
        return {name: {"logits": numbers[:, None]} for name, numbers in found.items()}

    # --- answers ---

    def answer(self, predictions: Predictions, row: int, top_k: int | None = None) -> dict[str, Any]:
        number = float(predictions["logits"][row, 0])
        low, high = (None, None) if self.radius is None else (number - self.radius, number + self.radius)
        values = {self.key: number, "low": low, "high": high}
        return {key: value if value is None else float(f"{value:.7g}") for key, value in values.items()}

    def say(self, predictions: Predictions, row: int) -> str:
        found = self.answer(predictions, row)
        number, low, high = found.values()
        return self.figure(number) + ("" if low is None else f" ({self.figure(low)} to {self.figure(high)})")

    def differences(self, predictions: Predictions, others: Predictions) -> np.ndarray:
        """Returns how far two answers are apart, in parts of the largest number of all."""
        first, second = _numbers(predictions), _numbers(others)
        return np.abs(first - second) / max(float(np.abs(first).max(initial=0)), np.finfo(np.float32).tiny)

    def differ(self, predictions: Predictions, others: Predictions) -> np.ndarray:
        return np.abs(_numbers(predictions) - _numbers(others))

    def evidence(self, predictions: Predictions, label: int) -> np.ndarray:
        return _numbers(predictions)

    def columns(
        self, predictions: Predictions, targets: np.ndarray | None = None
    ) -> list[tuple[str, Sequence[Any]]]:
        numbers, radius = _numbers(predictions), self.radius
        given = [] if targets is None else [("label", [f"{target:.15g}" for target in targets])]
        ends = [numbers if radius is None else numbers + sign * radius for sign in (-1, 1)]
        low, high = (["" if radius is None else f"{value:.9g}" for value in end] for end in ends)
        return [*given, ("prediction", [f"{number:.9g}" for number in numbers]), ("low", low), ("high", high)]

    column_count = 4

    def read_columns(self, columns: Sequence[Sequence[str]]) -> tuple[Predictions, np.ndarray]:
        targets, numbers = (np.array(column, np.float64) for column in columns[:2])
        return {"logits": numbers[:, None]}, targets

    # --- reports ---

    def draw(self, predictions: Predictions, targets: np.ndarray, shown: TestRows, folder: Path) -> None:
        from hftune.report.plots.scatter import draw_furthest, draw_scatter

        numbers = _numbers(predictions)
        figure, places = self.figure, shown.places
        draw_scatter(numbers, targets, self.name, self.radius, figure, folder / "scatter.png", places)
        if shown.image:
            draw_furthest(shown.image, numbers, targets, figure, folder / "mistakes.png", places)

    def use(self, modality: str) -> Use:
        return super().use(modality)._replace(reading=READING.format(name=self.name))

    def figure(self, value: float) -> str:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"

    def shown_metrics(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name != "loss" or "rmse" not in names]  # its square

    def describe(self, noun: str) -> str:
        return f"gives {noun} a number"

    def about(self) -> str:
        scale = f", mean {self.figure(self.mean)}, standard deviation {self.figure(self.deviation)}"
        return f"numbers of column {self.name!r}{scale if self.deviation != 1 else ''}"

    def trust(self, results: Mapping[str, float]) -> str:
        if self.radius is None:
            return "How far its numbers may be off is not known: there were too few validation rows."
        share, low, high = (results.get(f"test_coverage{end}", math.nan) for end in ("", "_low", "_high"))
        found = "which was not tested" if math.isnan(share) else f"of the test rows {share:.1%} were"
        interval = "" if math.isnan(low + high) else f" (95 % interval {low:.1%} to {high:.1%})"
        meant = f"within {self.figure(self.radius)} of its answer for {COVERAGE:.0%} of rows"
        return (
            f"The true number is to be {meant} like the validation rows; {found}{interval}. "
            "The width is the same for all."
        )


READING = """`score` in its answer is the number itself, in the unit of `{name}`. The true number is to be
within `conformal_radius` of it for nine rows of ten:

```python
radius = classify.model.config.conformal_radius
```

Old versions of transformers squash the number into 0 to 1: pass them `function_to_apply="none"`."""


def squared_error(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns the mean squared error over the rows of a batch."""
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    return mse_loss(model(**inputs).logits.float().flatten(), batch["labels"].float())  # (B, 1) and (B,)


def conformal_radius(residuals: np.ndarray) -> float | None:
    """Returns what 90 % of further residuals stay below, in the mean over samples of N rows and one more.

    Args:
        residuals: Absolute ones of rows that nothing was learned from, float64 (N,).

    Returns:
        The ceil(0.9 (N + 1))-th smallest; None where there are fewer rows than that.
    """
    place = math.ceil(COVERAGE * (len(residuals) + 1))
    return float(np.sort(residuals)[place - 1]) if place <= len(residuals) else None


def _numbers(predictions: Predictions) -> np.ndarray:
    """Returns the predicted numbers, float64 (N,)."""
    return np.asarray(predictions["logits"], np.float64)[:, 0]


def _doubts(table: Table, numbers: np.ndarray) -> list[str]:
    """Returns a warning where -1 may mark rows without a number."""
    marked = np.flatnonzero(numbers == UNLABELLED)
    if not len(marked) or (numbers < 0).sum() > len(marked):
        return []
    first = table.place(int(marked[0]))
    return [
        f"{table.name}: {len(marked):,} rows have the number -1 (first: {first}), the only one below 0; if "
        "it marks rows without a number, remove them"
    ]
