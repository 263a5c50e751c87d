"""Puts finished runs side by side: scores, what differs in their settings, and curves.

    hftune compare runs/imdb runs/imdb_bag
    hftune compare runs/seed1 runs/seed2 runs/seed3 --output curves.png

The line below the scores says by how much a run is above the first one, on the test rows that both have
scored, and the 95 % interval of that: where it holds 0, the two may be equally good.

--output FILE.png   draw training loss and validation score of all runs there
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from hftune.cli.arguments import output_file, parse_args
from hftune.cli.console import Screen
from hftune.errors import BadInput, printable

if TYPE_CHECKING:
    from hftune.inference.compare import FinishedRun

FLAGS: dict[str, Any] = {"output": str}


def main(argv: list[str]) -> None:
    """Prints the tables.

    Args:
        argv: Run directories and flags.

    Raises:
        BadInput: Fewer than two runs are named, one is not finished, or they answer different questions.
    """
    names, options = parse_args(argv, FLAGS)
    if len(names) < 2:
        raise BadInput("hftune compare needs two runs or more: hftune compare RUN RUN")
    picture = output_file(options, (".png",), names)
    from hftune.inference.compare import FinishedRun, other_settings
    from hftune.report.plots.compared_curves import draw_curves
    from hftune.training.log import read_log

    runs = [FinishedRun(Path(name)) for name in names]
    first = runs[0].task
    for run in runs[1:]:
        if run.task.problem_type != first.problem_type:
            raise BadInput(f"{run.path} answers another question than {runs[0].path}")
    console = Screen()
    console.print(table_of_scores(runs))
    if changed := other_settings(runs):
        console.print()
        console.print(table_of_settings(runs, changed))
    if picture:
        metric = next(iter(first.metrics))
        logs = {str(run.path): read_log(run.path / "log.jsonl") for run in runs}
        draw_curves(logs, metric, first.title(metric), picture)
        console.print(f"look at {picture}", soft_wrap=True)


def table_of_scores(runs: Sequence["FinishedRun"]) -> Table:
    """Lays out the scores, one metric a row, of test rows where all have them; the difference comes last."""
    from hftune.inference.compare import common_scores, difference

    task = runs[0].task
    table = _table("metric", *(str(run.path) for run in runs))
    leading = next(iter(task.metrics))
    split, known = common_scores(runs)
    for name in known:
        table.add_row(task.title(name), *(_score(run, f"{split}_{name}") for run in runs))
    found = [difference(run, runs[0], leading) for run in runs[1:]]
    if any(found):
        cells = [_gap(run, gap) for run, gap in zip(runs[1:], found, strict=True)]
        table.add_row(f"{task.title(leading)}, difference", "", *cells)
    return table


def table_of_settings(runs: Sequence["FinishedRun"], changed: dict[str, list[Any]]) -> Table:
    """Lays out the settings that differ."""
    table = _table("setting", *(str(run.path) for run in runs))
    for name, values in changed.items():
        table.add_row(name, *(Text(printable("none" if value is None else str(value))) for value in values))
    return table


def _gap(run: "FinishedRun", gap: tuple[float, float, float] | None) -> str:
    """Writes a difference with its interval, "-" where there is none."""
    if gap is None:
        return "-"
    value, low, high = (f"{'+' * (number >= 0)}{run.task.figure(number)}" for number in gap)
    return f"{value} [{low}, {high}]"


def _score(run: "FinishedRun", key: str) -> str:
    results = run.results
    if key not in results:
        return "-"
    limits = ""
    if f"{key}_low" in results:
        limits = " [{}, {}]".format(*(run.task.figure(results[f"{key}_{end}"]) for end in ("low", "high")))
    return run.task.figure(results[key]) + limits


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, title in enumerate(titles):
        table.add_column(Text(printable(title)), justify="right" if place else "left", overflow="fold")
    return table
