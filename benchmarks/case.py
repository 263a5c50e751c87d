"""What a case is: a job that several sides do in turn, and which of them are compared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Job = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One who does the job.

    Args:
        program: A module of `peers`, which is run in a process of its own; or a command line.
        options: What it is told besides the job.
    """

    program: str | tuple[str, ...]
    options: Job = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row of the question "how much faster".

    Args:
        name: What is typed to run it.
        title: The same in words.
        job: What all sides are told: the data's Hub id, the model, rows, batch, epochs and so on.
        sample: What is different in a dry run on built-in data (`--sample`).
        prepare: A function of `rows`: writes the job's rows, and its model where it must be made.
        sides: Those who do it, by the names that the table shows; each round takes them in this order.
        pairs: (ours, theirs), by name.
        measure: What is compared, a key of the measurement: rates are better high, seconds low.
        warm_up: Whether a first round fills the caches and is thrown away.
        on_request: Sides that take part only with `--all`: they rarely win.
        gpu: What is different on a GPU: so many rows that it has work for a while, and a first epoch to warm
            up in.
    """

    name: str
    title: str
    job: Job
    sample: Job
    prepare: Callable[[Job, Path], None] | None
    sides: dict[str, Side]
    pairs: tuple[tuple[str, str], ...]
    measure: Literal["rows_per_second", "first_step_seconds", "seconds"] = "rows_per_second"
    warm_up: bool = False
    on_request: tuple[str, ...] = ()
    gpu: Job = field(default_factory=dict)
