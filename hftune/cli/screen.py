"""What a command shows: pages on standard output, and how far it is on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Screen(Console):
    """Prints tables and lines as they are: no markup is read in them, nothing is coloured by its form."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Leaves it to `hftune.cli.main`, as for any other print; rich itself would exit with code 1."""
        raise BrokenPipeError


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how many rows are answered; yields what counts more of them."""
    progress = Progress(
        TextColumn("classifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = progress.add_task("", total=total)
    with progress:
        yield lambda rows: progress.advance(task, rows)
