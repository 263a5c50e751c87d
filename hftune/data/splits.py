"""From tables to checked rows in train, validation and test, whatever the rows hold."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hftune.config import Settings
from hftune.data.checks import Part, find_duplicates
from hftune.data.labels import is_unlabelled, number_labels
from hftune.data.source import SPLIT_NAMES, Source
from hftune.data.tables import Table
from hftune.errors import BadInput
from hftune.seed import permutation


class Checked(NamedTuple):
    """What a check of one table's content returns.

    Args:
        content: What the rows hold, as strings that are equal for equal content, (N,).
        rows: The rows of the table that can be used, int64 (N,), ascending; None for all.
        warnings: Lines to show to the user.
    """

    content: pa.ChunkedArray
    rows: np.ndarray | None
    warnings: list[str]


@dataclass(frozen=True)
class Splits:
    """Checked rows by split: "train", "validation" and, where there are labelled ones, "test".

    Args:
        parts: The rows of each split.
        labels: The C class names.
        origin: One line: where the data came from, and how validation came about.
        fingerprint: SHA-256 (hex) of all content, labels and class names; the same however it was stored.
        commit: Of the Hub data set, "" for anything else.
        warnings: Lines to show to the user.
    """

    parts: dict[str, Part]
    labels: tuple[str, ...]
    origin: str
    fingerprint: str
    commit: str
    warnings: list[str]


def make_splits(
    source: Source,
    settings: Settings,
    *,
    label: str,
    check: Callable[[str, Table], Checked],
    noun: str,
) -> Splits:
    """Checks the rows of a source, numbers the classes, and cuts validation rows off where there are none.

    Every random choice is a function of the seed and of the rows alone.

    Args:
        source: The tables.
        settings: What is read of them: `train_val_split` (share of train that becomes validation where
            there is none), `max_train_samples`, `max_eval_samples` (for validation and test each;
            None: all), `seed`.
        label: The label column.
        check: Checks the content of one split's table.
        noun: What a row holds: "text" or "picture".

    Raises:
        BadInput: The data cannot be used; the message names file and row.
    """
    parts, labels, warnings = _clean(source, label, check)
    seed = settings.seed
    how = source.validation
    if "validation" not in parts:
        parts = _cut_validation(parts, settings.train_val_split, seed)
        how = f"{100 * settings.train_val_split:g} % of train, stratified, seed {seed}"
    origin = f"{source.origin}, validation: {how}"
    for split, part in parts.items():
        limit = settings.max_train_samples if split == "train" else settings.max_eval_samples
        if limit is not None and limit < len(part.label):
            parts[split] = part.take(choose_stratified(part.label, limit, 0, "sample", split, seed))
            origin += f", {limit:,} of {len(part.label):,} {split} rows"
    if len(np.unique(parts["train"].label)) < 2:
        raise BadInput(
            f"--max_train_samples {settings.max_train_samples}: rows of one class are left; raise it"
        )
    if "test" not in parts:
        warnings.append("no labelled test split: there will be no test scores")
    warnings += find_duplicates(parts, noun)
    return Splits(parts, labels, origin, _fingerprint(parts, labels), source.commit, warnings)


def _clean(
    source: Source, label: str, check: Callable[[str, Table], Checked]
) -> tuple[dict[str, Part], tuple[str, ...], list[str]]:
    """Returns checked rows by split, the class names and warnings."""
    warnings = []
    tables: dict[str, Table] = {}
    unused = dict(source.tables)
    for split, aliases in SPLIT_NAMES.items():
        own = next((alias for alias in aliases if alias in unused), None)
        table = unused.pop(own) if own else None
        if table is None:
            continue
        if label not in table.columns:
            raise BadInput(f"{table.name} has no column {label!r}, but train has")
        if split != "train" and not source.files and is_unlabelled(table, label):
            warnings.append(f"{table.name} has no labels (all are -1) and is left out")
        else:
            tables[split] = table
    left = [
        split for split, table in unused.items() if label in table.columns and not is_unlabelled(table, label)
    ]
    if left:
        warnings.append(f"{source.origin}: splits not used: {', '.join(left)}")
    warnings += [line for table in tables.values() for line in table.warnings]
    checked = {split: check(split, table) for split, table in tables.items()}
    names, labels, found = number_labels(tables, label)
    parts = {}
    for split, (content, rows, told) in checked.items():
        rows = np.arange(len(labels[split])) if rows is None else rows
        parts[split] = Part(content, labels[split][rows], tables[split], rows)
        warnings += told
    if len(lost := np.setdiff1d(labels["train"], parts["train"].label)):
        place, several = tables["train"].name, [names[label] for label in lost]
        raise BadInput(
            f"{place}: no row of class {several[0]!r} can be used; mend or remove them", several[1:]
        )
    return parts, names, warnings + found


def _cut_validation(parts: dict[str, Part], share: float, seed: int) -> dict[str, Part]:
    train = parts["train"]
    count = max(1, round(share * len(train.label)))
    chosen = choose_stratified(train.label, count, 1, "split", seed)
    if not len(chosen):
        raise BadInput(
            f"{train.table.name} has too few rows to cut a validation split from; add rows or pass one"
        )
    kept = np.setdiff1d(np.arange(len(train.label)), chosen)
    return {"train": train.take(kept), "validation": train.take(chosen)} | (
        {"test": parts["test"]} if "test" in parts else {}
    )


def choose_stratified(label: np.ndarray, count: int, leave: int, *address: int | str) -> np.ndarray:
    """Chooses rows at random, each class in proportion and with one row at least where possible.

    Args:
        label: Class numbers, int64 (N,).
        count: How many rows to choose; fewer are chosen where `leave` asks for it.
        leave: How many rows of each class must stay behind.
        *address: What the choice is for (see `hftune.seed`).

    Returns:
        The chosen rows, int64, ascending.
    """
    sizes = np.bincount(label)
    quota = _quotas(sizes, count, np.maximum(sizes - leave, 0))
    order = permutation(len(label), *address)
    grouped = order[np.argsort(label[order], kind="stable")]  # shuffled rows, class by class
    rank = np.arange(len(label)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each row in its class
    return np.sort(grouped[rank < np.repeat(quota, sizes)])


def _quotas(sizes: np.ndarray, count: int, most: np.ndarray) -> np.ndarray:
    """Shares `count` out over classes in proportion to their sizes, by largest remainder."""
    exact = sizes * count / sizes.sum()
    quota = np.minimum(np.maximum(np.floor(exact), 1), most).astype(np.int64)
    while quota.sum() < min(count, most.sum()):
        quota[np.argmax(np.where(quota < most, exact - quota, -np.inf))] += 1
    while quota.sum() > count:
        least = 1 if (quota > 1).any() else 0  # fewer rows than classes: some classes get none
        quota[np.argmax(np.where(quota > least, quota - exact, -np.inf))] -= 1
    return quota


def _fingerprint(parts: Mapping[str, Part], labels: tuple[str, ...]) -> str:
    """Hashes the values, not their layout: chunks, offsets and file formats do not count."""
    digest = hashlib.sha256(json.dumps(labels).encode())
    for split in SPLIT_NAMES:
        if split in parts:
            part = parts[split]
            digest.update(f"{split} {len(part.label)}".encode())
            digest.update(pc.binary_length(part.content).cast(pa.int64()).to_numpy().tobytes())
            for chunk in part.content.cast(pa.large_string()).chunks:
                _, offsets, values = chunk.buffers()
                first, last = np.frombuffer(offsets, np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
                digest.update(memoryview(values)[first:last] if values else b"")
            digest.update(part.label.tobytes())
    return digest.hexdigest()
