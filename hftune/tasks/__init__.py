"""What is asked of a row: targets, losses, scores, intervals, baselines, answers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hftune.errors import BadInput

if TYPE_CHECKING:
    from hftune.tasks.base import Task

TASKS = {  # --task NAME; imported when it is used
    "single_label": "hftune.tasks.single_label:SingleLabel",
    "multi_label": "hftune.tasks.multi_label:MultiLabel",
}


def find_task(name: str) -> type[Task]:
    """Returns the task of a name.

    Raises:
        BadInput: There is none.
    """
    if name not in TASKS:
        nearest = difflib.get_close_matches(name, TASKS, n=1, cutoff=0)[0]
        raise BadInput(f"--task {name}: did you mean {nearest!r}? Known are {', '.join(TASKS)}")
    module, _, kind = TASKS[name].partition(":")
    return getattr(import_module(module), kind)


def name_of(task: Task) -> str:
    """Returns the name of a task in `TASKS`."""
    return next(name for name in TASKS if find_task(name) is type(task))


def task_of(config: Mapping[str, Any], pos_label: str | None = None) -> Task:
    """Returns the task of a saved model.

    Args:
        config: The content of its config.json, or `config.to_dict()`.
        pos_label: See `Task`.
    """
    from transformers import PreTrainedConfig

    # timm has a key of its own; transformers leaves names such as LABEL_0 out of the file.
    names: dict = PreTrainedConfig.from_dict(dict(config)).id2label or {}
    labels = tuple(config.get("label_names") or (str(names[number]) for number in sorted(names, key=int)))
    kinds = [find_task(name) for name in TASKS]
    kind = next((kind for kind in kinds if kind.problem_type == config.get("problem_type")), kinds[0])
    return kind(labels, pos_label)
