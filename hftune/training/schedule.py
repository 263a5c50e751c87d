"""How many steps a run makes, and after which of them it evaluates, saves and logs."""

import math
from dataclasses import dataclass
from typing import Self

from hftune.data.batches import BatchPlan
from hftune.errors import BadInput
from hftune.settings.base import Settings
from hftune.training import rules


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps are counted when they are done, so that the first one is 1.

    Args:
        total_steps: Optimizer steps that the loop makes.
        lr_steps: Those over which the learning rate runs its course: all of a run's, also where a dry run
            makes a few of them.
        eval_at: After which the validation rows are scored.
        save_at: After which a checkpoint is written, besides the last one and the best.
        log_every: Steps between two log records.
    """

    total_steps: int
    lr_steps: int
    eval_at: frozenset[int]
    save_at: frozenset[int]
    log_every: int

    @classmethod
    def of(cls, settings: Settings, plan: BatchPlan) -> Self:
        """Returns the schedule that the settings ask for.

        Raises:
            BadInput: If `warmup_steps` are not fewer than all steps.
        """
        total, every = settings.max_steps, settings.logging_steps
        if total <= 0:
            total = plan.epoch_ends(rules.epochs(settings, plan))[-1]
        if settings.warmup_steps >= max(1, total):
            problem = f"must be below the run's {total:,} steps"
            raise BadInput(f"--warmup_steps {settings.warmup_steps:g}: {problem}")
        return cls(
            total_steps=total,
            lr_steps=total,
            eval_at=_steps_at(settings.eval_strategy, settings.eval_steps, plan, total),
            save_at=_steps_at(settings.save_strategy, settings.save_steps, plan, total),
            log_every=_interval(every, total),
        )


def _steps_at(strategy: str, every: float | None, plan: BatchPlan, total: int) -> frozenset[int]:
    if strategy == "steps" and every:
        step = _interval(every, total)
        return frozenset(range(step, total + 1, step)) | {total}
    if strategy == "epoch":
        epochs = math.ceil(total / len(plan.epoch(0))) + 1
        return frozenset(end for end in plan.epoch_ends(epochs) if end <= total) | {total}
    return frozenset()


def _interval(every: float, total: int) -> int:
    """Returns the steps between two events; below 1 they are given as a share of all steps."""
    return max(1, round(every * total) if every < 1 else int(every))
