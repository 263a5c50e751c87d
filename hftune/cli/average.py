"""Averages the weights of several trained models into one, as fast as each of them: a greedy soup.

    hftune average runs/imdb/seed_* --output runs/imdb_mean
    hftune average runs/imdb/checkpoint-* --output runs/imdb_mean

The models are finished runs, or checkpoints of one, that began from one pretrained model: seeds of
hftune run --seeds, or runs with other learning rates. The best on the validation rows comes first; each
other one, in the order of its score, is added to the mean if the score of the mean does not fall (Wortsman
et al. 2022, arXiv:2203.05482). Then the test rows are scored once, by the mean and by the best one alone.

The result is a run directory for predict, eval, compare, push and from_pretrained. Nothing of the others
changes. Models with other labels, from another start or on other rows are refused, and those whose BatchNorm
statistics differ (train with --freeze_batch_norm): their mean is not the statistics of the mean.

--output FOLDER   where the result goes; it must not be there, or be empty
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from hftune.cli.arguments import parse_args
from hftune.cli.console import Screen
from hftune.errors import BadInput, printable
from hftune.runtime.environment import prepare_environment
from hftune.runtime.offline import ensure_reachable
from hftune.storage.files import can_write_in, read_json

if TYPE_CHECKING:
    from hftune.inference.average import Average

FLAGS: dict[str, Any] = {"output": str}


def main(argv: list[str]) -> None:
    """Averages models and prints what came of it.

    Args:
        argv: Run directories and checkpoints, and `--output`.

    Raises:
        BadInput: Fewer than two are named, they do not go together, or the result cannot be written.
    """
    names, options = parse_args(argv, FLAGS)
    if len(names) < 2:
        raise BadInput("hftune average needs two models or more: hftune average RUN RUN --output FOLDER")
    output = check_output(options, names)
    from hftune.inference.candidates import Candidate, refuse_unlike

    candidates = [Candidate.find(name) for name in names]
    settings = candidates[0].settings
    prepare_environment()
    notice = ensure_reachable(settings.get("model_name_or_path"), settings.get("dataset_name"))
    if notice:
        print(notice, file=sys.stderr)
    refuse_unlike(candidates)
    from hftune.inference.average import average
    from hftune.report.model_use import use_line
    from hftune.report.summary import print_summary
    from hftune.training.accelerator import log_to

    console = Screen(soft_wrap=True)
    log_to(console)
    with tqdm(desc="scoring", total=2 * len(names) - 1, disable=None, leave=False) as bar:
        found = average(candidates, output, bar.update)
    console.print()
    console.print(table_of(found), soft_wrap=False)
    place = Path(os.path.expanduser(options["output"]))
    use = use_line(place, found.task, read_json(output / "config.json"))
    said = verdict(found)
    print_summary(console, output.name, found.results, place, [f"use it: {use}"], found.task, advice=said)


def check_output(options: dict[str, Any], names: list[str]) -> Path:
    """Returns the folder of `--output`.

    Raises:
        BadInput: It is not given, there and not empty, within a model that is read, or cannot be written.
    """
    if "output" not in options:
        raise BadInput("hftune average needs --output FOLDER, where the result goes")
    said = f"--output {options['output']}"
    path = Path(os.path.realpath(os.path.expanduser(options["output"])))
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise BadInput(f"{said} is there; choose a folder that is not, or an empty one")
    for name in names:
        if path.is_relative_to(os.path.realpath(name)):
            raise BadInput(f"{said} is within {name}, which stays as it is; choose another")
    if not can_write_in(path.parent):
        raise BadInput(f"{said} cannot be written; choose another")
    return path


def table_of(found: "Average") -> Table:
    """Lays out the candidates as they were tried."""
    task = found.task
    title = f"validation {task.title(found.metric)}"
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD
    )
    table.show_edge, table.padding = False, (0, 1, 0, 0)
    for place, name in enumerate(("model", "alone", "mean with it", "")):
        table.add_column(name, justify="right" if place in (1, 2) else "left", overflow="fold")
    for one in found.tried:
        together = "" if one.together is None else task.figure(one.together)
        state = "taken" if one.taken else "left out"
        table.add_row(Text(printable(one.candidate.name)), task.figure(one.alone), together, state)
    return table


def verdict(found: "Average") -> str:
    """Says how the mean compares with the best candidate alone, on the test rows where there are any."""
    best, taken = found.tried[0].candidate.name, sum(one.taken for one in found.tried)
    if taken == 1:
        return f"no mean was as good on the validation rows: this is {best}"
    first = next(iter(found.task.metrics))
    key = f"test_{first}_over_single"
    said = f"the mean of {taken}"
    if key not in found.results:
        return said
    values = (found.results[f"{key}{end}"] for end in ("", "_low", "_high"))
    difference, low, high = (f"{'+' * (value >= 0)}{found.task.figure(value)}" for value in values)
    return f"{said} differs from {best} alone by {difference} [{low}, {high}] test {found.task.title(first)}"
