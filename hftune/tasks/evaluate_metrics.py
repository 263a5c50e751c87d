"""hftune's scores as `evaluate.Metric` modules that need no network and write no files.

For code that uses `evaluate` directly, `evaluate.combine` and `evaluate.evaluator` included. Nothing else
in hftune imports this module, since importing `evaluate` takes seconds.
"""

import difflib
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from hftune.errors import BadInput
from hftune.tasks.single_label import SingleLabel

OF_LOGITS = ("roc_auc", "log_loss", "ece")  # the others read class ids
HUB_NAMES = {"mcc": "matthews_correlation"}


class TaskMetric(evaluate.Metric):
    """A metric of `hftune.tasks.single_label`, over all rows that were added.

    Args:
        name: Its name there.
        **settings: As for `evaluate.Metric`.

    Raises:
        ValueError: `num_process` is more than 1: several processes would meet in files, so gather the
            predictions instead (`Accelerator.gather_for_metrics`).
    """

    def __init__(self, name: str, **settings: Any):
        if settings.get("num_process", 1) != 1:
            raise ValueError(f"{name} is computed in one process: gather the predictions and add them there")
        self.metric = name
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        ids, logits = datasets.Value("int64"), datasets.Sequence(datasets.Value("float64"))
        kind = logits if self.metric in OF_LOGITS else ids
        features = datasets.Features({"predictions": kind, "references": ids})
        return evaluate.MetricInfo(description=self.metric, citation="", features=features)

    def _build_data_dir(self) -> str:
        return self._data_dir_root  # evaluate would make a folder for its Arrow files here

    def __len__(self) -> int:
        return sum(len(labels) for _, labels in self._parts)

    def add(self, *, prediction: ArrayLike | None = None, reference: ArrayLike | None = None) -> None:
        """Adds one row."""
        self.add_batch(predictions=np.asarray([prediction]), references=np.asarray([reference]))

    def add_batch(self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None) -> None:
        """Adds rows."""
        values, labels = np.asarray(predictions), np.asarray(references, np.int64)
        if len(values) != len(labels):
            raise ValueError(f"{len(values)} predictions do not fit {len(labels)} references")
        if self.metric in OF_LOGITS and values.ndim != 2:
            raise ValueError(f"predictions of {self.metric} are logits, (n, labels) float")
        if self.metric not in OF_LOGITS:
            if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
                raise ValueError(
                    f"predictions of {self.metric} are class ids, (n,) int; for logits take the argmax"
                )
            if min(*values, *labels, 0) < 0:
                raise ValueError("class ids are 0 or more")
        self._parts.append((values, labels))

    def compute(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None
    ) -> dict[str, float]:
        """Returns the score of the rows given here and before, nan for none, and forgets them."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        parts, self._parts = self._parts, []
        score = self._score(*map(np.concatenate, zip(*parts, strict=True))) if parts else float("nan")
        return {HUB_NAMES.get(self.metric, self.metric): score}

    def _score(self, values: np.ndarray, labels: np.ndarray) -> float:
        of_logits = self.metric in OF_LOGITS
        classes = values.shape[1] if of_logits else max(2, values.max() + 1, labels.max() + 1)
        task = SingleLabel(tuple(map(str, range(classes))))
        rows = task.scored({"logits": values}, labels, [self.metric]) if of_logits else {"prediction": values}
        return task.metric(self.metric).compute(rows, labels)


def load(name: str) -> evaluate.Metric:
    """Returns the metric of a name, as `evaluate.load` would, without the network.

    Args:
        name: `accuracy`, `precision`, `recall`, `f1`, `mcc` (or `matthews_correlation`), `roc_auc`,
            `log_loss` or `ece`.

    Raises:
        BadInput: The name is unknown.
    """
    known = {HUB_NAMES.get(metric, metric): metric for metric in SingleLabel().metrics}
    by_name = known | {metric: metric for metric in known.values()}
    if name not in by_name:
        nearest = difflib.get_close_matches(name, by_name, n=1, cutoff=0)[0]
        raise BadInput(f"unknown metric {name!r}: did you mean {nearest!r}? Known are {', '.join(by_name)}")
    return TaskMetric(by_name[name])
