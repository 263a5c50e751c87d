"""What is asked of a row: targets, losses, scores, intervals, baselines, answers."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hftune.errors import BadInput

if TYPE_CHECKING:
    from hftune.data.tables.table import Table
    from hftune.settings.base import Settings
    from hftune.tasks.base import Task

TASKS = {  # --task NAME; imported when it is used
    "single_label": "hftune.tasks.single_label:SingleLabel",
    "multi_label": "hftune.tasks.multi_label:MultiLabel",
    "regression": "hftune.tasks.regression:Regression",
    "tokens": "hftune.tasks.tokens:Tokens",
    "masked_lm": "hftune.tasks.masked_lm:MaskedLM",
}
ARCHITECTURES = {  # whose models do not write `problem_type` down, by how the names of their classes end
    "ForTokenClassification": "token_classification",
    "ForMaskedLM": "masked_lm",
}
USUAL = "single_label"  # where neither `--task` nor the label column says another

log = logging.getLogger(__name__)


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
    """Returns the name of a task in `TASKS`; of a recipe's own, the name of the first one of its kind."""
    kinds = {name: find_task(name) for name in TASKS}
    same = [name for name, kind in kinds.items() if kind is type(task)]
    alike = [name for name, kind in kinds.items() if kind.problem_type == task.problem_type]
    return next(iter([*same, *alike]), USUAL)


def possible_tasks(settings: Settings, own: Task | None = None) -> list[Task]:
    """Returns the tasks that rows may be read for, as long as their label column is not known.

    That is the one of `--task`, or a recipe's own of the same kind; where neither is given, all there are.

    Raises:
        BadInput: There is no such task, or the recipe's is of another kind. A saved model finds its task by
            its kind, transformers' `problem_type`. Or a flag was given that another task alone reads.
    """
    name = name_of(own) if own and not settings.task else settings.task
    return [_chosen(settings, name, own)] if name else [find_task(one)() for one in TASKS]


def chosen_task(settings: Settings, table: Table, column: str, own: Task | None = None) -> Task:
    """Returns the task that rows are read for.

    Where neither `--task` nor a recipe says it, the label column does: the first task that it looks like is
    told in a line of the log.

    Args:
        settings: `task`, and what the task reads of them.
        table: The training rows.
        column: Their label column.
        own: A recipe's own task.

    Raises:
        BadInput: See `possible_tasks`.
    """
    if settings.task or own:
        return possible_tasks(settings, own)[0]
    for name in TASKS:
        if why := find_task(name).claims(table, column):
            log.info("task: %s, as the labels of %s %s", name, table.name, why)
            return _chosen(settings, name)
    return _chosen(settings, USUAL)


def label_names(settings: Settings) -> tuple[str, ...]:
    """Returns what the label column may be called besides the usual names."""
    return find_task(settings.task or USUAL).label_names


def _chosen(settings: Settings, name: str, own: Task | None = None) -> Task:
    named = find_task(name)()
    _refuse_flags_of_others(settings, named)
    if own is None:
        return named.with_settings(settings)
    if own.problem_type != named.problem_type:
        kind = f"{type(own).__name__}, the recipe's own task, is of the kind {own.problem_type}"
        raise BadInput(f"--task {name}: {kind}, not {named.problem_type}")
    return own.with_settings(settings)


def _refuse_flags_of_others(settings: Settings, task: Task) -> None:
    usual = type(settings)()
    for name in TASKS:
        for flag in find_task(name).own_flags:
            value, default = (getattr(one, flag, None) for one in (settings, usual))
            if flag not in task.own_flags and value != default:
                raise BadInput(f"--{flag} {value}: for --task {name} alone; leave it out")


def task_of(config: Mapping[str, Any], pos_label: str | None = None) -> Task:
    """Returns the task of a saved model, with what it chose on its validation rows (`Task.tune`).

    Args:
        config: The content of its config.json, or `config.to_dict()`.
        pos_label: See `Task`.
    """
    from transformers import PreTrainedConfig

    # timm has a key of its own; transformers leaves names such as LABEL_0 out of the file.
    names: dict = PreTrainedConfig.from_dict(dict(config)).id2label or {}
    labels = tuple(config.get("label_names") or (str(names[number]) for number in sorted(names, key=int)))
    kinds = [find_task(name) for name in TASKS]
    named = config.get("architectures") or []
    of_classes = (kind for end, kind in ARCHITECTURES.items() if any(name.endswith(end) for name in named))
    problem = next(of_classes, config.get("problem_type"))
    kind = next((kind for kind in kinds if kind.problem_type == problem), kinds[0])
    return kind.of_config(config, labels, pos_label)
