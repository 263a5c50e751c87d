"""Some tokens of a text are masked and have to be predicted: no labels are needed.

Shapes: N rows, B of a batch, L tokens, V ids, M masked tokens of the batch. Of the logits (M, V)
nothing is kept but the loss of each row and how many are right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from hftune.data.tables.table import Table
from hftune.errors import BadInput
from hftune.models.masked_logits import logits_at
from hftune.settings.masked_lm import MaskedLMSettings
from hftune.tasks.base import Batch, Loss, SimpleModel, Task
from hftune.tasks.metric import Metric, Predictions
from hftune.tasks.use import Use

if TYPE_CHECKING:
    from hftune.settings.base import Settings

READING = (  # of a model card
    "It is a start for other tasks too: `AutoModelForSequenceClassification.from_pretrained` and the like "
    "put a new head on its encoder."
)


@dataclass(frozen=True)
class MaskedLM(Task):
    """Masked tokens; targets are their number, int64 (N,).

    Predictions are `nll`, the sum of the losses of a row's masked tokens, float64 (N,), and `hits`, how many
    of them are the likeliest token, int64 (N,).

    Args:
        probability: Share of the tokens that are masked.
        mask: The token that stands in the place of most of them.
    """

    probability: float = 0.15
    mask: str = "[MASK]"

    problem_type = "masked_lm"
    no_answer = {}  # noqa: RUF012  a constant
    limit = "What it takes for likely is what was written in its texts, prejudices included."
    simplest = "predicting every token by its frequency in the training texts"
    baseline_titles = {"unigram": "token frequencies"}  # noqa: RUF012  a constant
    constant = "unigram"

    def with_settings(self, settings: Settings) -> Self:
        if not isinstance(settings, MaskedLMSettings):
            raise BadInput("--task masked_lm: this recipe reads labels; for texts alone take imdb_mlm")
        return replace(self, probability=settings.mlm_probability)

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...], pos_label: str | None) -> Self:
        return cls(mask=config.get("mask_token", cls.mask))

    def with_mask(self, mask: str) -> Self:
        """Returns the task of a tokenizer that has this mask."""
        return replace(self, mask=mask)

    def model_config(self) -> dict[str, Any]:
        return {"mask_token": self.mask}  # for `use`, which sees no tokenizer

    @property
    def metrics(self) -> dict[str, Metric]:
        return {
            "perplexity": Metric(perplexity, greater_is_better=False),
            "mlm_accuracy": Metric(lambda rows, masked: _mean(rows["hits"], masked), title="accuracy"),
            "log_loss": Metric(lambda rows, masked: _mean(rows["nll"], masked), False, title="log loss"),
        }

    # --- there are no labels ---

    def read_targets(
        self, tables: Mapping[str, Table], column: str, *, own: bool
    ) -> tuple[MaskedLM, dict[str, np.ndarray], list[str]]:
        return self, {split: np.zeros(table.rows, np.int64) for split, table in tables.items()}, []

    def match_targets(self, table: Table, column: str) -> np.ndarray:
        return np.zeros(table.rows, np.int64)

    def count_labels(self, targets: np.ndarray) -> np.ndarray:
        return np.zeros(0, np.int64)

    def too_alike(self, targets: np.ndarray) -> str:
        return ""

    def strata(self, targets: np.ndarray) -> np.ndarray:
        return np.zeros(len(targets), np.int64)

    # --- loss and predictions ---

    def loss(self, settings: Settings, targets: np.ndarray) -> Loss:
        super().loss(settings, targets)  # refuses flags of labels
        return masked_loss

    def predict_rows(self, model: torch.nn.Module, batch: Batch, targets: np.ndarray) -> Predictions:
        labels, device = batch.pop("labels"), batch["input_ids"].device
        masked = (labels >= 0).nonzero(as_tuple=True)
        there = tuple(places.to(device, non_blocking=True) for places in masked)
        logits, true = logits_at(model, batch, there), labels[masked].to(device, non_blocking=True)
        row = masked[0].numpy()
        nll = cross_entropy(logits, true, reduction="none").cpu().double().numpy()
        right = (logits.argmax(1) == true).cpu().numpy()
        rows = len(targets)
        return {
            "nll": np.bincount(row, nll, minlength=rows),
            "hits": np.bincount(row[right], minlength=rows),
        }

    def nothing(self) -> Predictions:
        return {"nll": np.zeros(0), "hits": np.zeros(0, np.int64)}

    def baselines(self, targets: np.ndarray, rows: int, simple: SimpleModel | None) -> dict[str, Predictions]:
        source: Any = simple  # a UnigramBaseline
        return {"unigram": source.predictions()}

    # --- tables ---

    def columns(
        self, predictions: Predictions, targets: np.ndarray | None = None
    ) -> list[tuple[str, Sequence[Any]]]:
        masked = np.asarray(targets)
        loss = predictions["nll"] / masked
        return [
            ("masked", masked.tolist()),
            ("right", predictions["hits"].tolist()),
            ("loss", [f"{value:.9g}" for value in loss]),
        ]

    column_count = 3

    def read_columns(self, columns: Sequence[Sequence[str]]) -> tuple[Predictions, np.ndarray]:
        masked, hits = (np.array(column, np.int64) for column in columns[:2])
        return {"nll": np.array(columns[2], np.float64) * masked, "hits": hits}, masked

    # --- answers are the pipeline's: `load_model` refuses such a model ---

    def answer(self, predictions: Predictions, row: int, top_k: int | None = None) -> NoReturn:
        raise NotImplementedError

    def say(self, predictions: Predictions, row: int) -> NoReturn:
        raise NotImplementedError

    def differences(self, predictions: Predictions, others: Predictions) -> NoReturn:
        raise NotImplementedError

    def evidence(self, predictions: Predictions, label: int) -> NoReturn:
        raise NotImplementedError

    # --- words ---

    def use(self, modality: str) -> Use:
        return Use("fill-mask", arguments=f'"Write a {self.mask} of your own here."', reading=READING)

    def meaning(self, names: Sequence[str]) -> dict[str, list[str]]:
        of_masked = [self.title(name) for name in names if name in ("mlm_accuracy", "loss")]
        return {"of masked tokens": of_masked, "e to the power of the log loss": ["perplexity"]}

    def caption(self, names: Sequence[str]) -> str:
        return "of masked tokens; perplexity: e to the power of the log loss"

    def about(self) -> str:
        return f"{100 * self.probability:g} % of the tokens of a text are masked"

    def describe(self, noun: str) -> str:
        return f"predicts masked tokens of {noun}"


def masked_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns the mean loss of the masked tokens of a batch; the decoder computes no others."""
    labels = batch["labels"]
    masked = (labels >= 0).nonzero(as_tuple=True)  # once: a device is waited for
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    return cross_entropy(logits_at(model, inputs, masked), labels[masked])


def perplexity(rows: Predictions, masked: np.ndarray) -> float:
    """Returns e to the power of the mean loss; infinite where that is above all numbers."""
    loss = _mean(rows["nll"], masked)
    return math.exp(loss) if loss < 700 else math.inf


def _mean(values: np.ndarray, masked: np.ndarray) -> float:
    """Returns the mean over masked tokens of sums over rows; nan for no rows."""
    return float(values.sum() / masked.sum()) if len(masked) else math.nan
