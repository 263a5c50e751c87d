"""Rows of a data set for a loaded model: a labelled split to score on, and examples to try it on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hftune.data.inputs import Inputs, Split
from hftune.data.labels import is_unlabelled
from hftune.data.sources import COLUMN_FLAGS, SPLIT_NAMES, Source
from hftune.data.splits import stratified_sample
from hftune.data.tables.read import Table, read_table
from hftune.data.tables.row_marks import follow_marks
from hftune.errors import BadInput, listed
from hftune.inference.load import LoadedModel
from hftune.storage.run_dir import RunRecord, settings_of
from hftune.tasks.base import Task


class Labelled(NamedTuple):
    """One labelled split.

    Args:
        values: N texts or images.
        targets: What the task asks for, rows first, such as class ids, int64 (N,).
        split: Its name: "test", "validation", or what `--split` says.
        origin: Where it came from.
        warnings: Lines to show to the user.
    """

    values: Any
    targets: np.ndarray
    split: str
    origin: str
    warnings: list[str]


def read_labelled(
    inputs: Inputs,
    task: Task,
    settings: Any,
    *,
    test_file: str | None = None,
    test_dir: str | None = None,
    split: str | None = None,
) -> Labelled:
    """Reads one labelled split, checked as for training, its labels matched by name with the model's.

    Args:
        inputs: What the rows are.
        task: The model's, which knows its labels.
        settings: Where the data are, unless `test_file` or `test_dir` say so; names of columns;
            `max_eval_samples`, which are the rows that a run of these settings would draw.
        test_file: A file of rows.
        test_dir: A folder with one folder per class.
        split: Which split; None: test, else validation.

    Raises:
        BadInput: The data cannot be found or used, or have labels that the model does not know.
    """
    source = (
        inputs.prepared(_of_one_file(test_file, task, settings), settings)
        if test_file
        else inputs.find(settings, test_dir)
    )
    chosen, table, column, label = _choose_split(inputs, source, split, settings)
    targets = task.match_targets(table, label)
    values, kept, warnings = inputs.check(table, column, settings, Split(chosen, source.files))
    targets = targets[kept]
    limit = settings.max_eval_samples
    if limit is not None and limit < len(targets):
        rows = stratified_sample(task.strata(targets), limit, 0, "sample", chosen, settings.data_seed)
        values, targets = values.take(rows), targets[rows]
    warnings = [*source.warnings, *table.warnings, *warnings]
    return Labelled(values, targets, chosen, source.origin, list(dict.fromkeys(warnings)))


def examples_of_run(loaded: LoadedModel, count: int) -> list[Any]:
    """Returns rows of the data that a run was trained for: test rows first, spread over the whole set.

    Nothing but these rows is checked or decoded.

    Args:
        loaded: A model; where it is no run of hftune, there is no data.
        count: How many at most.

    Returns:
        Texts, or images uint8 (H, W, 3).

    Raises:
        BadInput: The data cannot be found or read: it was moved, or the recipe reads it in its own way.
    """
    record = RunRecord.read(Path(loaded.name))
    if record is None:
        raise BadInput("it is no run directory of hftune")
    inputs = loaded.inputs
    settings = inputs.scoring_settings(settings_of(record))
    source = inputs.find(settings)
    column, _ = inputs.choose_columns(source.train, settings)
    found: list[Any] = []
    for split in ("test", "validation", "train"):
        table = _table_of(source, split)
        if table is None or len(found) == count:
            continue
        rows = np.array(spread(range(table.rows), count - len(found)), np.int64)
        values, _, _ = inputs.check(table, column, settings, Split(split, source.files), rows)
        found += (values[row] for row in range(len(values)))
    return found


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """Returns at most `count` values, evenly spread: rows of a file are often sorted by class."""
    if len(values) <= count:
        return [values[place] for place in range(len(values))]
    return [values[place * len(values) // count] for place in range(count)]


def _of_one_file(test_file: str, task: Task, settings: Any) -> Source:
    table = task.join_columns(read_table(test_file), settings.label_column_name)
    used = [getattr(settings, name, None) for name in COLUMN_FLAGS]
    marked = follow_marks({"test": table}, None, used)
    return Source(marked.tables, table.origin, files=True, warnings=tuple(marked.warnings))


def _table_of(source: Source, split: str) -> Table | None:
    """Returns the table of a split by any of its names."""
    return next(
        (source.tables[name] for name in SPLIT_NAMES.get(split, (split,)) if name in source.tables), None
    )


def _choose_split(
    inputs: Inputs, source: Source, split: str | None, settings: Any
) -> tuple[str, Table, str, str]:
    """Returns a split, its rows, and their columns of content and label."""
    for name in [split] if split else ["test", "validation"]:
        table = _table_of(source, name)
        if table is not None:
            content, label = inputs.choose_columns(table, settings)
            if split or source.files or not is_unlabelled(table, label):
                return name, table, content, label
    splits = listed(source.tables)
    if split:
        raise BadInput(f"--split {split}: {source.origin} has no such split (splits: {splits})")
    raise BadInput(
        f"{source.origin} has no labelled test or validation split; name one with --split ({splits})"
    )
