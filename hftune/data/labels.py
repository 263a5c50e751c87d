"""From the labels of a table's rows to class numbers, the same in all splits."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from hftune.data.columns import kind_of, refuse_rows
from hftune.data.label_values import (
    MISSING_WORDS,
    Label,
    NotOneLabel,
    are_numbers,
    canonical_label,
    difference,
    exact_number,
    is_number,
    label_name,
    quoted,
    single_label,
)
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed

UNLABELLED = -1  # what the Hub's sets write where the label is not public

_SIGNS = re.compile(r"\s*[|;,/&+\u3001\u060c\u061b]\s*")  # what people write between several labels of a row
_WORDS = re.compile(r"[^\W_]+")

_Entry = tuple[Any, Table, int]  # a label as it was written, and the table and row where it appears first


@dataclass(frozen=True)
class _Labels:
    """The different labels of one table, in order of appearance.

    Args:
        table: The rows.
        codes: Index into `values` of each row, int64 (N,).
        values: The labels, None for missing ones.
        first: Row at which each value appears first.
    """

    table: Table
    codes: np.ndarray
    values: list[Label | None]
    first: list[int]

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
    tables: Mapping[str, Table], column: str, *, own: bool = True
) -> tuple[tuple[str, ...], dict[str, np.ndarray], list[str]]:
    """Numbers the classes, the same in all splits.

    Names that the data bring are kept in their order; words are sorted; numbers keep their order
    and are closed up to 0 .. C-1.

    Args:
        tables: Tables by split; "train" is one of them.
        column: The label column.
        own: Whether the tables are the user's own, where -1 is a class as any other number; in a library's
            sets it marks rows without a label.

    Returns:
        The class names, the class numbers by split (int64, one a row), and the warnings.

    Raises:
        BadInput: A label is missing, of another kind than the others, spelt in two ways, not in
            train, or there is only one; the place is named.
    """
    found = {split: _collect(table, column) for split, table in tables.items()}
    for labels_of in found.values():
        gone = np.array([value is None for value in labels_of.values], bool)[labels_of.codes]
        missing = pa.chunked_array([pa.array(gone, pa.bool_())])
        refuse_rows(labels_of.table, missing, f"the label (column {column!r}) is missing")
    _spell_as_in_train(found)
    brought = tables["train"].class_names.get(column)
    values = _as_named(found, brought) if brought else _as_one_kind(found)
    if not own:
        _refuse_unlabelled(found, values)
    _refuse_unknown(found, values, column)
    names, warnings = _order(tables["train"], set(values["train"]), brought)
    if not brought:
        warnings += _doubts(found["train"], values["train"])
    number = {value: index for index, value in enumerate(names)}
    labels = {}
    for split, labels_of in found.items():
        numbers = np.array([number[value] for value in values[split]], dtype=np.int64)
        labels[split] = numbers[labels_of.codes]
    return tuple(map(label_name, names)), labels, warnings


def _spell_as_in_train(found: Mapping[str, _Labels]) -> None:
    """Gives labels of other splits the coding of accents (NFC, NFD) that they have in train."""
    names = {_composed(value): value for value in found["train"].values if isinstance(value, str)}
    for split, labels in found.items():
        if split != "train":
            labels.values[:] = [
                names.get(_composed(value), value) if isinstance(value, str) else value
                for value in labels.values
            ]


def _composed(label: str) -> str:
    return unicodedata.normalize("NFC", label)


def label_words(table: Table, column: str) -> list[str]:
    """Returns the label of each row as a class would be called, "" for a missing one.

    Raises:
        BadInput: A row has several labels.
    """
    found, names = _collect(table, column), table.class_names.get(column)
    words = [
        "" if value is None else _name_at(value, names or []) or label_name(value) for value in found.values
    ]
    return [words[code] for code in found.codes]


def _name_at(value: Any, names: list[str]) -> str | None:
    """Returns the class name that a number stands for, None where it stands for none."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return names[value] if whole and 0 <= value < len(names) else None


