"""From tables to checked rows in train, validation and test, whatever the rows hold."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hftune.data.columns import with_names_of
from hftune.data.duplicates import CheckedSplit, find_duplicates
from hftune.data.labels import is_unlabelled
from hftune.data.sources import SPLIT_NAMES, Source
from hftune.data.stratify import sample_of_labels
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed
from hftune.seed import permutation
from hftune.settings.base import Settings
from hftune.tasks import chosen_task
from hftune.tasks.base import Task

log = logging.getLogger(__name__)

SMALL = 10  # rows of validation: fewer tell two models apart by chance alone
SPARES_ONE = 4  # rows of a class, of which one is validated on whatever --train_val_split says


class UsableContent(NamedTuple):
    """What a check of one table's content returns.

    Args:
        content: What the rows hold, as strings that are equal for equal content, (N,).
        rows: The rows of the table that can be used, int64 (N,), ascending; None for all.
        warnings: Lines to show to the user.
        looks: See `CheckedSplit`.
    """

    content: pa.ChunkedArray
    rows: np.ndarray | None
    warnings: list[str]
    looks: pa.ChunkedArray | None = None


@dataclass(frozen=True)
class Splits:
    """Checked rows by split: "train", "validation" and, where there are labelled ones, "test".

    Args:
        parts: The rows of each split.
        task: What is asked of a row; it knows the names of the labels.
        origin: One line: where the data came from, and how validation came about.
        fingerprint: SHA-256 (hex) of all content, labels and class names; the same however it was stored.
        commit: Of the Hub data set, "" for anything else.
        warnings: Lines to show to the user.
    """

    parts: dict[str, CheckedSplit]
    task: Task
    origin: str
    fingerprint: str
    commit: str
    warnings: list[str]


def make_splits(
    source: Source,
    settings: Settings,
    *,
    content: tuple[str, ...],
    label: str,
    check: Callable[[str, Table], UsableContent],
    noun: str,
    task: Task | None = None,
) -> Splits:
    """Checks the rows of a source, reads their targets, and cuts validation rows off where there are none.

    Every random choice is a function of a seed and of the rows alone.

    Args:
        source: The tables.
        settings: What is read of them: `train_val_split` (share of train that becomes validation where
            there is none), `max_train_samples`, `max_eval_samples` (for validation and test each;
            None: all), `samples_per_label` (for train and validation each, drawn by `seed`), `data_seed`,
            `task`, `pos_label`.
        content: The columns of what rows hold; two of pairs of texts, else one.
        label: The label column.
        check: Checks the content of one split's table.
        noun: What a row holds: "text", "pair" or "image".
        task: What is asked of a row; None: the settings' task, or the one that the labels look like.

    Raises:
        BadInput: The data cannot be used; the message names file and row.
    """
    parts, task, origin, warnings = choose_rows(
        source, settings, content=content, label=label, check=check, task=task
    )
    seen = {
        split: part if part.looks is None else replace(part, content=part.looks)
        for split, part in parts.items()
    }
    warnings += find_duplicates(seen, noun)
    return Splits(parts, task, origin, fingerprint(parts, task.labels), source.commit, warnings)


def choose_rows(
    source: Source,
    settings: Settings,
    *,
    content: tuple[str, ...],
    label: str,
    check: Callable[[str, Table], UsableContent],
    task: Task | None = None,
) -> tuple[dict[str, CheckedSplit], Task, str, list[str]]:
    """Does what `make_splits` does, given the same, but looks into no content.

    Returns:
        The rows of each split, the task, where they came from and how validation came about, and warnings.
    """
    asked = chosen_task(settings, source.train, label, task)
    parts, task, warnings = _clean(source, settings, asked, content, label, check)
    warnings[:0] = source.warnings
    seed = settings.data_seed
    how = source.validation
    if "validation" not in parts:
        parts = _cut_validation(parts, task, settings.train_val_split, seed)
        how = f"{100 * settings.train_val_split:g} % of train, stratified, seed {seed}"
    origin = f"{source.origin}{source.columns}, validation: {how}"
    whole = parts["train"]
    for split, part in parts.items():
        if (chosen := _sample(settings, split, task, part.targets)) is not None:
            parts[split] = part.take(chosen)
            origin += f", {len(chosen):,} of {len(part.rows):,} {split} rows"
    if problem := task.too_alike(parts["train"].targets):
        raise BadInput(f"--max_train_samples {settings.max_train_samples}: {problem}; raise it")
    task = task.fit(parts["train"].targets)
    warnings += _lost_classes(parts, whole, task)
    if "test" not in parts:
        warnings.append(f"no {'labelled ' * bool(task.labels)}test split: there will be no test scores")
    return parts, task, origin, warnings


def _sample(settings: Settings, split: str, task: Task, targets: np.ndarray) -> np.ndarray | None:
    """Returns the rows of a split that the settings ask for, int64, ascending; None for all of them."""
    if settings.samples_per_label and split != "test":
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise BadInput("--samples_per_label is for rows with one label; pass --max_train_samples here")
        sizes = np.bincount(targets)
        quota = np.minimum(sizes, settings.samples_per_label)
        return _of_each(targets, quota, "few", split, settings.seed)  # which rows matters as much as the rest
    limit = settings.max_train_samples if split == "train" else settings.max_eval_samples
    if limit is None or limit >= len(targets):
        return None
    return stratified_sample(task.strata(targets), limit, 0, "sample", split, settings.data_seed)


def _lost_classes(parts: Mapping[str, CheckedSplit], whole: CheckedSplit, task: Task) -> list[str]:
    """Returns warnings about classes of the train rows, `whole`, of which a split has no row or too few."""
    more = "raise --train_val_split, or pass more validation rows"
    meaning = {
        "train": "they cannot be learned; raise --max_train_samples",
        "validation": f"the best model is chosen without them; {more}",
        "test": "the test scores say nothing of them",
    }
    known, warnings = np.flatnonzero(task.count_labels(whole.targets)), []
    for split, part in parts.items():
        rows = len(part.rows)
        lost = np.setdiff1d(known, np.flatnonzero(task.count_labels(part.targets)))
        if len(lost):
            count = f"{len(lost):,} of {len(known):,} classes have no {split} row"
            warnings.append(
                f"{count} (first: {listed([task.labels[lost[0]]])}; {split} rows: {rows:,}): {meaning[split]}"
            )
        elif split == "validation" and rows < SMALL:
            warnings.append(f"only {rows:,} validation rows to choose the best model by; {more}")
    return warnings


def _clean(
    source: Source,
    settings: Settings,
    task: Task,
    contents: tuple[str, ...],
    label: str,
    check: Callable[[str, Table], UsableContent],
) -> tuple[dict[str, CheckedSplit], Task, list[str]]:
    """Returns checked rows by split, the task and warnings; `contents` are the columns of what rows hold."""
    warnings = []
    tables: dict[str, Table] = {}
    unused = dict(source.tables)
    for split, aliases in SPLIT_NAMES.items():
        own = next((alias for alias in aliases if alias in unused), None)
        table = with_names_of(unused.pop(own), (*contents, label)) if own else None
        if table is None:
            continue
        if absent := [column for column in contents if column not in table.columns]:
            raise BadInput(
                f"{table.name} has no column {absent[0]!r}, but train has; rename it ({table.column_list})"
            )
        if split == "train" or not (missing := _without_labels(table, label)):
            tables[split] = table
            continue
        advice = "for rows without: hftune predict RUN FILE"
        if split == "test" and "validation" in source.tables:
            advice += "; --test_split validation tests on the validation rows"
        if getattr(settings, f"{split}_file", None):
            raise BadInput(f"{table.name} {missing}: a {split} split needs labels; {advice}")
        warnings.append(f"{table.name} {missing} and is left out; {advice}")
    left = [
        split for split, table in unused.items() if label in table.columns and not is_unlabelled(table, label)
    ]
    if left:
        warnings.append(f"{source.origin}: splits not used: {', '.join(left)}")
    warnings += dict.fromkeys(line for table in tables.values() for line in table.warnings)
    checked = {split: check(split, table) for split, table in tables.items()}
    task, targets, found = task.read_targets(tables, label, own=source.files)
    parts = {}
    for split, (content, rows, told, looks) in checked.items():
        rows = np.arange(len(targets[split])) if rows is None else rows
        parts[split] = CheckedSplit(content, targets[split][rows], tables[split], rows, looks)
        warnings += told
    before, after = (task.count_labels(rows) for rows in (targets["train"], parts["train"].targets))
    if len(lost := np.flatnonzero((before > 0) & (after == 0))):
        place, several = tables["train"].name, [task.labels[label] for label in lost]
        raise BadInput(
            f"{place}: no row of class {several[0]!r} can be used; fix or remove them", several[1:]
        )
    return parts, task, warnings + found


def _without_labels(table: Table, label: str) -> str:
    """Says that a table has no labels, "" where it has some."""
    if label not in table.columns:
        return f"has no column {label!r}"
    if not is_unlabelled(table, label):
        return ""
    return "has no labels (all are -1 or missing)"


def _cut_validation(
    parts: dict[str, CheckedSplit], task: Task, share: float, seed: int
) -> dict[str, CheckedSplit]:
    train = parts["train"]
    strata = task.strata(train.targets)
    sizes = np.bincount(strata) if strata.ndim == 1 else strata.sum(0)
    enough = int(np.count_nonzero(sizes >= SPARES_ONE))
    count = max(1, round(share * len(strata)), enough)
    chosen = stratified_sample(strata, count, 1, "split", seed)
    if not len(chosen):
        raise BadInput(
            f"{train.table.name} has too few rows to cut a validation split from; add rows or pass one"
        )
    kept = np.setdiff1d(np.arange(len(strata)), chosen)
    return {"train": train.take(kept), "validation": train.take(chosen)} | (
        {"test": parts["test"]} if "test" in parts else {}
    )


def stratified_sample(strata: np.ndarray, count: int, leave: int, *address: int | str) -> np.ndarray:
    """Chooses rows at random, each group in proportion and with one row at least where possible.

    Args:
        strata: The group of each row, such as its class, int64 (N,) from 0, or the groups, bool (N, C).
        count: How many rows to choose; fewer are chosen where `leave` asks for it.
        leave: How many rows of each group must stay behind.
        *address: What the choice is for (see `hftune.seed`).

    Returns:
        The chosen rows, int64, ascending.
    """
    if strata.ndim == 2:
        return sample_of_labels(strata, count, leave, *address)
    sizes = np.bincount(strata)
    return _of_each(strata, _quotas(sizes, count, np.maximum(sizes - leave, 0)), *address)


def _of_each(groups: np.ndarray, quota: np.ndarray, *address: int | str) -> np.ndarray:
    """Draws `quota` (int64, by group) rows of each group; returns them ascending, int64."""
    sizes = np.bincount(groups)
    order = permutation(len(groups), *address)
    grouped = order[np.argsort(groups[order], kind="stable")]  # shuffled rows, group by group
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each row in its group
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


def fingerprint(parts: Mapping[str, CheckedSplit], labels: tuple[str, ...]) -> str:
    """Hashes the values, not their layout: chunks, offsets and file formats do not count."""
    digest = hashlib.sha256(json.dumps(labels).encode())
    for split in SPLIT_NAMES:
        if split in parts:
            part = parts[split]
            digest.update(f"{split} {len(part.rows)}".encode())
            digest.update(pc.binary_length(part.content).cast(pa.int64()).to_numpy().tobytes())
            for chunk in part.content.cast(pa.large_string()).chunks:
                _, offsets, values = chunk.buffers()
                first, last = np.frombuffer(offsets, np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
                digest.update(memoryview(values)[first:last] if values else b"")
            objects = part.targets.dtype == object  # which say themselves what they hold
            digest.update(b"".join(map(bytes, part.targets)) if objects else part.targets.tobytes())
    return digest.hexdigest()


def log_splits(origin: str, sizes: dict[str, int], task: Task, warnings: list[str]) -> None:
    """Tells where the rows came from, how many there are, what is asked of them, and what looks odd.

    Args:
        origin: Where the data came from.
        sizes: Rows by split.
        task: Knows its labels.
        warnings: Lines to show to the user.
    """
    log.info("data: %s", origin)
    rows = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    log.info("rows: %s; %s", rows, task.about())
    for warning in warnings:
        log.warning("%s", warning)
