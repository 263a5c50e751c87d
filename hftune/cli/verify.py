"""Tells the state of a run directory: how it ended, which checkpoints are whole, and what to do next.

    hftune verify runs/imdb

Every file of a checkpoint is compared with the size and sha256 of its manifest, and the model of a
finished run with the sha256 that was stored when it was scored. Nothing is changed, so a run may be asked
while it trains. The exit code is 0 where the run is finished and whole, or can go on from a whole
checkpoint, and 2 where it cannot.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from hftune.cli.arguments import parse_args
from hftune.cli.console import Screen
from hftune.errors import BadInput

if TYPE_CHECKING:
    from hftune.storage.verify import RunState


def main(argv: list[str]) -> None:
    """Prints the state of a run.

    Args:
        argv: The run directory.

    Raises:
        BadInput: No run directory was named, or nothing whole is there to go on from.
    """
    positional, _ = parse_args(argv, {})
    if len(positional) != 1:
        raise BadInput("hftune verify needs one run: hftune verify RUN")
    from hftune.storage.verify import verify_run

    state = verify_run(Path(positional[0]))
    console = Screen(soft_wrap=True)
    console.print(f"{state.path}: {in_words(state)}")
    if state.ending:
        console.print(f"last ending: code {state.ending['code']}, {state.ending['reason']}")
    console.print(table_of(state))
    for problem in state.problems:
        console.print(f"broken: {problem}")
    if not state.sound:
        what = "nothing whole to go on from" if state.latest_valid is None else "not whole"
        raise BadInput(f"{state.path}: {what}; {state.advice()}")
    console.print(f"next: {state.advice()}")


def in_words(state: "RunState") -> str:
    """Says how far a run has come."""
    if state.holder:
        return f"in use by {state.holder}"
    if state.finished:
        return "finished" if not state.problems else "finished, but not whole"
    step = state.latest_valid
    return "not finished, " + (f"step {step:,} is saved" if step is not None else "nothing whole is saved")


def table_of(state: "RunState") -> Table:
    """Lists a run's checkpoints."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("checkpoint", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("role", no_wrap=True)
    table.add_column("state", overflow="fold")
    best = state.record.best_step if state.record else None
    last = max((checkpoint.step for checkpoint in state.checkpoints), default=None)
    for checkpoint in state.checkpoints:
        roles = [name for name, step in (("best", best), ("last", last)) if step == checkpoint.step]
        table.add_row(
            f"checkpoint-{checkpoint.step}",
            f"{checkpoint.size / 1e6:,.1f}",
            ", ".join(roles),
            f"broken: {checkpoint.problem}" if checkpoint.problem else "whole",
        )
    return table