def _collect(table: Table, column: str) -> _Labels:
    cells = _cells(table.columns[column])
    index: dict[tuple[type, Any], int] = {}
    values: list[Label | None] = []
    first: list[int] = []
    codes = np.empty(len(cells), dtype=np.int64)
    for row, written in enumerate(cells):
        nested = isinstance(written, (list, dict))
        if written != written:  # NaN, which is missing and never equal to itself
            written = None
        key = (type(written), repr(written) if nested else written)  # True and 1 are equal in Python
        code = codes[row] = index.setdefault(key, len(first))
        if code == len(first):
            first.append(row)
            values.append(_one_label(written, table, row, column))
    return _Labels(table, codes, values, first)


def _cells(values: pa.ChunkedArray | list[Any]) -> list[Any]:
    if isinstance(values, list):
        return values
    if pa.types.is_float16(values.type) or pa.types.is_float32(values.type):
        return [None if value is None else float(str(np.float32(value))) for value in values.to_pylist()]
    return values.to_pylist()


def _one_label(written: Any, table: Table, row: int, column: str) -> Label | None:
    try:
        value = single_label(written)
    except NotOneLabel as reason:
        raise BadInput(
            f"{table.place(row)}: the label (column {column!r}) is {reason}; for several labels a row pass "
            "--task multi_label"
        ) from None
    if value is None or value != value or (isinstance(value, str) and not canonical_label(value)):
        return None
    if not isinstance(value, (str, bool, int, float, Decimal)):
        raise BadInput(f"{table.place(row)}: the label (column {column!r}) is {kind_of(value)}")
    return value


def _as_named(found: Mapping[str, _Labels], names: list[str]) -> dict[str, list[Any]]:
    """Turns the class numbers of data that bring class names into the names."""
    values: dict[str, list[Any]] = {}
    for split, labels in found.items():
        values[split] = []
        for value, table, row in labels.entries():
            if isinstance(value, str) and value in names:
                values[split].append(value)
            elif (name := _name_at(value, names)) is not None:
                values[split].append(name)
            else:
                raise BadInput(
                    f"{table.place(row)}: label {quoted(value)} is none of the {len(names)} classes "
                    f"({listed(names)})"
                    + ("; -1 marks rows without a label: remove them" if value == UNLABELLED else "")
                )
    return values


def _as_one_kind(found: Mapping[str, _Labels]) -> dict[str, list[Any]]:
    """Turns labels into words, into exact numbers or into "False" and "True", alike in all splits."""
    entries = [entry for labels in found.values() for entry in labels.entries()]
    _refuse_mixed(entries)
    values = [value for value, _, _ in entries]
    words = [value for value in values if isinstance(value, str)]
    if words and not are_numbers(words):
        _refuse_variants(entries)
        convert: Callable[[Any, Table, int], str | int | Decimal] = _word
    else:
        convert = _word if isinstance(values[0], bool) else _number
    return {split: [convert(*entry) for entry in labels.entries()] for split, labels in found.items()}


def _refuse_mixed(entries: list[_Entry]) -> None:
    only_text = all(isinstance(value, str) for value, _, _ in entries)

    def kind(value: Any) -> str:
        if only_text:
            return "a number" if is_number(value) else "a word"
        return kind_of(value)

    first, table, row = entries[0]
    for value, other, other_row in entries:
        if kind(value) != kind(first):
            missing = [word for word in (value, first) if _is_missing_word(word)]
            advice = "write all labels as words or all as numbers"
            if "-1" in (str(value), str(first)):
                advice = "if -1 marks rows without a label, remove them: hftune predict RUN FILE answers such"
            if missing:
                advice = f"tools write {missing[0]!r} for a missing label: fill it in or remove the row"
            raise BadInput(
                f"{other.place(other_row)}: label {quoted(value)} is {kind(value)}, but {quoted(first)} "
                f"({table.place(row)}) is {kind(first)}; {advice}"
            )


def _is_missing_word(value: Any) -> bool:
    return isinstance(value, str) and value.strip().casefold() in MISSING_WORDS


