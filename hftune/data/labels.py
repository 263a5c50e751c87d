"""From labels as they are written to class numbers, the same in all splits."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hftune.data.columns import kind_of, refuse_rows
from hftune.data.tables import Table
from hftune.errors import BadInput

UNLABELLED = -1  # what the Hub's sets write where the label is not public

_CANONICAL = re.compile(r"0|-?[1-9][0-9]*")
_NUMERIC = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")

_Entry = tuple[Any, Table, int]  # a label as it was written, and the table and row where it appears first


@dataclass(frozen=True)
class _Labels:
    """The different labels of one table, in order of appearance."""

    table: Table
    codes: np.ndarray  # int64 (N,): index into `values` of each row
    values: list[Any]
    first: list[int]  # row at which each value appears first

    def entries(self) -> list[_Entry]:
        return [(value, self.table, row) for value, row in zip(self.values, self.first, strict=True)]


def is_unlabelled(table: Table, column: str) -> bool:
    """Tells whether every label of a table is -1 or missing, as in splits without public labels."""
    values = table.columns[column]
    return all(
        value is None or (value == UNLABELLED and not isinstance(value, bool)) for value in _distinct(values)
    )


def _distinct(values: pa.ChunkedArray | list[Any]) -> Iterable[Any]:
    if isinstance(values, list) or pa.types.is_nested(values.type):
        return values
    return values.unique().to_pylist()


def number_labels(
    tables: Mapping[str, Table], column: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray], list[str]]:
    """Numbers the classes, the same in all splits.

    Names that the data bring are kept in their order; words are sorted; numbers keep their order
    and are closed up to 0 .. C-1.

    Args:
        tables: Tables by split; "train" is one of them.
        column: The label column.

    Returns:
        The class names, the class numbers by split (int64, one a row), and the warnings.

    Raises:
        BadInput: A label is missing, of another kind than the others, spelt in two ways, not in
            train, or there is only one; the place is named.
    """
    found = {split: _collect(table, column) for split, table in tables.items()}
    brought = tables["train"].class_names.get(column)
    values = _as_named(found, brought) if brought else _as_one_kind(found)
    _refuse_strangers(found, values)
    names, warnings = _order(tables["train"], set(values["train"]), brought)
    number = {value: index for index, value in enumerate(names)}
    labels = {}
    for split, labels_of in found.items():
        numbers = np.array([number[values[split][i]] for i in range(len(labels_of.values))], dtype=np.int64)
        labels[split] = numbers[labels_of.codes]
    return tuple(map(str, names)), labels, warnings


def _collect(table: Table, column: str) -> _Labels:
    values = table.columns[column]
    listed = values if isinstance(values, list) else values.to_pylist()
    missing = [
        value is None or value != value or (isinstance(value, str) and not value.strip()) for value in listed
    ]
    refuse_rows(
        table, pa.chunked_array([pa.array(missing, pa.bool_())]), f"the label (column {column!r}) is missing"
    )
    index: dict[tuple[type, Any], int] = {}
    first: list[int] = []
    codes = np.empty(len(listed), dtype=np.int64)
    for row, value in enumerate(listed):
        if not isinstance(value, (str, bool, int, float)):
            several = "; only sets with one label a row can be learned" if isinstance(value, list) else ""
            raise BadInput(f"{table.place(row)}: the label (column {column!r}) is {kind_of(value)}{several}")
        key = (type(value), value)  # True and 1 are equal in Python
        code = codes[row] = index.setdefault(key, len(first))
        if code == len(first):
            first.append(row)
    return _Labels(table, codes, [value for _, value in index], first)


def _as_named(found: Mapping[str, _Labels], names: list[str]) -> dict[str, list[Any]]:
    """Turns the class numbers of data that bring class names into the names."""
    values: dict[str, list[Any]] = {}
    for split, labels in found.items():
        values[split] = []
        for value, row in zip(labels.values, labels.first, strict=True):
            if isinstance(value, str) and value in names:
                values[split].append(value)
            elif isinstance(value, int) and 0 <= value < len(names):
                values[split].append(names[value])
            else:
                raise BadInput(
                    f"{labels.table.place(row)}: label {value!r} is none of the {len(names)} classes "
                    f"({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"
                    + ("; -1 marks rows without a label: remove them" if value == UNLABELLED else "")
                )
    return values


def _as_one_kind(found: Mapping[str, _Labels]) -> dict[str, list[Any]]:
    """Turns labels into words, into whole numbers or into "False" and "True", alike in all splits."""
    entries = [entry for labels in found.values() for entry in labels.entries()]
    _refuse_mixed(entries)
    values = [value for value, _, _ in entries]
    words = [value.strip() for value in values if isinstance(value, str)]
    if words and not _are_numbers(words):
        _refuse_variants(entries)
        convert: Callable[[Any, Table, int], str | int] = _word
    else:
        convert = _word if isinstance(values[0], bool) else _whole
    return {split: [convert(*entry) for entry in labels.entries()] for split, labels in found.items()}


def _are_numbers(words: list[str]) -> bool:
    """Tells numbers, as csv files write them, from words; zero-padded codes such as 01 are words."""
    return all(_CANONICAL.fullmatch(word) or (_NUMERIC.fullmatch(word) and "." in word) for word in words)


def _refuse_mixed(entries: list[_Entry]) -> None:
    only_text = all(isinstance(value, str) for value, _, _ in entries)

    def kind(value: Any) -> str:
        if only_text:
            return "a number" if _NUMERIC.fullmatch(value.strip()) else "a word"
        return kind_of(value)

    first, table, row = entries[0]
    for value, other, other_row in entries:
        if kind(value) != kind(first):
            raise BadInput(
                f"{other.place(other_row)}: label {value!r} is {kind(value)}, but {first!r} "
                f"({table.place(row)}) is {kind(first)}; write all labels as words or all as numbers"
            )


def _refuse_variants(entries: list[_Entry]) -> None:
    seen: dict[str, _Entry] = {}
    problems = []
    for value, table, row in entries:
        first, first_table, first_row = seen.setdefault(
            " ".join(value.split()).casefold(), (value, table, row)
        )
        if value != first:
            places = f"{table.place(row)}: label {value!r}", f"{first!r} ({first_table.place(first_row)})"
            problems.append(" differs only by case or blanks from ".join(places))
    if problems:
        raise BadInput(f"{problems[0]}; write both alike", problems[1:])


def _word(value: Any, table: Table, row: int) -> str:
    return str(value).strip()


def _whole(value: Any, table: Table, row: int) -> int:
    number = float(value)
    if not number.is_integer():
        raise BadInput(
            f"{table.place(row)}: label {value} is not a whole number; classes are whole numbers or words"
        )
    if number < 0:
        unlabelled = " (-1 marks rows without a label)" if number == UNLABELLED else ""
        raise BadInput(
            f"{table.place(row)}: label {value} is negative{unlabelled}; remove the row, or number the "
            "classes from 0"
        )
    return int(number)


def _refuse_strangers(found: Mapping[str, _Labels], values: Mapping[str, list[Any]]) -> None:
    """Raises BadInput for labels that train lacks, and for a train of one class."""
    known = set(values["train"])
    train = found["train"].table.name
    if len(known) == 1:
        raise BadInput(
            f"{train}: every row has the label {values['train'][0]!r}; training needs at least two classes"
        )
    strangers = [
        (str(value), labels.table.place(row))
        for split, labels in found.items()
        for value, row in zip(values[split], labels.first, strict=True)
        if value not in known
    ]
    if strangers:
        label, place = strangers[0]
        more = [f"{place}: label {label!r}" for label, place in strangers[1:]]
        raise BadInput(f"{place}: label {label!r} does not occur in {train}, so it cannot be learned", more)
    rows = len(found["train"].codes)
    if len(known) > 100 and 2 * len(known) > rows:
        raise BadInput(
            f"{train}: {len(known):,} different labels in {rows:,} rows are not classes; name the label "
            "column with --label_column_name"
        )


def _order(table: Table, present: set[Any], brought: list[str] | None) -> tuple[list[Any], list[str]]:
    """Returns the classes in the order of their numbers, and what to warn of."""
    if brought:
        absent = [name for name in brought if name not in present]
        return brought, [f"{table.name}: no row has the label {', '.join(absent)}"] if absent else []
    names = sorted(present)
    if isinstance(names[0], int) and names[-1] - names[0] + 1 != len(names):
        listed = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
        return names, [
            f"{table.name}: the labels {listed} have gaps; the model numbers them 0 to {len(names) - 1}"
        ]
    return names, []
