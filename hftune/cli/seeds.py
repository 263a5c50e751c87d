"""The runs of `hftune run --seeds N`: which of them are finished, and what all of them came to."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from hftune.cli.console import Screen
from hftune.errors import BadInput, printable
from hftune.recipe import Recipe
from hftune.settings.base import Settings
from hftune.storage.files import read_json, write_json
from hftune.storage.run_dir import RunRecord

SUMMARY = "seeds.json"
KEYS = {"split", "seeds", "mean", "std"}  # of that file


def take_flags(words: Sequence[str], names: Collection[str]) -> tuple[list[str], list[str]]:
    """Parts the words of a command line: those of some flags, each of which takes a value, and the others."""
    taken: list[str] = []
    others: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, _ = word.partition("=")
        named = flag.startswith("--") and flag[2:].replace("-", "_") in names
        into = taken if named else others
        into.append(word)
        if named and not equals and left and not left[0].startswith("--"):
            into.append(left.pop(0))
    return taken, others


def refuse_together(settings: Settings, count: int) -> None:
    """Raises `BadInput` for a number of seeds, or settings beside it, that make no sense."""
    if count < 2:
        raise BadInput(
            f"--seeds {count}: how many runs, 2 or more; for one leave it out and choose its --seed"
        )
    for flag, why in (
        ("resume_from_checkpoint", "a checkpoint is of one seed; repeat the command and each run goes on"),
        ("push_to_hub", "each run would take the place of the one before; push one later: hftune push RUN"),
    ):
        if getattr(settings, flag):
            raise BadInput(f"--seeds and --{flag} contradict each other: {why}")


def refuse_foreign_summary(folder: Path) -> None:
    """Raises `BadInput` if the summary would take the place of a file that hftune did not write."""
    path = folder / SUMMARY
    if path.exists():
        found = read_json(path)
        if not isinstance(found, dict) or found.keys() != KEYS:
            raise BadInput(f"{path} is there, and not of hftune: move it, or choose another --output_dir")


def is_finished(recipe: Recipe, settings: Settings, run_dir: Path) -> bool:
    """Returns whether a folder holds the finished run of these settings, which need not be started again.

    Whether its rows have changed since is not looked at here: see `hftune.inference.seeds`.

    Raises:
        BadInput: It holds a finished run with other settings or of another recipe, and
            `--overwrite_output_dir` was not given.
    """
    record = RunRecord.read(run_dir)
    if record is None or not record.finished:
        return False
    from hftune.training.same_run import (
        as_begun,
        identify_parts,
        refuse_other_parts,
        refuse_other_settings,
    )

    try:
        refuse_other_settings(run_dir, record, as_begun(record, settings))
        refuse_other_parts(run_dir, record, identify_parts(recipe))
    except BadInput:
        if settings.overwrite_output_dir:
            return False
        raise
    return True


def show_seeds(name: str, folder: Path, run_dirs: Sequence[Path]) -> None:
    """Prints what finished runs of one recipe came to, and writes it to `seeds.json`.

    Args:
        name: The recipe's name.
        folder: Where that file goes.
        run_dirs: The runs' folders, two or more.

    Raises:
        BadInput: The rows have changed between two of the runs.
    """
    from hftune.inference.compare import FinishedRun
    from hftune.inference.seeds import summarise

    runs = [FinishedRun(path) for path in run_dirs]
    summary = summarise(runs)
    write_json(folder / SUMMARY, summary)
    console = Screen(soft_wrap=True)
    console.print()
    console.print(table_of_seeds(name, summary, runs[0].task), soft_wrap=False)
    console.print(f"saved in {folder / SUMMARY}; on the same rows: hftune compare {folder}/seed_*")


def table_of_seeds(name: str, summary: dict[str, Any], task: Any) -> Table:
    """Lays out the scores, one seed a row; mean and standard deviation come last."""
    split = summary["split"]
    metrics = task.shown_metrics([key.removeprefix(f"{split}_") for key in summary["mean"]])
    table = Table(
        title=Text(printable(f"{name}, {'validation' if split == 'eval' else split} rows")),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        caption="std: standard deviation over the seeds (n - 1)",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("seed", no_wrap=True)
    for metric in metrics:
        table.add_column(Text(task.title(metric)), justify="right")
    rows = {**summary["seeds"], "mean": summary["mean"], "std": summary["std"]}
    for place, (seed, scores) in enumerate(rows.items(), 1):
        values = [scores[f"{split}_{metric}"] for metric in metrics]
        cells = ["-" if value != value else task.figure(value) for value in values]
        style = "bold" if seed in ("mean", "std") else ""
        table.add_row(seed, *cells, style=style, end_section=place == len(rows) - 2)
    return table
