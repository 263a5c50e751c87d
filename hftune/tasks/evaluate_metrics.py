"""hftune's scores as `evaluate.Metric` modules that need no network and write no files.

For code that uses `evaluate` directly, `evaluate.combine` and `evaluate.evaluator` included. Rows are
counted as they are added (see `hftune.tasks.metrics`), not written to Arrow files. Nothing else in hftune
imports this module, since importing `evaluate` takes seconds.
"""

import difflib
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from hftune.errors import BadInput
from hftune.tasks.metrics import ClassificationCounts, score_confusion

CLASS_IDS = datasets.Value("int64")
LOGITS = datasets.Sequence(datasets.Value("float64"))


class _CountedMetric(evaluate.Metric):
    """What the metrics share; a subclass sets the four attributes and counts in `_update`.

    Args:
        **settings: As for `evaluate.Metric`. Several processes would meet in files, so gather the
            predictions instead (`Accelerator.gather_for_metrics`).

    Raises:
        ValueError: `num_process` is more than 1.
    """

    metric = ""  # in hftune.tasks.metrics
    key = ""  # in the result, as in the module of that name on the Hub
    predictions = CLASS_IDS
    citation = ""

    def __init__(self, **settings: Any):
        if settings.get("num_process", 1) != 1:
            raise ValueError(f"{self.key} counts in one process: gather the predictions and add them there")
        self._reset()
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=(type(self).__doc__ or "").strip(),
            citation=self.citation,
            inputs_description="predictions and references (labels) of the same rows.",
            features=datasets.Features({"predictions": self.predictions, "references": CLASS_IDS}),
        )

    def _build_data_dir(self) -> str:
        return self._data_dir_root  # evaluate would make a folder for its Arrow files here

    def __len__(self) -> int:
        return int(self._confusion().sum())

    def add(self, *, prediction: ArrayLike | None = None, reference: ArrayLike | None = None) -> None:
        """Counts one row."""
        self.add_batch(predictions=np.asarray([prediction]), references=np.asarray([reference]))

    def add_batch(self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None) -> None:
        """Counts rows, none of which is kept."""
        values, labels = np.asarray(predictions), np.asarray(references, np.int64)
        if len(values) != len(labels):
            raise ValueError(f"{len(values)} predictions do not fit {len(labels)} references")
        self._update(values, labels)

    def compute(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None
    ) -> dict[str, float]:
        """Returns the score of the rows given here and before, nan for none, and starts anew."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        score = self._compute() if len(self) else float("nan")
        self._reset()
        return {self.key: score}

    def _reset(self) -> None:
        raise NotImplementedError

    def _update(self, predictions: np.ndarray, labels: np.ndarray) -> None:
        raise NotImplementedError

    def _compute(self) -> float:
        raise NotImplementedError

    def _confusion(self) -> np.ndarray:
        raise NotImplementedError


class _ClassIdMetric(_CountedMetric):
    """Counts class ids in a confusion matrix that grows with the highest one seen."""

    def _reset(self) -> None:
        self._counts = np.zeros((2, 2), np.int64)

    def _update(self, predictions: np.ndarray, labels: np.ndarray) -> None:
        if not np.issubdtype(predictions.dtype, np.integer) or predictions.ndim != 1:
            raise ValueError(f"predictions of {self.key} are class ids, (n,) int; for logits take the argmax")
        if not len(labels):
            return
        if min(predictions.min(), labels.min()) < 0:
            raise ValueError("class ids are 0 or more")
        missing = max(predictions.max(), labels.max()) + 1 - len(self._counts)
        self._counts = np.pad(self._counts, (0, max(0, missing)))
        np.add.at(self._counts, (labels, predictions), 1)

    def _confusion(self) -> np.ndarray:
        return self._counts

    def _compute(self) -> float:
        return score_confusion(self._counts, self.metric)


class _LogitMetric(_CountedMetric):
    """Counts logits; the first batch says how many labels there are."""

    predictions = LOGITS

    def _reset(self) -> None:
        self._counts: ClassificationCounts | None = None

    def _update(self, predictions: np.ndarray, labels: np.ndarray) -> None:
        if predictions.ndim != 2:
            raise ValueError(f"predictions of {self.key} are logits, (n, labels) float")
        if self._counts is None:
            self._counts = ClassificationCounts(predictions.shape[1], (self.metric,))
        self._counts.update(predictions, labels)

    def _confusion(self) -> np.ndarray:
        return self._counts.confusion if self._counts else np.zeros((2, 2), np.int64)

    def _compute(self) -> float:
        assert self._counts is not None  # `compute` asks only when rows were counted
        return self._counts.compute([self.metric])[self.metric]


class Accuracy(_ClassIdMetric):
    """The share of rows whose predicted class id is the label."""

    metric = key = "accuracy"


class Precision(_ClassIdMetric):
    """The share of predictions of class 1 that are right; for more classes, the mean over classes."""

    metric = key = "precision"


class Recall(_ClassIdMetric):
    """The share of rows of class 1 that are found; for more classes, the mean over classes."""

    metric = key = "recall"


class F1(_ClassIdMetric):
    """The harmonic mean of precision and recall of class 1; for more classes, the mean over classes."""

    metric = key = "f1"


class MatthewsCorrelation(_ClassIdMetric):
    """The correlation of predicted and true classes, from -1 to 1."""

    metric = "mcc"
    key = "matthews_correlation"
    citation = (
        "Matthews 1975. Comparison of the predicted and observed secondary structure of T4 phage lysozyme."
    )


class RocAuc(_LogitMetric):
    """The area under the ROC curve of the logits; for more labels, the mean of each against the rest."""

    metric = key = "roc_auc"


class LogLoss(_LogitMetric):
    """The mean negative log likelihood of the labels, in nats, under the softmax of the logits."""

    metric = key = "log_loss"


class CalibrationError(_LogitMetric):
    """The expected gap of confidence and accuracy over 15 equal bins of confidence."""

    metric = key = "ece"
    citation = "Guo, Pleiss, Sun, Weinberger 2017. On Calibration of Modern Neural Networks. ICML."


MODULES: dict[str, type[_CountedMetric]] = {
    module.metric: module
    for module in (Accuracy, Precision, Recall, F1, MatthewsCorrelation, RocAuc, LogLoss, CalibrationError)
}


def load(name: str) -> evaluate.Metric:
    """Returns the metric of a name, as `evaluate.load` would, without the network.

    Args:
        name: `accuracy`, `precision`, `recall`, `f1`, `mcc` (or `matthews_correlation`), `roc_auc`,
            `log_loss` or `ece`.

    Raises:
        BadInput: The name is unknown.
    """
    by_name = MODULES | {module.key: module for module in MODULES.values()}
    if name not in by_name:
        nearest = difflib.get_close_matches(name, by_name, n=1, cutoff=0)[0]
        raise BadInput(f"unknown metric {name!r}: did you mean {nearest!r}? Known are {', '.join(by_name)}")
    return by_name[name]()