def _refuse_variants(entries: list[_Entry]) -> None:
    seen: dict[str, _Entry] = {}
    problems = []
    for value, table, row in entries:
        plain = label_name(value) if is_number(value) else canonical_label(value)
        first, first_table, first_row = seen.setdefault(plain, (value, table, row))
        if value != first:
            places = (
                f"{table.place(row)}: label {quoted(value)}",
                f"{quoted(first)} ({first_table.place(first_row)})",
            )
            problems.append(f" {difference(value, first)} ".join(places))
    if problems:
        raise BadInput(f"{problems[0]}; write both alike", problems[1:])


def _word(value: Any, table: Table, row: int) -> str:
    return str(value).strip()


def _number(value: Any, table: Table, row: int) -> int | Decimal:
    try:
        return exact_number(value)
    except ValueError as reason:
        raise BadInput(f"{table.place(row)}: label {value} {reason}") from None


def _refuse_unlabelled(found: Mapping[str, _Labels], values: Mapping[str, list[Any]]) -> None:
    for split, labels in found.items():
        for value, row in zip(values[split], labels.first, strict=True):
            if value == UNLABELLED:
                raise BadInput(
                    f"{labels.table.place(row)}: label -1 marks rows without a label; remove the row, or "
                    "number the classes from 0"
                )


def _refuse_unknown(found: Mapping[str, _Labels], values: Mapping[str, list[Any]], column: str) -> None:
    """Raises BadInput for labels that train lacks, for a train of one class, and for ids."""
    known = set(values["train"])
    train = found["train"].table.name
    if len(known) == 1:
        raise BadInput(
            f"{train}: every row has the label {values['train'][0]!r}; training needs at least two classes"
        )
    unknown = [
        (label_name(value), labels.table.place(row))
        for split, labels in found.items()
        for value, row in zip(values[split], labels.first, strict=True)
        if value not in known
    ]
    if unknown:
        label, place = unknown[0]
        hint = "; rows without a label are answered by: hftune predict RUN FILE" if label == "-1" else ""
        more = [f"{place}: label {quoted(label)}" for label, place in unknown[1:]]
        raise BadInput(
            f"{place}: label {quoted(label)} does not occur in {train}, so it cannot be learned{hint}", more
        )
    rows = len(found["train"].codes)
    numbers = "" if any(isinstance(value, str) for value in known) else ", or pass --task regression"
    # Other splits with no label of their own tell that a few rows a class are meant.
    ids = len(found) == 1 and rows >= 10 and 10 * len(known) > 9 * rows
    if ids or (len(known) > 100 and 2 * len(known) > rows):
        raise BadInput(
            f"{train}: {len(known):,} different labels in {rows:,} rows are not classes (column {column!r}); "
            f"name the label column with --label_column_name{numbers}"
        )


def _order(table: Table, present: set[Any], brought: list[str] | None) -> tuple[list[Any], list[str]]:
    """Returns the classes in the order of their numbers, and what to warn of."""
    if brought:
        absent = [name for name in brought if name not in present]
        return brought, [f"{table.name}: no row has the label {listed(absent)}"] if absent else []
    names = sorted(present)
    if isinstance(names[0], str):
        return names, []
    shortest = listed([label_name(name) for name in names])
    if any(isinstance(name, Decimal) for name in names):
        return names, [
            f"{table.name}: the labels {shortest} are numbers with a point; each becomes a class of its own, "
            "and that some are near to each other is not learned; --task regression learns them as numbers"
        ]
    if names[-1] - names[0] + 1 != len(names):
        return names, [
            f"{table.name}: the labels {shortest} have gaps; the model numbers them 0 to {len(names) - 1}"
        ]
    return names, []


