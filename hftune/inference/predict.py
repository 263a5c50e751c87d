"""From rows to a loaded model's predictions."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from hftune.data.dataset import Rows
from hftune.data.loader import worker_count
from hftune.inference.load import LoadedModel, one_accelerator
from hftune.tasks.metric import Predictions
from hftune.training.evaluate import predict
from hftune.training.precision import choose_precision


def predict_rows(
    loaded: LoadedModel,
    rows: Rows,
    *,
    rows_per_batch: int = 32,
    on_progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Returns what the task keeps of the model's output for every row, in the data's order.

    Rows of similar length share a batch, so that little is computed for padding.

    Args:
        loaded: The model.
        rows: What `loaded.inputs.rows` made.
        rows_per_batch: Rows in a batch.
        on_progress: Called with the number of rows that were just predicted.

    Returns:
        For classifiers `logits`, float32 of shape (N, C).
    """
    accelerator = one_accelerator()
    return predict(
        loaded.task,
        loaded.model,
        rows,
        loaded.inputs.collate,
        accelerator,
        rows_per_batch=rows_per_batch,
        workers=worker_count(loaded.inputs.workers, accelerator.device, accelerator.num_processes),
        tick=on_progress,
    )


def precision_of(settings: Any) -> str:
    """Returns the precision in which a run of these settings scores its rows here: "bf16", "fp16" or "no"."""
    device = one_accelerator().device
    if settings.fp16 and device.type == "cpu":  # of a run on a GPU
        return "no"
    return choose_precision(settings, device)[0]


def autocast(precision: str) -> AbstractContextManager:
    """Lets what is computed inside be in a precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(one_accelerator().device.type, dtype=dtype, enabled=precision != "no")
