"""Each row has one label of C: class ids, cross-entropy, and the class of the highest logit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hftune.data.labels import match_labels, number_labels
from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed
from hftune.tasks.base import OF_THE_LOSS, SMALLEST, Loss, SimpleModel, Task, TestRows
from hftune.tasks.class_metrics import class_metrics, rows_of
from hftune.tasks.linear import layer_of_classes
from hftune.tasks.metric import LabelScores, Metric, Predictions

if TYPE_CHECKING:
    from hftune.settings.base import Settings

OF_ONE_CLASS = ("precision", "recall", "f1")  # where there are two


@dataclass(frozen=True)
class SingleLabel(Task):
    """One class a row; targets are class ids, int64 (N,), predictions are `logits`, float (N, C).

    Raises:
        BadInput: `pos_label` is no class, or there are more than two.
    """

    problem_type = "single_label_classification"
    loss_flags = OF_THE_LOSS
    no_answer = {"label": None, "score": None, "scores": None}  # noqa: RUF012  a constant
    limit = "It always answers with one of its classes, also where none fits."
    simplest = "always giving the commonest class"

    def __post_init__(self) -> None:
        if self.pos_label is None or not self.labels:
            return
        if self.pos_label not in self.labels:
            raise BadInput(
                f"--pos_label {self.pos_label}: no such class; the classes are {listed(self.labels)}"
            )
        if len(self.labels) > 2:
            raise BadInput(
                f"--pos_label {self.pos_label}: scores of {len(self.labels)} classes are means over all; "
                "leave it out"
            )

    @property
    def positive(self) -> int:
        """The class id that precision, recall and F1 of two classes are of."""
        return self.labels.index(self.pos_label) if self.labels and self.pos_label is not None else 1

    @property
    def metrics(self) -> dict[str, Metric]:
        return class_metrics(len(self.labels), self.positive)

    def read_targets(
        self, tables: Mapping[str, Table], column: str, *, own: bool
    ) -> tuple[SingleLabel, dict[str, np.ndarray], list[str]]:
        names, targets, warnings = number_labels(tables, column, own=own)
        return replace(self, labels=names), targets, warnings

    def match_targets(self, table: Table, column: str) -> np.ndarray:
        return match_labels(table, column, self.labels)

    def count_labels(self, targets: np.ndarray) -> np.ndarray:
        return np.bincount(targets, minlength=len(self.labels))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        return targets

    def loss(self, settings: Settings, targets: np.ndarray) -> Loss:
        if settings.mixup or settings.cutmix:
            from hftune.tasks.mixup import mixing_loss

            return mixing_loss(settings, len(self.labels))  # type: ignore[arg-type]
        from hftune.tasks.losses import build_loss, row_losses

        if settings.teacher:
            from hftune.tasks.distillation import distillation_loss

            own = row_losses(settings, targets, self.labels)
            return distillation_loss(settings, own)  # type: ignore[arg-type]
        return build_loss(settings, targets, self.labels)

    def linear_layer(self, features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return layer_of_classes(features, targets, len(self.labels))

    def scored(
        self, predictions: Predictions, targets: np.ndarray, names: Collection[str]
    ) -> dict[str, np.ndarray]:
        logits, labels = predictions["logits"], len(self.labels)
        if logits.shape != (len(targets), labels):
            raise ValueError(f"logits {logits.shape} do not fit {len(targets)} rows, {labels} labels")
        outside = targets[(targets < 0) | (targets >= labels)]
        if len(outside):
            raise BadInput(f"label {outside[0]} cannot be scored: labels are 0 to {labels - 1}")
        super().scored(predictions, targets, names)
        return rows_of(logits, targets, ranked="roc_auc" in names)

    def check_metric(self, metric: str, targets: np.ndarray) -> str:
        absent = [
            name for name, count in zip(self.labels, self.count_labels(targets), strict=True) if not count
        ]
        if not absent:
            return ""
        said = ", ".join(absent[:5]) + (f", ... ({len(absent)})" if len(absent) > 5 else "")
        problem = f"--metric_for_best_model {metric}: no validation row has the label {said}"
        if metric == "roc_auc":
            raise BadInput(f"{problem}, so it is not defined; choose another, such as loss, or other rows")
        one_class = len(self.labels) - len(absent) == 1
        never_positive = len(self.labels) == 2 and absent == [self.labels[self.positive]]
        if (metric == "mcc" and one_class) or (metric in OF_ONE_CLASS and never_positive):
            return f"{problem}, so it is always 0, and the loss alone chooses the best model"
        return ""

    def label_scores(self, predictions: Predictions, targets: np.ndarray) -> list[LabelScores]:
        every = range(len(self.labels))
        parts = precision_recall_fscore_support(
            targets, predictions["logits"].argmax(-1), labels=every, zero_division=np.nan
        )
        return [
            LabelScores(*row) for row in zip(self.labels, *(part.tolist() for part in parts), strict=True)
        ]

    def only_answer(self, predictions: Predictions) -> int | None:
        found = np.unique(answers := predictions["logits"].argmax(-1))
        return int(found[0]) if len(found) == 1 and len(answers) > 1 else None

    def baselines(self, targets: np.ndarray, rows: int, simple: SimpleModel | None) -> dict[str, Predictions]:
        frequencies = self.count_labels(targets) / len(targets)
        probabilities = {"majority": np.tile(frequencies, (rows, 1))}
        if simple:
            probabilities[simple.name] = self._simple(targets, rows, simple)
        n, classes = len(targets), len(self.labels)
        # Every class is given one further training row's worth of probability, so that logarithms are finite.
        return {name: {"logits": np.log((n * p + 1) / (n + classes))} for name, p in probabilities.items()}

    def _simple(self, targets: np.ndarray, rows: int, simple: SimpleModel) -> np.ndarray:
        """Returns a simple model's probabilities of the test rows, float64 (n, C)."""
        probabilities, present = np.zeros((rows, len(self.labels))), np.unique(targets)
        if len(present) == 1:  # nothing to tell apart
            probabilities[:, present] = 1
        elif rows:
            train, test = simple.features()
            probabilities[:, present] = simple.estimator().fit(train, targets).predict_proba(test)
        return probabilities

    def answer(self, predictions: Predictions, row: int, top_k: int | None = None) -> dict[str, Any]:
        chances = softmax(predictions["logits"][row].astype(np.float64))
        order = np.argsort(-chances, kind="stable")[:top_k]
        scores = {self.labels[number]: round(float(chances[number]), 6) for number in order}
        best = self.labels[order[0]]
        return {"label": best, "score": scores[best], "scores": scores}

    def say(self, predictions: Predictions, row: int) -> str:
        found = self.answer(predictions, row, 1)
        return f"{found['label']} {found['score']:.0%}"

    def probabilities(self, predictions: Predictions) -> np.ndarray:
        """Returns the probability of each label, float64 (N, C)."""
        return softmax(predictions["logits"].astype(np.float64), axis=-1)

    def differences(self, predictions: Predictions, others: Predictions) -> np.ndarray:
        return np.abs(self.probabilities(predictions) - self.probabilities(others)).max(axis=1)

    def evidence(self, predictions: Predictions, label: int) -> np.ndarray:
        logits = predictions["logits"].astype(np.float64)
        return logits[:, label] - logsumexp(np.delete(logits, label, axis=1), axis=1)

    def columns(
        self, predictions: Predictions, targets: np.ndarray | None = None
    ) -> list[tuple[str, Sequence[Any]]]:
        chances = softmax(predictions["logits"], axis=-1)
        found: list[tuple[str, Sequence[Any]]] = []
        if targets is not None:
            found.append(("label", [self.labels[target] for target in targets]))
        found.append(("prediction", [self.labels[number] for number in chances.argmax(-1)]))
        return found + [
            (name, [f"{p:.6f}" for p in column]) for name, column in zip(self.labels, chances.T, strict=True)
        ]

    def read_columns(self, columns: Sequence[Sequence[str]]) -> tuple[Predictions, np.ndarray]:
        ids = {name: number for number, name in enumerate(self.labels)}
        targets = np.array([ids[label] for label in columns[0]])
        chances = np.array(columns[2:], np.float64).T
        return {"logits": np.log(np.maximum(chances, SMALLEST))}, targets

    def draw(self, predictions: Predictions, targets: np.ndarray, shown: TestRows, folder: Path) -> None:
        from hftune.report.plots.confusion import draw_confusion
        from hftune.report.plots.images import draw_mistakes

        logits = predictions["logits"]
        counts = confusion_matrix(targets, logits.argmax(-1), labels=range(len(self.labels)))
        draw_confusion(counts, self.labels, folder / "confusion.png")
        if shown.image:
            path = folder / "mistakes.png"
            draw_mistakes(shown.image, logits, targets, self.labels, path, places=shown.places)

    def shown_metrics(self, names: Sequence[str]) -> list[str]:
        alike = {"f1_macro"} if len(self.labels) > 2 and "f1" in names else set()  # the same number
        return [name for name in names if name not in alike]

    def caption(self, names: Sequence[str]) -> str:
        of_one_class = [self.title(name) for name in names if name in OF_ONE_CLASS]
        if len(self.labels) != 2 or not of_one_class:
            return ""
        return f"{', '.join(of_one_class)} of '{self.labels[self.positive]}' (another: --pos_label)"

    def meaning(self, names: Sequence[str]) -> dict[str, list[str]]:
        two = len(self.labels) == 2
        phrase = f"of the class '{self.labels[self.positive]}'" if two else "means over the classes"
        return {phrase: [name for name in names if name in OF_ONE_CLASS]}

    def describe(self, noun: str) -> str:
        return f"sorts {noun} into {len(self.labels):,} classes"