def _doubts(train: _Labels, values: list[Any]) -> list[str]:
    """Returns warnings about classes that may be none: missing values, several labels in one cell, -1."""
    words = {value: canonical_label(value) for value in values if isinstance(value, str)}
    negative = {value for value in values if value not in words and value < 0}
    doubts: list[tuple[list[Any], str]] = [
        (
            [value for value in words if _is_missing_word(value)],
            'is what tools write for "missing", and is taken as a class; if it is none, remove its rows',
        ),
        (
            _joined(words),
            "looks like several labels joined, and is taken as a class of its own; only one label a row is "
            "learned",
        ),
        (
            _padded(words),
            "is the same number as another class, and is taken as a class of its own; if they are one, write "
            "both alike",
        ),
        (
            [UNLABELLED] if negative == {UNLABELLED} else [],
            "is taken as a class; if it marks rows without a label, remove them",
        ),
    ]
    rows = np.bincount(train.codes, minlength=len(values))
    lines = []
    for found, meaning in doubts:
        for value in found[:3]:
            codes = [code for code, other in enumerate(values) if other == value]
            count, first = rows[codes].sum(), train.table.place(min(train.first[code] for code in codes))
            plural = "s" if count != 1 else ""
            lines.append(f"label {quoted(value)} ({count:,} row{plural}, first: {first}) {meaning}")
        if len(found) > 3:
            lines.append(f"{len(found) - 3:,} more labels are such: {listed(found[3:])}")
    return lines


def _padded(words: Iterable[str]) -> list[str]:
    """Returns the labels that are one number with others, but for zeros before it or a sign."""
    numbers = {word: Decimal(word.strip()) for word in words if is_number(word)}
    often = Counter(numbers.values())
    return [word for word, value in numbers.items() if often[value] > 1 and word != str(value)]


def _joined(words: Mapping[str, str]) -> list[str]:
    """Returns the labels that look like others joined.

    By a sign, one part at least must be a label or be joined otherwise too; by blanks, hyphens and such, all
    parts must be labels, as words of ordinary names recur.

    Args:
        words: What `canonical_label` makes of each label, by label.
    """
    labels, found = set(words.values()), []
    parts = {word: [part for part in _SIGNS.split(plain) if part.strip()] for word, plain in words.items()}
    often = Counter(part for own in parts.values() if len(own) > 1 for part in {*own})
    for word, own in parts.items():
        known = [part in labels for part in own]
        if (len(own) > 1 and (any(known) or all(often[part] > 1 for part in own))) or (
            len(own) == 1 and len(apart := _WORDS.findall(own[0])) > 1 and labels.issuperset(apart)
        ):
            found.append(word)
    return found


def match_labels(table: Table, column: str, labels: tuple[str, ...]) -> np.ndarray:
    """Returns the class id that a model gives the label of each row, int64 (N,).

    Numbers in the data mean the class of that name: "1" for 1, or LABEL_1 of a model without names.

    Args:
        table: Labelled rows.
        column: The label column.
        labels: The model's class names.

    Raises:
        BadInput: A label is missing, or the model does not know it; lists all such labels.
    """
    number = {name: place for place, name in enumerate(labels)}
    for place, name in enumerate(labels):
        if name == f"LABEL_{place}":
            number.setdefault(str(place), place)
    for place, name in enumerate(labels):  # one name, its accents coded in two ways
        for coding in ("NFC", "NFD"):
            number.setdefault(unicodedata.normalize(coding, name), place)
    words = label_words(table, column)
    unknown = {word: row for row, word in reversed(list(enumerate(words))) if word not in number}
    if "" in unknown:
        raise BadInput(
            f"{table.place(unknown[''])}: the label (column {column!r}) is missing; fill it in or remove "
            "the row"
        )
    if unknown:
        first, *more = sorted(unknown, key=lambda word: unknown[word])
        alike = [name for name in labels if canonical_label(name) == canonical_label(first)]
        hint = f"; it {difference(first, alike[0])} {quoted(alike[0])}" if alike else ""
        raise BadInput(
            f"{table.place(unknown[first])}: the model knows no label {quoted(first)} (it knows "
            f"{listed(labels)}){hint}",
            [f"{table.place(unknown[word])}: label {quoted(word)}" for word in more],
        )
    return np.array([number[word] for word in words], np.int64)
