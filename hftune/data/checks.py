"""One pass over the rows: which columns hold text and label, bad values, class numbers, duplicates."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hftune.data.tables import Table
from hftune.errors import BadInput

# "text" and "label" are clear whatever else is there; the others where only one of them is.
TEXT_NAMES = (
    "text",
    "sentence",
    "review",
    "content",
    "question",
    "tweet",
    "comment",
    "document",
    "body",
    "message",
)
LABEL_NAMES = (
    "label",
    "labels",
    "target",
    "class",
    "category",
    "sentiment",
    "intent",
    "emotion",
    "topic",
    "polarity",
)
UNLABELLED = -1  # what the Hub's sets write where the label is not public

_CANONICAL = re.compile(r"0|-?[1-9][0-9]*")
_NUMERIC = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


@dataclass(frozen=True)
class Part:
    """Clean rows of one split.

    Args:
        content: What the rows hold, as strings that are equal for equal content: the texts themselves, or
            the hashes of pictures, (N,).
        label: Class numbers 0 .. C-1, int64 (N,).
        table: Where the rows came from.
        rows: Row of the table that each row was, int64 (N,).
        looks: Strings that are equal for rows that nobody can tell apart, (N,), where `content` does not say
            it: files of other bytes may show the same pixels.
    """

    content: pa.ChunkedArray
    label: np.ndarray
    table: Table
    rows: np.ndarray
    looks: pa.ChunkedArray | None = None

    def place(self, row: int) -> str:
        """Says where a row (0-based) stands in the user's data."""
        return self.table.place(int(self.rows[row]))

    def take(self, chosen: np.ndarray) -> "Part":
        """Returns the chosen rows (int64, ascending)."""
        if len(chosen) == len(self.rows):
            return self
        looks = None if self.looks is None else self.looks.take(pa.array(chosen))
        content = self.content.take(pa.array(chosen))
        return Part(content, self.label[chosen], self.table, self.rows[chosen], looks)


class Content(NamedTuple):
    """What rows hold besides their label, as far as finding its column goes.

    Args:
        noun: Its name in flags: `--NOUN_column_name`.
        candidates: Returns the columns of a table that may hold it, given the label's.
    """

    noun: str
    candidates: Callable[[Table, str], list[str]]


def choose_columns(table: Table, kind: Content, content: str | None, label: str | None) -> tuple[str, str]:
    """Finds the content's and the label's column.

    Args:
        table: The training rows.
        kind: What the rows hold.
        content: The content column's name, or None to infer it.
        label: The label column's name, or None to infer it.

    Raises:
        BadInput: A given name is missing, or it is not clear which column is meant.
    """
    flag_of_content = f"--{kind.noun}_column_name"
    for given, flag in ((content, flag_of_content), (label, "--label_column_name")):
        if given is not None and given not in table.columns:
            near = difflib.get_close_matches(given, table.columns, n=1, cutoff=0.5)
            suggestion = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"{table.name} has no column {given!r} ({flag}){suggestion} ({_columns(table)})")
    if content is not None and content == label:
        raise BadInput(f"{flag_of_content} and --label_column_name are both {content!r}")
    if label is None:
        label = _one(table, _label_candidates(table, content), "label")
    if content is None:
        content = _one(table, kind.candidates(table, label), kind.noun)
    return content, label


def _columns(table: Table) -> str:
    return "columns: " + ", ".join(column or "(no name)" for column in table.columns)


def _label_candidates(table: Table, text: str | None) -> list[str]:
    named = [
        c
        for c in table.columns
        if c.casefold() in LABEL_NAMES or c.casefold().endswith(("_label", "_labels"))
    ]
    candidates = [c for c in table.columns if (c in named or c in table.class_names) and c != text]
    return ["label"] if "label" in candidates else candidates


def _text_candidates(table: Table, label: str) -> list[str]:
    if "text" in table.columns and label != "text":
        return ["text"]
    named = [c for c in table.columns if c.casefold() in TEXT_NAMES and c != label]
    return named or [c for c in table.columns if c != label and _is_free_text(table.columns[c])]


TEXT = Content("text", _text_candidates)


def _is_free_text(column: pa.ChunkedArray | list[Any]) -> bool:
    """Tells sentences from ids: most of the first values hold a blank, or letters beyond ASCII."""
    if isinstance(column, list) or not _is_string(column.type):
        return False
    head = column.slice(0, 100).to_pylist()
    texts = sum(value is not None and (" " in value.strip() or not value.isascii()) for value in head)
    return 2 * texts > len(head)


