"""Finished runs side by side: their differences on the same test rows, and the settings that differ."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hftune.errors import BadInput, first_line
from hftune.report.summary import metrics_of
from hftune.storage.files import read_json
from hftune.storage.run_dir import RunRecord, settings_of
from hftune.tasks import task_of
from hftune.tasks.base import Task
from hftune.tasks.intervals import paired_difference
from hftune.tasks.metric import Predictions

NOT_COMPARED = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint", "logging_steps"}


@dataclass(frozen=True)
class FinishedRun:
    """A run directory with its results.

    Args:
        path: The folder.
    """

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / "run.json").is_file():
            raise BadInput(f"{self.path}: no run directory; hftune compare RUN RUN")
        if not (self.record.finished and (self.path / "all_results.json").is_file()):
            raise BadInput(f"{self.path}: this run is not finished; repeat its command")

    @cached_property
    def record(self) -> RunRecord:
        """What its run.json says."""
        record = RunRecord.read(self.path)
        assert record
        return record

    @cached_property
    def task(self) -> Task:
        """What its model was asked."""
        return task_of(read_json(self.path / "config.json"), self.settings.get("pos_label"))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings by name."""
        return settings_of(self.record)

    @cached_property
    def results(self) -> dict[str, float]:
        """The content of all_results.json; nan for what is not defined."""
        stored = read_json(self.path / "all_results.json")
        return {name: float("nan") if value is None else value for name, value in stored.items()}

    @cached_property
    def rows(self) -> tuple[list[str], Predictions, np.ndarray] | None:
        """Which test rows it scored, its predictions of them and their targets; None where they are not kept.

        A row is told by what stands before its label: number, place and text.

        Raises:
            BadInput: The table is not as the run wrote it.
        """
        path = self.path / self.task.predictions_file
        if path.suffix != ".csv" or not path.is_file():
            return None
        limit = csv.field_size_limit(max(path.stat().st_size, 1))  # the default refuses cells above 128 KiB
        try:
            head, *lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
            own = len(head) - self.task.column_count
            columns = list(zip(*lines, strict=True))[own:]
            keys = [json.dumps(line[:own]) for line in lines]
            return (keys, *self.task.read_columns(columns)) if lines else None
        except (csv.Error, ValueError, LookupError) as error:
            raise BadInput(f"{path}: not the table that the run wrote ({first_line(error)})") from None
        finally:
            csv.field_size_limit(limit)


def common_scores(runs: Sequence[FinishedRun]) -> tuple[str, list[str]]:
    """Returns "test" where all runs have scored test rows, else "eval", and the metrics of the first."""
    task, results = runs[0].task, runs[0].results
    leading = next(iter(task.metrics))
    split = "test" if all(f"test_{leading}" in run.results for run in runs) else "eval"
    return split, [name for name in metrics_of(results, task) if f"{split}_{name}" in results]


def difference(run: FinishedRun, first: FinishedRun, metric: str) -> tuple[float, float, float] | None:
    """Returns by how much a run's score is above that of another on the test rows that both have scored.

    Args:
        run: The run.
        first: The one that it is compared with.
        metric: Which score.

    Returns:
        The difference, and the low and high limit of its 95 % interval; None where the two have no rows in
        common, other labels of them, or keep no table of their predictions.
    """
    if run.rows is None or first.rows is None or run.task.labels != first.task.labels:
        return None
    keys, ours, targets = run.rows
    places = {key: row for row, key in enumerate(first.rows[0])}
    common = [row for row, key in enumerate(keys) if key in places]
    beside = [places[keys[row]] for row in common]
    if not common or not np.array_equal(targets[common], first.rows[2][beside]):
        return None
    targets = targets[common]
    scored = run.task.scored(_take(ours, common), targets, [metric])
    others = first.task.scored(_take(first.rows[1], beside), targets, [metric])
    return paired_difference(run.task.metric(metric), scored, others, targets)


def _take(predictions: Predictions, rows: Sequence[int]) -> Predictions:
    return {name: values[list(rows)] for name, values in predictions.items()}


def other_settings(runs: Sequence[FinishedRun]) -> dict[str, list[Any]]:
    """Returns the settings in which runs differ, with the value of each run; those that all of them know."""
    names = [name for name in runs[0].settings if all(name in run.settings for run in runs)]
    values = {name: [run.settings[name] for run in runs] for name in names if name not in NOT_COMPARED}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}
