"""From a user's files, folder or Hub id to clean splits of texts, or of pairs of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import datasets
import numpy as np
import pyarrow as pa

from hftune.data.columns import TEXT, unread_texts
from hftune.data.dataset import Places
from hftune.data.duplicates import CheckedSplit
from hftune.data.sources import Source, find_source, naming_columns
from hftune.data.splits import Splits, UsableContent, make_splits
from hftune.data.tables.read import Table
from hftune.data.text.pairs import Columns, check_rows, choose_texts, parted
from hftune.data.text.sample import load_sample
from hftune.data.text.unlabeled import find_unlabeled
from hftune.settings.text import TextSettings
from hftune.tasks.base import Task


@dataclass(frozen=True)
class TextSplits:
    """Clean splits, each with the column `text`, and of pairs `text_pair`, in the data's order.

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
        place: Says of each split where a row (0-based) stands in the user's data.
        test_places: Where the test rows stand in the user's data, or None without them.
        unlabeled: Rows without labels, which a teacher alone answers; None where there are none.
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
    place: dict[str, Callable[[int], str]]
    test_places: Places | None = None
    unlabeled: datasets.Dataset | None = None

    @property
    def pairs(self) -> bool:
        """Whether a row is a pair of texts."""
        return "text_pair" in self.train.column_names


def load_splits(settings: TextSettings, task: Task | None = None) -> TextSplits:
    """Loads, checks and splits the texts that the settings name.

    Args:
        settings: What `find_source` and `make_splits` read of them, and what `choose_texts`
            reads.
        task: What is asked of a row; None: the settings' task.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    source = find_source(settings, load_sample, task)
    texts, label = choose_texts(source.train, settings)
    pairs = len(texts) == 2

    def check(split: str, table: Table) -> UsableContent:
        content, warnings = check_rows(table, texts, keep_blank=not source.files)
        return UsableContent(content, None, warnings)

    source = naming_texts(source, texts, label)
    noun = "pair" if pairs else "text"
    splits = make_splits(source, settings, content=texts, label=label, check=check, noun=noun, task=task)
    if found := find_unlabeled(settings, source, texts, splits.parts):
        splits = _with_unlabeled(splits, *found)
    sets = {
        split: dataset_of(part, pairs, f"{splits.fingerprint[:32]}-{split}")
        for split, part in splits.parts.items()
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
        [*unread_texts(source.train, texts, label), *splits.warnings],
        {split: part.place for split, part in splits.parts.items()},
        places_of(splits.parts["test"], sets["test"]) if "test" in splits.parts else None,
        sets.get("unlabeled"),
    )


def _with_unlabeled(splits: Splits, part: CheckedSplit, warnings: list[str]) -> Splits:
    digest = hashlib.sha256(splits.fingerprint.encode())
    for content in part.content.to_pylist():
        digest.update(hashlib.sha256(content.encode()).digest())
    return replace(
        splits,
        parts={**splits.parts, "unlabeled": part},
        fingerprint=digest.hexdigest(),
        warnings=list(dict.fromkeys([*splits.warnings, *warnings])),
    )


def naming_texts(source: Source, texts: Columns, label: str) -> Source:
    """Returns a source that says which columns are read, one of texts or two."""
    if len(texts) == 1:
        return naming_columns(source, TEXT, texts[0], label)
    return replace(source, columns=f", pairs: {texts[0]} and {texts[1]}, label column {label!r}")


def places_of(part: CheckedSplit, split: datasets.Dataset) -> Places:
    """Returns where the rows of a split stand, given its `dataset_of`."""

    def of(column: str) -> Callable[[int], str]:
        return lambda row: split.data.column(column)[row].as_py()

    return Places(part.table.of_user(part.rows), part.place, {name: of(name) for name in split.column_names})


def dataset_of(part: CheckedSplit, pairs: bool, fingerprint: str) -> datasets.Dataset:
    """Returns the rows of a split with the column `text`, and of pairs `text_pair`."""
    columns = {"text": part.content}
    if pairs:
        both = [parted(content) for content in part.content.to_pylist()]
        texts = zip(*both, strict=True) if both else ((), ())
        columns = {
            name: pa.chunked_array([list(values)], pa.string())
            for name, values in zip(("text", "text_pair"), texts, strict=True)
        }
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    table = pa.table(columns, schema=features.arrow_schema)
    return datasets.Dataset(table, fingerprint=fingerprint)
