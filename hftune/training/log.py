"""What a run tells while it goes on: `log.jsonl`, trackers, and a progress bar."""

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, Self

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hftune.console import close_output
from hftune.errors import printable

HEARTBEAT = 30  # seconds between two lines where no bar can be drawn (a file, a pipe)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads `log.jsonl`, null as nan; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines[:-1] if line]
    return [
        {key: math.nan if value is None else value for key, value in record.items()} for record in records
    ]


def log_line(record: dict[str, Any]) -> str:
    """Returns a record as a line of `log.jsonl`; NaN and infinity, which JSON lacks, become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps(finite, allow_nan=False) + "\n"


class RunConsole(Console):
    """Shows what a run tells as plain lines; a reader that leaves does not end hours of training.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, quiet: bool):
        super().__init__(quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Goes on in silence."""
        self.quiet = True
        close_output()
        print("warning: nobody reads the output any more; the run goes on", file=sys.stderr)


class ConsoleHandler(logging.Handler):
    """Prints what hftune logs as plain lines, above the progress bar if there is one."""

    def __init__(self, console: Console):
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record; from a warning on it says what it is."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        # Without emoji=False the place "x.csv:100: " is printed with an image.
        for line in (prefix + record.getMessage()).split("\n"):
            self.console.print(printable(line), markup=False, emoji=False)


class RunLog:
    """Appends records to `log.jsonl` and passes them to accelerate's trackers; main process only.

    Args:
        path: The run's `log.jsonl`.
        accelerator: Has the trackers of `--report_to`.
        first_step: Steps done when this process starts: later records of a killed run go, because
            the same steps are about to be made again.
    """

    def __init__(self, path: Path, accelerator: Accelerator, first_step: int):
        self.accelerator = accelerator
        self._file = None
        if accelerator.is_main_process:
            kept = [record for record in read_log(path) if record["step"] <= first_step]
            kept_file = path.with_name(f".tmp-{path.name}")  # a kill in between leaves the log as it was
            kept_file.write_text("".join(map(log_line, kept)), encoding="utf-8")
            kept_file.replace(path)
            self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        """Logs one record; it has `step`, the number of optimizer steps done."""
        if self._file is None:
            return
        self._file.write(log_line(record))
        self._file.flush()
        values = {name: value for name, value in record.items() if name != "step"}
        self.accelerator.log(values, step=record["step"])

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


class Bar:
    """A progress bar over optimizer steps with loss, rate and time left.

    Where the output is not a terminal it prints a line every half minute instead.
    """

    def __init__(self, console: Console, total: int, done: int):
        self.console, self.total = console, total
        self._began = self._spoke = time.monotonic()
        self._rows = 0
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=total, completed=done, state="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, step: int, rows: int, loss: float) -> None:
        """Shows that a step of so many rows ended."""
        self._rows += rows
        now = time.monotonic()
        state = f"loss {loss:.4f}  {self._rows / max(now - self._began, 1e-9):,.1f} rows/s"
        self._progress.update(self._task, completed=step, state=state)
        if not self.console.is_terminal and now - self._spoke > HEARTBEAT:
            self._spoke = now
            self.console.print(f"step {step:,}/{self.total:,}  {state}")

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._progress.console.print(line)