def _one(table: Table, candidates: list[str], kind: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    flag = f"--{kind}_column_name"
    if candidates:
        several = ", ".join(candidates)
        raise BadInput(f"{table.name}: each of {several} could be the {kind} column; say which with {flag}")
    header = "" if table.lines is None else "; is the header line missing?"
    raise BadInput(
        f"{table.name} has no column that is plainly the {kind} ({_columns(table)}); name it with "
        f"{flag}{header}"
    )


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def check_texts(table: Table, column: str, keep_blank: bool) -> tuple[pa.ChunkedArray, list[str]]:
    """Checks that every row has a text.

    Args:
        table: Rows of one split.
        column: The text column.
        keep_blank: Keep texts that hold only blanks, with a warning, as for sets which the user
            cannot edit; otherwise they are an error.

    Returns:
        The texts as Arrow strings and the warnings.

    Raises:
        BadInput: A text is missing, blank or not a string; the places are named.
    """
    values = table.columns[column]
    if isinstance(values, list):
        row = next(i for i, value in enumerate(values) if value is not None and not isinstance(value, str))
        raise BadInput(
            f"{table.place(row)}: the text (column {column!r}) is {_kind(values[row])}, not a string"
        )
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not _is_string(values.type) and values.null_count < len(values):
        raise BadInput(
            f"{table.name}: column {column!r}, taken as the text, holds {values.type}, not text; name "
            f"another with --text_column_name ({_columns(table)})"
        )
    _refuse_rows(table, values.is_null(), f"the text (column {column!r}) is missing")
    values = values.cast(pa.string())
    if pc.all(pc.match_substring_regex(values, r"^\s*[-+]?[0-9]+([.,][0-9]+)?\s*$")).as_py():
        raise BadInput(
            f"{table.name}: column {column!r}, taken as the text, holds only numbers; name another with "
            f"--text_column_name ({_columns(table)})"
        )
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0)
    if not keep_blank:
        _refuse_rows(table, blank, f"the text (column {column!r}) is blank")
    count = pc.sum(blank).as_py()
    first = table.place(pc.index(blank, True).as_py()) if count else ""
    return values, [f"{table.name}: {count:,} texts are blank and kept (first: {first})"] if count else []


def _refuse_rows(table: Table, bad: pa.ChunkedArray, problem: str) -> None:
    rows = np.flatnonzero(bad.to_numpy())
    if len(rows):
        places = [table.place(row) for row in rows.tolist()]
        also = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
        raise BadInput(f"{places[0]}: {problem}{also}; fill it in or remove the row", places[1:])


def _kind(value: Any) -> str:
    kinds = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), f"of type {type(value).__name__}")


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
    _refuse_rows(
        table, pa.chunked_array([pa.array(missing, pa.bool_())]), f"the label (column {column!r}) is missing"
    )
    index: dict[tuple[type, Any], int] = {}
    first: list[int] = []
    codes = np.empty(len(listed), dtype=np.int64)
    for row, value in enumerate(listed):
        if not isinstance(value, (str, bool, int, float)):
            several = "; only sets with one label a row can be learned" if isinstance(value, list) else ""
            raise BadInput(f"{table.place(row)}: the label (column {column!r}) is {_kind(value)}{several}")
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
        return _kind(value)

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


def find_duplicates(parts: Mapping[str, Part], noun: str) -> list[str]:
    """Counts what stands twice in train, and rows of other splits that stand in train too.

    Content is compared as it is, byte by byte.

    Args:
        parts: Splits by name; "train" is one of them.
        noun: What a row holds: "text" or "picture".

    Returns:
        Warnings with counts and the first pair.
    """
    train = parts["train"]
    encoded = pc.dictionary_encode(_combined(train.content))
    codes = encoded.indices.to_numpy()
    first = np.full(len(encoded.dictionary), len(codes), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))  # row at which each text appears first
    warnings = []
    again = np.flatnonzero(first[codes] != np.arange(len(codes)))
    if len(again):
        other = np.count_nonzero(train.label[again] != train.label[first[codes[again]]])
        differently = f", {other:,} of them with another label" if other else ""
        pair = f"{train.place(again[0])} = {train.place(first[codes[again[0]]])}"
        warnings.append(f"{len(again):,} train rows repeat an earlier {noun}{differently} (first: {pair})")
    for split, part in parts.items():
        if split == "train":
            continue
        code = pc.index_in(_combined(part.content), value_set=encoded.dictionary)
        shared = np.flatnonzero(code.is_valid().to_numpy(zero_copy_only=False))
        if len(shared):
            pair = f"{part.place(shared[0])} = {train.place(first[code[int(shared[0])].as_py()])}"
            warnings.append(f"{len(shared):,} {split} {noun}s also stand in train (first: {pair})")
    return warnings


def _combined(texts: pa.ChunkedArray) -> pa.LargeStringArray:
    return (
        pa.concat_arrays(texts.cast(pa.large_string()).chunks)
        if texts.num_chunks
        else pa.array([], pa.large_string())
    )
