"""The trained model becomes the one that is saved: merged, finished, and with what the task chooses by it."""

import dataclasses
import logging

import torch
from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.models import lora
from hftune.tasks.base import Task
from hftune.training.context import Run
from hftune.training.setup import predict_split

log = logging.getLogger(__name__)

COMPARED = 32  # validation rows at most


def merge_adapter(run: Run, data: Data, model: PreTrainedModel) -> lora.Adapter | None:
    """Merges what LoRA learned into the weights, and says how far the logits move by that.

    Args:
        run: The run.
        data: Its first validation rows are compared, in float32.
        model: Has the weights that are the run's result; it is changed into an ordinary model of its class.

    Returns:
        The adapter; None without LoRA.
    """
    if not run.settings.lora_r:
        return None
    count = min(COMPARED, run.settings.per_device_eval_batch_size, len(data.validation))
    batch = data.collate([data.validation[row] for row in range(count)])
    batch.pop("labels")
    before = _logits(model, batch)
    adapter = lora.merge(model)
    difference = (_logits(model, batch) - before).abs().max()
    log.info(
        "LoRA: merged into the weights, which moves the logits of %d validation rows by %.2g at most",
        *(count, difference),
    )
    return adapter


def _logits(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    model.eval()
    with torch.no_grad():  # the class's forward: autocast and a compiler replace the instance's
        found = type(model).forward(model, **{name: rows.to(model.device) for name, rows in batch.items()})
    return found.logits.float()


def tune(run: Run, data: Data, model: PreTrainedModel) -> Data:
    """Lets the task finish the model and choose, and notes in the model's config what it chose.

    Args:
        run: The run.
        data: Its rows and its task, which has chosen nothing yet.
        model: Has the weights that are the run's result; it is changed into what will be saved.

    Returns:
        The data with the task of the finished model, the same on every process.
    """
    data = finish(data, model)
    task, rows = data.task, data.validation
    if not task.tunes:
        return data
    tuned = task.tune(predict_split(run, data, model, rows), rows.targets)
    note_choice(model, task, tuned)
    return dataclasses.replace(data, task=tuned)


def note_choice(model: PreTrainedModel, task: Task, tuned: Task) -> None:
    """Writes into a model's config what a task chose by it."""
    before = task.model_config()
    chosen = {name: value for name, value in tuned.model_config().items() if before.get(name) != value}
    model.config.update(chosen)


def finish(data: Data, model: PreTrainedModel) -> Data:
    """Lets the task finish a model that has been trained; returns the data with the task of such models."""
    if type(data.task).finish is Task.finish:
        return data
    batch = data.collate([data.validation[0]])
    batch.pop("labels")
    return dataclasses.replace(data, task=data.task.finish(model, batch))
