"""Each row has any of C labels: rows of 0 and 1, binary cross-entropy, and a threshold for each label."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_fscore_support

from hftune.data.label_lists import are_joined, first_several, join_columns, match_lists, multi_hot
from hftune.data.tables.table import Table
from hftune.errors import BadInput, shown
from hftune.tasks.base import BASELINES, SMALLEST, Loss, SimpleModel, Task, TestRows
from hftune.tasks.class_metrics import NLL_LIMIT, rank, ratio
from hftune.tasks.intervals import f1_intervals, share_of_rows
from hftune.tasks.linear import layer_of_labels
from hftune.tasks.metric import LabelScores, Metric, Predictions
from hftune.tasks.thresholds import HALF, choose_thresholds
from hftune.tasks.use import Use

if TYPE_CHECKING:
    from hftune.settings.base import Settings

MEANINGS = {  # of metrics, as a model card says it
    "means over the labels": ("map", "f1_macro", "f1_macro_at_half"),
    "label ranking average precision, how near the top a row's labels stand": ("lrap",),
    "over all labels of all rows": ("f1_micro",),
    "rows whose labels are all right": ("subset_accuracy",),
    "cells (a label of a row) that are wrong": ("hamming_loss",),
}
TUNED = "at thresholds chosen on the validation rows, whose own scores they flatter"
OF_THRESHOLDS = ("f1_macro", "f1_micro", "subset_accuracy", "hamming_loss")
FORMER_NAMES = {"exact_match": "subset_accuracy"}  # of metrics


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any labels a row; targets are 0 and 1, float32 (N, C), predictions are `logits`, float (N, C).

    Args:
        labels: See `Task`.
        pos_label: See `Task`.
        rule: How `tune` chooses the thresholds: see `hftune.tasks.thresholds.choose_thresholds`.
        thresholds: The probability of each label above which a row gets it; (): a half, of all.
    """

    rule: str = "per_label"
    thresholds: tuple[float, ...] = ()

    problem_type = "multi_label_classification"
    no_answer = {"labels": None, "scores": None}  # noqa: RUF012  a constant
    limit = "It gives a row the labels whose probability is above their threshold: several, or none."
    own_flags = ("thresholds",)
    loss_flags = ("class_weight",)
    baseline_titles = BASELINES | {"majority": "shares of the labels"}
    simplest = "always giving each label its share of the training rows"

    def with_settings(self, settings: Settings) -> MultiLabel:
        return replace(super().with_settings(settings), rule=settings.thresholds)

    @classmethod
    def of_config(
        cls, config: Mapping[str, Any], labels: tuple[str, ...], pos_label: str | None
    ) -> MultiLabel:
        known = config.get("thresholds") or {}
        if known and (missing := [label for label in labels if label not in known]):
            raise BadInput(f"config.json: thresholds has no number for the label {missing[0]!r}")
        thresholds = tuple(known[label] for label in labels) if known else ()
        rule = "per_label" if {*thresholds} - {HALF} else str(HALF)
        return cls(labels, pos_label, rule=rule, thresholds=thresholds)

    @classmethod
    def claims(cls, table: Table, column: str) -> str:
        another = "--task chooses another"
        if are_joined(table, column):
            return f"are several columns of 0 and 1 ({column}); {another}"
        row, labels = first_several(table, column)
        return f"are lists such as {shown(repr(labels))} ({table.place(row)}); {another}" if labels else ""

    @property
    def metrics(self) -> dict[str, Metric]:
        return {
            "map": Metric(mean_average_precision, title="mAP"),  # the first: it needs no threshold
            "f1_macro": Metric(f1_macro, title="macro F1"),
            "f1_micro": Metric(f1_micro, title="micro F1"),
            "f1_macro_at_half": Metric(f1_macro_at_half, title="macro F1 at 0.5"),
            "lrap": Metric(lambda rows, _: float(rows["lrap"].mean()), title="LRAP"),
            "subset_accuracy": share_of_rows(
                lambda rows, targets: (rows["predicted"] == targets).all(1), title="subset accuracy"
            ),
            "hamming_loss": Metric(
                lambda rows, targets: float((rows["predicted"] != targets).mean()),
                False,
                title="Hamming loss",
            ),
            "log_loss": Metric(lambda rows, _: float(rows["nll"].mean()), False, title="log loss"),
        }

    def metric(self, name: str) -> Metric:
        return super().metric(FORMER_NAMES.get(name, name))

    def model_config(self) -> dict[str, Any]:
        chosen = (
            {"thresholds": dict(zip(self.labels, self.thresholds, strict=True))} if self.thresholds else {}
        )
        return super().model_config() | chosen

    def tune(self, predictions: Predictions, targets: np.ndarray) -> MultiLabel:
        return replace(
            self, thresholds=choose_thresholds(self.probabilities(predictions), targets, self.rule)
        )

    def use(self, modality: str) -> Use:
        use = super().use(modality)
        arguments = f"{use.arguments}, top_k={len(self.labels)}"
        lines = [
            "thresholds = classify.model.config.thresholds",
            f"answers = classify({arguments})",
            'print([one["label"] for one in answers if one["score"] > thresholds[one["label"]]])',
        ]
        words = (
            "It gives each label a probability, and a row has the labels whose probability is above their "
            "threshold, which stands in `config.json`:"
        )
        code = "\n".join(["```python", *lines, "```"])
        return use._replace(arguments=arguments, reading=f"{words}\n\n{code}")

    def join_columns(self, table: Table, column: str | None) -> Table:
        return join_columns(table, column)

    def read_targets(
        self, tables: Mapping[str, Table], column: str, *, own: bool
    ) -> tuple[MultiLabel, dict[str, np.ndarray], list[str]]:
        labels, targets, warnings = multi_hot(tables, column)
        return replace(self, labels=labels), targets, warnings

    def match_targets(self, table: Table, column: str) -> np.ndarray:
        return match_lists(table, column, self.labels)

    def count_labels(self, targets: np.ndarray) -> np.ndarray:
        return targets.sum(0).astype(np.int64)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        return targets > 0

    def loss(self, settings: Settings, targets: np.ndarray) -> Loss:
        own = super().loss(settings, targets)
        if not settings.class_weight:
            return own
        from hftune.tasks.losses import weighted_binary_loss

        return weighted_binary_loss(settings.class_weight, targets, self.labels)

    def scored(
        self, predictions: Predictions, targets: np.ndarray, names: Collection[str]
    ) -> dict[str, np.ndarray]:
        logits = np.asarray(predictions["logits"], np.float64)
        if logits.shape != targets.shape:
            raise ValueError(f"logits {logits.shape} do not fit targets {targets.shape}")
        super().scored(predictions, targets, names)
        losses = np.logaddexp(0, logits) - targets * logits  # of each label's sigmoid, in nats
        rows = {
            "predicted": self.given(predictions),
            "predicted_at_half": logits > 0,
            "nll": np.minimum(losses, NLL_LIMIT).mean(1),
        }
        rows |= {"lrap": label_ranking(logits, targets > 0)} if "lrap" in names else {}
        return rows | ({"rank": rank(logits)} if "map" in names else {})

    def given(self, predictions: Predictions) -> np.ndarray:
        """Returns which labels each row is given, bool (N, C)."""
        return self.probabilities(predictions) > (self.thresholds or HALF)

    def check_metric(self, metric: str, targets: np.ndarray) -> str:
        if metric == "map" and not targets.any():
            raise BadInput(
                f"--metric_for_best_model {metric}: no validation row has a label, so it is not defined; "
                "choose another, such as loss, or other rows"
            )
        return ""

    def label_scores(self, predictions: Predictions, targets: np.ndarray) -> list[LabelScores]:
        parts = precision_recall_fscore_support(targets, self.given(predictions), zero_division=np.nan)
        columns = (part.tolist() for part in parts)
        thresholds = self.thresholds or (None,) * len(self.labels)
        return [LabelScores(*row) for row in zip(self.labels, *columns, thresholds, strict=True)]

    def shown_targets(self, targets: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
        return np.arange(len(targets)), self._joined(targets > 0)

    def linear_layer(self, features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return layer_of_labels(features, targets)

    def baselines(self, targets: np.ndarray, rows: int, simple: SimpleModel | None) -> dict[str, Predictions]:
        chances = {"majority": np.tile(targets.mean(0, dtype=np.float64), (rows, 1))}
        if simple:
            train, test = simple.features()
            each = [_chances(simple, train, column, test) for column in targets.T]
            chances[simple.name] = np.stack(each, axis=1)
        n = len(targets)  # one further row with each label and one without keep logarithms finite
        return {name: {"logits": logit((n * p + 1) / (n + 2))} for name, p in chances.items()}

    def answer(self, predictions: Predictions, row: int, top_k: int | None = None) -> dict[str, Any]:
        one = {"logits": predictions["logits"][row : row + 1]}
        (chances,), (above,) = self.probabilities(one), self.given(one)
        order = np.argsort(-chances, kind="stable")
        given = [self.labels[number] for number in order if above[number]]
        scores = {self.labels[number]: round(float(chances[number]), 6) for number in order[:top_k]}
        return {"labels": given, "scores": scores}

    def say(self, predictions: Predictions, row: int) -> str:
        ((label, chance),) = self.answer(predictions, row, 1)["scores"].items()
        return f"{label} {chance:.0%}"

    def probabilities(self, predictions: Predictions) -> np.ndarray:
        """Returns the probability of each label, float64 (N, C)."""
        return expit(predictions["logits"].astype(np.float64))

    def differences(self, predictions: Predictions, others: Predictions) -> np.ndarray:
        return np.abs(self.probabilities(predictions) - self.probabilities(others)).max(axis=1)

    def evidence(self, predictions: Predictions, label: int) -> np.ndarray:
        return predictions["logits"][:, label].astype(np.float64)

    def columns(
        self, predictions: Predictions, targets: np.ndarray | None = None
    ) -> list[tuple[str, Sequence[Any]]]:
        logits = predictions["logits"]
        given = [] if targets is None else [("label", self._joined(targets > 0))]
        chances = zip(self.labels, expit(logits).T, strict=True)
        probabilities = [(name, [f"{p:.6f}" for p in column]) for name, column in chances]
        return [*given, ("prediction", self._joined(self.given(predictions))), *probabilities]

    def read_columns(self, columns: Sequence[Sequence[str]]) -> tuple[Predictions, np.ndarray]:
        rows = [set(label.split("|")) for label in columns[0]]
        targets = np.array([[name in row for name in self.labels] for row in rows], np.float32)
        chances = np.array(columns[2:], np.float64).T
        return {"logits": logit(chances.clip(SMALLEST, 1 - SMALLEST))}, targets

    def _joined(self, given: np.ndarray) -> list[str]:
        """Returns the names of each row's labels, bool (N, C), as one word."""
        return ["|".join(self.labels[number] for number in np.flatnonzero(row)) for row in given]

    def draw(self, predictions: Predictions, targets: np.ndarray, shown: TestRows, folder: Path) -> None:
        from hftune.report.plots.label_bars import draw_label_bars

        limits = f1_intervals(self.given(predictions), targets > 0)
        draw_label_bars(self.label_scores(predictions, targets), limits, folder / "labels.png")

    def meaning(self, names: Sequence[str]) -> dict[str, list[str]]:
        said = MEANINGS | ({TUNED: OF_THRESHOLDS} if self.thresholds else {})
        return {phrase: [name for name in names if name in those] for phrase, those in said.items()}

    def shown_metrics(self, names: Sequence[str]) -> list[str]:
        alike = {"f1_macro_at_half"} if self.rule == str(HALF) else set()  # the same number
        return [name for name in names if name not in alike]

    def describe(self, noun: str) -> str:
        return f"gives {noun} any of {len(self.labels):,} labels"


def _chances(simple: SimpleModel, train: Any, targets: np.ndarray, test: Any) -> np.ndarray:
    """Returns a simple model's probability of one label, float64 (n,); `targets` are 0 and 1, (N,)."""
    if targets.min() == targets.max():  # nothing to tell apart
        return np.full(test.shape[0], float(targets[0]))
    return simple.estimator().fit(train, targets).predict_proba(test)[:, 1]


def f1_micro(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the F1 of all labels of all rows, 0 where there is none."""
    hits = (rows["predicted"] & (targets > 0)).sum()
    return float(ratio(2 * hits, rows["predicted"].sum() + targets.sum(dtype=np.float64)))


def f1_macro(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the mean over the labels of their F1, 0 for one that neither occurs nor is predicted."""
    return _mean_f1(rows["predicted"], targets)


def f1_macro_at_half(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the same with a threshold of a half for all labels, as others who tune none report it."""
    return _mean_f1(rows["predicted_at_half"], targets)


def _mean_f1(predicted: np.ndarray, targets: np.ndarray) -> float:
    hits = (predicted & (targets > 0)).sum(0)
    return float(ratio(2 * hits, predicted.sum(0) + targets.sum(0, dtype=np.float64)).mean())


def label_ranking(logits: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the ranking precision of each row (Schapire & Singer 2000): how near the top its labels stand.

    Args:
        logits: float64 (N, C).
        positive: bool (N, C); a row without labels gets 1, as in scikit-learn.

    Returns:
        float64 (N,); their mean is the LRAP.
    """
    if not len(logits):
        return np.zeros(0)
    among_all = rankdata(-logits, "max", axis=1)
    among_positive = rankdata(np.where(positive, -logits, np.inf), "max", axis=1)
    shares = np.where(positive, among_positive / among_all, 0).sum(1)
    return np.where(positive.any(1), shares / np.maximum(positive.sum(1), 1), 1.0)


def mean_average_precision(rows: Predictions, targets: np.ndarray) -> float:
    """Returns the mean average precision of the labels that occur; nan where none does."""
    columns = zip(rows["rank"].T, targets.T > 0, strict=True)
    found = [average_precision(places, positive) for places, positive in columns if positive.any()]
    return float(np.mean(found)) if found else math.nan


def average_precision(places: np.ndarray, positive: np.ndarray) -> float:
    """Returns the precision at each threshold, weighted by the recall that it adds.

    Args:
        places: int64 (N,) from 0, higher is more likely positive.
        positive: bool (N,), at least one.
    """
    steps = int(places.max()) + 1
    hits = np.bincount(places[positive], minlength=steps)[::-1]
    taken = np.cumsum(np.bincount(places, minlength=steps)[::-1])
    return float(hits @ (np.cumsum(hits) / taken) / hits.sum())
