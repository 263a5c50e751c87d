"""What a task chooses on the validation rows once the weights are known, and where it is kept."""

import dataclasses

from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.tasks.base import Task
from hftune.training.context import Run
from hftune.training.setup import predict_split


def tune(run: Run, data: Data, model: PreTrainedModel) -> Data:
    """Lets the task choose, and notes in the model's config what it chose.

    Args:
        run: The run.
        data: Its rows and its task, which has chosen nothing yet.
        model: Has the weights that will be saved; its config is changed.

    Returns:
        The data with the tuned task, the same on every process.
    """
    task, rows = data.task, data.validation
    if type(task).tune is Task.tune:
        return data
    tuned = task.tune(predict_split(run, data, model, rows), rows.targets)
    before = task.model_config()
    chosen = {name: value for name, value in tuned.model_config().items() if before.get(name) != value}
    model.config.update(chosen)
    return dataclasses.replace(data, task=tuned)
