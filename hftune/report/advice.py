"""What to try next, read from a run's log, where its model is no better than a simple one."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hftune.report.summary import gain
from hftune.settings.base import Settings
from hftune.tasks.base import Task

FALLING = 0.98  # of the training loss: less than this share of what it was counts as falling
RISEN = 1.05  # of the validation loss: more than this many times its least counts as risen


def what_to_try(
    results: Mapping[str, float], log_lines: Sequence[Mapping[str, Any]], settings: Settings, task: Task
) -> str:
    """Returns a line of advice, "" where the model is better than the simple ones, or none was scored.

    Args:
        results: The content of `all_results.json`.
        log_lines: Records of `log.jsonl`.
        settings: The run's.
        task: Its first metric is compared.
    """
    if not no_better(results, task):
        return ""
    losses = [line["loss"] for line in log_lines if "loss" in line]
    scored = [(line["eval_loss"], line["step"]) for line in log_lines if "eval_loss" in line]
    least, step = min(scored, default=(0.0, 0))
    peak = settings.learning_rate or max((line.get("learning_rate", 0.0) for line in log_lines), default=0.0)
    rate = f"--learning_rate (now {peak:g})"
    length = f"--num_train_epochs (now {settings.num_train_epochs or results.get('epoch', 0.0):g})"
    if settings.max_steps > 0:
        length = f"--max_steps (now {settings.max_steps:,})"
    quarter = max(1, len(losses) // 4)
    before, last = losses[-2 * quarter : -quarter], losses[-quarter:]
    if scored and scored[-1][0] > RISEN * least:
        return (
            f"try next: the validation loss rose after step {step:,}, so the model overfits: "
            f"more rows, a lower {rate} or more --weight_decay (now {settings.weight_decay:g})"
        )
    if not before or statistics.mean(last) < FALLING * statistics.mean(before):
        return f"try next: the training loss was still falling: more {length} or a higher {rate}"
    return (
        f"try next: the training loss no longer falls, at {last[-1]:.3g}: a {rate} ten times higher or lower"
    )


def no_better(results: Mapping[str, float], task: Task) -> bool:
    """Says whether a simple model is as good, within the 95 % interval of the difference in a metric."""
    gains = [found for name in task.baseline_titles if (found := gain(results, task, name))]
    if gains:
        return any(low <= 0 for _, low, _ in gains)
    name, metric = next(iter(task.metrics.items()))
    simplest, own = results.get(f"eval_{task.constant}_{name}"), results.get(f"eval_{name}")
    if simplest is None or own is None:
        return False
    return own <= simplest if metric.greater_is_better else own >= simplest
