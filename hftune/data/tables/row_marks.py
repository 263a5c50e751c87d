"""Columns that say what rows are for: the split of each row, and the verdicts of label tools."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hftune.data.split_names import (
    SPLITS,
    UNCLEAR,
    find_splits,
    is_split_elsewhere,
    mentions_split,
    split_of_name,
)
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed

# Names of columns that say the split, without blanks and signs.
_SPLIT_COLUMNS = (
    *("split", "splits", "set", "subset", "dataset", "datasplit", "splitname", "partition", "phase", "usage"),
    *("mluse", "traintest", "traintestsplit", "trainvaltest", "trainvaltestsplit", "fold", "kfold"),
)
_MANY = 10  # different values: more are no splits
_YES, _NO = ("true", "1", "1.0", "yes", "y", "t"), ("false", "0", "0.0", "no", "n", "f")
_LEFT_OUT = {"answer": ("reject", "ignore"), "was_cancelled": _YES}  # of Prodigy and of Label Studio
_VERDICTS = {"answer": ("accept", "reject", "ignore"), "was_cancelled": (*_YES, *_NO)}


class Marked(NamedTuple):
    """Tables after their rows' marks were followed.

    Args:
        tables: By split.
        column: The column that made splits of the train table, None where there is none.
        warnings: Lines to show to the user.
    """

    tables: dict[str, Table]
    column: str | None
    warnings: list[str]


def follow_marks(tables: Mapping[str, Table], wanted: str | None, used: Collection[str | None]) -> Marked:
    """Leaves out the rows that a label tool rejected, and makes splits of a column that names them.

    Args:
        tables: By split, as they were found.
        wanted: The split column's name, or None to find it by its usual names and values.
        used: Columns that the user chose for something else.

    Raises:
        BadInput: The wanted column is missing or names other things than splits, or a column keeps rows
            apart from train, but not all of its values can be understood.
    """
    warnings: list[str] = []
    kept = {split: _without_rejected(table, used, warnings) for split, table in tables.items()}
    for split, table in kept.items():
        if split != "train":
            warnings += _of_other_splits(table, split, used)
    train = kept.get("train")
    if train is None:
        return Marked(kept, None, warnings)
    if wanted is not None and wanted not in train.columns:
        columns = ", ".join(train.columns)
        raise BadInput(f"{train.name} has no column {wanted!r} (--split_column_name) (columns: {columns})")
    for column in [wanted] if wanted else _candidates(train, used):
        meanings = _meanings(train, column)
        made = _splits(train, meanings, wanted) if wanted or len(kept) == 1 else None
        if made:
            if twice := [split for split in made if split in kept and split != "train"]:
                raise BadInput(
                    f"{train.name}: column {column!r} names {twice[0]} rows, and {kept[twice[0]].name} is "
                    f"given too; leave one out"
                )
            return Marked({**kept, **made}, column, warnings)
        if set(meanings.split.values()) != {"train"}:
            hold_out = "; to hold rows out by it, write train, validation or test there"
            why = ", as other splits are given" if len(kept) > 1 else hold_out
            warnings.append(
                f"{train.name}: column {column!r} ({meanings.counts()}) is not used for splits{why}"
            )
    for column in [] if wanted else _unnamed_splits(train, used):
        counts = _meanings(train, column).counts()
        warnings.append(
            f"{train.name}: column {column!r} ({counts}) is not used for splits; "
            f"--split_column_name {column} uses it"
        )
    return Marked(kept, None, warnings)


def columns_of_marks(table: Table, wanted: str | None, used: Collection[str | None]) -> list[str]:
    """Returns the columns by which `follow_marks` may move rows of a table or leave them out."""
    verdicts = [column for column in table.columns if column.casefold() in _LEFT_OUT and column not in used]
    return [*([wanted] if wanted else _candidates(table, used)), *verdicts]


class _Meanings(NamedTuple):
    """What the values of a column mean: the rows, and the split of each different value, None for none."""

    column: str
    rows: list[str]
    split: dict[str, str | None]

    def counts(self) -> str:
        return listed([f"{value or 'nothing'}: {count:,}" for value, count in Counter(self.rows).items()])


def _candidates(table: Table, used: Collection[str | None]) -> list[str]:
    plain = {c: "".join(re.findall("[a-z]+", c.casefold())) for c in table.columns if c not in used}
    return [c for c, name in plain.items() if name in _SPLIT_COLUMNS or _flag(c)]


def _of_other_splits(table: Table, split: str, used: Collection[str | None]) -> list[str]:
    """Returns warnings about columns of a validation or test table that name rows of other splits."""
    found = [_meanings(table, column) for column in _candidates(table, used) if not _flag(column)]
    return [
        f"{table.name}: column {one.column!r} ({one.counts()}) is not used: all rows are {split} rows"
        for one in found
        if None not in (named := set(one.split.values())) and named != {split_of_name(split)}
    ]


def _unnamed_splits(table: Table, used: Collection[str | None]) -> list[str]:
    """Returns columns of other names that may say the split.

    Their values are splits, in any language, or they hold yes and no and are called as one, such as "test".
    """
    named, found = _candidates(table, used), []
    for column, values in table.columns.items():
        if column in used or column in named:
            continue
        if split_of_name(column) in SPLITS and _answers(values):
            found.append(column)
            continue
        if isinstance(values, list) or not _holds_words(values.type):
            continue
        different = values.unique().to_pylist()
        if not 1 < len(different) < _MANY:
            continue
        splits = {split_of_name(word) for word in different if word}
        elsewhere = any(word and is_split_elsewhere(word) for word in different)
        if {"train"} < splits <= set(SPLITS) or (elsewhere and all(map(_is_a_split, different))):
            found.append(column)
    return found


def _answers(values: pa.ChunkedArray | list[Any]) -> bool:
    """Tells whether a column holds yes and no, in any spelling, and both."""
    different = {value.casefold() for value in _words(values)}
    return different <= {*_YES, *_NO, ""} and bool(different & {*_YES}) and len(different) > 1


def _is_a_split(word: str | None) -> bool:
    return bool(word) and (split_of_name(str(word)) in SPLITS or is_split_elsewhere(str(word)))


def _holds_words(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _flag(column: str) -> str | None:
    """Returns the split that a column of yes and no is named after: "is_valid" after validation."""
    named = re.fullmatch(r"(?i)(?:is|in|for)[ _-]*(.+)", column.strip())
    split = split_of_name(named[1]) if named else None
    return None if split == UNCLEAR else split


def _words(values: pa.ChunkedArray | list[Any]) -> list[str]:
    cells = values if isinstance(values, list) else values.to_pylist()
    return ["" if cell is None else str(cell).strip() for cell in cells]


def _meanings(table: Table, column: str) -> _Meanings:
    rows = _words(table.columns[column])
    flag = _flag(column)
    if flag is None and split_of_name(column) in SPLITS and _answers(table.columns[column]):
        flag = split_of_name(column)
    if flag:
        other = "test" if flag == "train" else "train"
        meant: dict[str, str | None] = {
            value: flag if value.casefold() in _YES else other if value.casefold() in _NO else None
            for value in rows
        }
        return _Meanings(column, rows, meant)
    names = table.class_names.get(column)
    if names:
        rows = [names[int(value)] if value.isdecimal() else value for value in rows]
    meant = dict.fromkeys(rows)
    for split, values in find_splits(meant).items():
        meant |= dict.fromkeys(values, None if split == UNCLEAR else split)
    return _Meanings(column, rows, meant)


def _splits(table: Table, meanings: _Meanings, wanted: str | None) -> dict[str, Table] | None:
    """Returns the table's rows by split, or None where the column says nothing of splits."""
    column, known = meanings.column, {split for split in meanings.split.values() if split}
    unknown = [value for value, split in meanings.split.items() if split is None]
    apart = known - {"train"} or any(mentions_split(value) or is_split_elsewhere(value) for value in unknown)
    if unknown and (wanted or apart):
        first = table.place(meanings.rows.index(unknown[0]))
        raise BadInput(
            f"{first}: column {column!r} says {unknown[0]!r}, which is no split; write train, validation or "
            f"test, or rename the column (it has {meanings.counts()})"
        )
    if unknown or known == {"train"}:
        return None
    if "train" not in known:
        raise BadInput(f"{table.name}: column {column!r} has no train rows ({meanings.counts()})")
    of_row = np.array([meanings.split[value] for value in meanings.rows])
    return {split: table.take(np.flatnonzero(of_row == split)) for split in SPLITS if split in known}


def _without_rejected(table: Table, used: Collection[str | None], warnings: list[str]) -> Table:
    for name, left_out in _LEFT_OUT.items():
        column = next((c for c in table.columns if c.casefold() == name and c not in used), None)
        if column is None:
            continue
        values = [value.casefold() for value in _words(table.columns[column])]
        rejected = np.array([value in left_out for value in values])
        if not rejected.any() or not set(values) <= {*_VERDICTS[name], ""}:
            continue
        first = table.place(int(np.argmax(rejected)))
        verdicts = " or ".join(sorted({value for value in values if value in left_out}))
        count = f"{rejected.sum():,} of {len(values):,} rows"
        if rejected.all():
            raise BadInput(f"{first}: the column {column!r} of every row is {verdicts}; no row is left")
        warnings.append(
            f"{table.name}: {count} are left out, as column {column!r} says {verdicts} (first: {first})"
        )
        table = table.take(np.flatnonzero(~rejected))
    return table
