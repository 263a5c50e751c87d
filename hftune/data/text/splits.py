"""From a user's files, folder or Hub id to clean splits of texts."""

from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa

from hftune.data.columns import TEXT, check_texts, choose_columns, unread_texts
from hftune.data.dataset import Places
from hftune.data.duplicates import Part
from hftune.data.sources import find_source, naming_columns
from hftune.data.splits import Checked, make_splits
from hftune.data.tables.read import Table
from hftune.data.text.sample import load_sample
from hftune.settings.text import TextSettings
from hftune.tasks.base import Task


@dataclass(frozen=True)
class TextSplits:
    """Clean splits, each with the column `text`, in the data's order.

    Args:
        train: Rows to learn from.
        validation: Rows to choose by.
        test: Rows to score once, or None where there are no labelled ones.
        targets: What the task asks for, by split.
        task: What is asked of a row; it knows the names of the labels.
        origin: One line: where the data came from, and how validation came about.
        fingerprint: SHA-256 (hex) of all texts, labels and class names; the same however they were stored.
        commit: Of the Hub data set, "" for anything else.
        warnings: Lines to show to the user.
        test_places: Where the test rows stand in the user's data, or None without them.
    """

    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset | None
    targets: dict[str, np.ndarray]
    task: Task
    origin: str
    fingerprint: str
    commit: str
    warnings: list[str]
    test_places: Places | None = None


def load_splits(settings: TextSettings, task: Task | None = None) -> TextSplits:
    """Loads, checks and splits the texts that the settings name.

    Args:
        settings: What `find_source` and `make_splits` read of them, and `text_column_name` and
            `label_column_name` (None: inferred).
        task: What is asked of a row; None: the settings' task.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    source = find_source(settings, load_sample, task)
    text, label = choose_columns(source.train, TEXT, settings.text_column_name, settings.label_column_name)

    def check(split: str, table: Table) -> Checked:
        texts, warnings = check_texts(table, text, keep_blank=not source.files)
        return Checked(texts, None, warnings)

    source = naming_columns(source, TEXT, text, label)
    splits = make_splits(source, settings, content=text, label=label, check=check, noun="text", task=task)
    sets = {
        split: _dataset(part, f"{splits.fingerprint[:32]}-{split}") for split, part in splits.parts.items()
    }
    return TextSplits(
        sets["train"],
        sets["validation"],
        sets.get("test"),
        {split: part.targets for split, part in splits.parts.items()},
        splits.task,
        splits.origin,
        splits.fingerprint,
        splits.commit,
        [*unread_texts(source.train, text, label), *splits.warnings],
        _places(splits.parts["test"]) if "test" in splits.parts else None,
    )


def _places(part: Part) -> Places:
    rows = part.table.of_user(part.rows)
    return Places(rows, part.place, "text", lambda row: part.content[row].as_py())


def _dataset(part: Part, fingerprint: str) -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string")})
    table = pa.table({"text": part.content}, schema=features.arrow_schema)
    return datasets.Dataset(table, fingerprint=fingerprint)
