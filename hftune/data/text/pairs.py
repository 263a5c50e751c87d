"""Pairs of texts: which two columns hold them, how they are checked, and one string that stands for each."""

import json
import re
from dataclasses import replace

import pyarrow as pa

from hftune.data.columns import (
    TEXT,
    check_texts,
    choose_columns,
    is_string,
    named_texts,
    refuse_missing_column,
)
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed
from hftune.settings.text import TextSettings
from hftune.tasks import label_names

# The usual names of the two columns, without "_", "-" and blanks.
NAMES = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "textpair"),
    ("query", "passage"),
    ("anchor", "positive"),
)
TRUNCATIONS = ("longest_first", "only_first", "only_second")  # the tokenizers' words
SWAPPED = {"only_first": "only_second", "only_second": "only_first"}
Columns = tuple[str, ...]  # one of texts, or two of pairs
Texts = str | tuple[str, str]  # what a row holds


def choose_texts(table: Table, settings: TextSettings) -> tuple[Columns, str]:
    """Finds the column of the texts, or the two of pairs, and the label's.

    Pairs are read where `text_pair_column_name` is given, or where no column is named and two have the names
    of a pair, while no other has a usual name of single texts.

    Args:
        table: The training rows, or others with labels.
        settings: `text_column_name`, `text_pair_column_name` and `label_column_name`.

    Raises:
        BadInput: A given name is missing, or it is not clear which columns are meant.
    """
    text, pair, label = settings.text_column_name, settings.text_pair_column_name, settings.label_column_name
    if text is None and pair is None:
        text, pair = usual_pair(table, label) or (None, None)
    if pair is None:
        text, label = choose_columns(table, TEXT, text, label, label_names(settings))
        return (text,), label
    refuse_missing_column(table, pair, "--text_pair_column_name")
    if pair == label:
        raise BadInput(f"--text_pair_column_name and --label_column_name are both {pair!r}")
    rest = replace(table, columns={name: cells for name, cells in table.columns.items() if name != pair})
    text, label = choose_columns(rest, TEXT, text or _partner(table, pair), label, label_names(settings))
    return (text, pair), label


def pair_columns(table: Table, text: str | None, pair: str | None) -> Columns:
    """Finds the two columns of a table that need not have labels, for a model that reads pairs.

    Args:
        table: The rows.
        text: The name of the first; None: it is found.
        pair: Likewise of the second.

    Raises:
        BadInput: There is no such column, or it is not clear which are meant.
    """
    flags = {"--text_column_name": text, "--text_pair_column_name": pair}
    for flag, given in flags.items():
        if given is not None:
            refuse_missing_column(table, given, flag)
    if text is None and pair is None:
        two = tuple(table.columns) if len(table.columns) == 2 else None
        text, pair = usual_pair(table, None) or two or (None, None)
    text, pair = text or _partner(table, pair), pair or _partner(table, text)
    if text is None or pair is None or text == pair:
        raise BadInput(
            f"{table.name}: which two columns hold the pairs of texts? Say it with {' and '.join(flags)} "
            f"({listed(table.columns)}){table.advice}"
        )
    return text, pair


def usual_pair(table: Table, label: str | None) -> tuple[str, str] | None:
    """Returns the two columns that have the names of a pair; None where that is not plain."""
    columns = _by_plain_name(table)
    found = [
        (columns[first], columns[second])
        for first, second in NAMES
        if all(name in columns and columns[name] != label for name in (first, second))
    ]
    if len(found) != 1 or not all(_holds_strings(table, column) for column in found[0]):
        return None
    others = set(named_texts(table, label)) - set(found[0])
    return None if others else found[0]


def _by_plain_name(table: Table) -> dict[str, str]:
    return {re.sub(r"[\s_-]", "", column.casefold()): column for column in table.columns}


def _partner(table: Table, column: str | None) -> str | None:
    """Returns the column that stands beside one of a usual pair, if there is one."""
    columns = _by_plain_name(table)
    sides = {side: other for pair in NAMES for side, other in (pair, pair[::-1])}
    plain = next((name for name, real in columns.items() if real == column), "")
    return columns.get(sides.get(plain, ""))


def _holds_strings(table: Table, column: str) -> bool:
    values = table.columns[column]
    return not isinstance(values, list) and is_string(values.type)


def check_rows(table: Table, columns: Columns, keep_blank: bool) -> tuple[pa.ChunkedArray, list[str]]:
    """Checks that every row has its text, or both of a pair.

    Args:
        table: Rows of one split.
        columns: One of texts, or two.
        keep_blank: See `check_texts`.

    Returns:
        Arrow strings that are equal for equal rows: the texts, or what `join` makes of pairs; and warnings.

    Raises:
        BadInput: See `check_texts`.
    """
    flags = ("--text_column_name", "--text_pair_column_name")
    checked = [
        check_texts(table, column, keep_blank, flag) for column, flag in zip(columns, flags, strict=False)
    ]
    warnings = [line for _, lines in checked for line in lines]
    if len(columns) == 1:
        return checked[0][0], warnings
    first, second = (texts.to_pylist() for texts, _ in checked)
    return pa.chunked_array([join(first, second)]), warnings


def join(first: list[str], second: list[str]) -> pa.Array:
    """Returns a string for each pair, from which `parted` gets both texts back: a JSON list."""
    pairs = zip(first, second, strict=True)
    return pa.array([json.dumps(pair, ensure_ascii=False) for pair in pairs], pa.string())


def parted(content: str) -> tuple[str, str]:
    """Returns the two texts of a string that `join` made."""
    first, second = json.loads(content)
    return first, second


def parts_of(content: Texts) -> tuple[str, ...]:
    """Returns the texts of a row: one, or two of a pair."""
    return (content,) if isinstance(content, str) else content


def truncation_of_pairs(truncation: str) -> str:
    """Returns the tokenizers' word for how pairs are cut.

    Args:
        truncation: The setting; "head" is its default, which cuts either text at its end.

    Raises:
        BadInput: It is one of single texts.
    """
    if truncation == "head":
        return "longest_first"
    if truncation not in TRUNCATIONS:
        raise BadInput(f"--truncation {truncation}: for pairs of texts pass one of {', '.join(TRUNCATIONS)}")
    return truncation


def refuse_words_of_pairs(truncation: str) -> None:
    """Raises `BadInput` where single texts are to be cut as only pairs can be."""
    if truncation in TRUNCATIONS:
        raise BadInput(
            f"--truncation {truncation}: the texts are no pairs; pass head, tail or head+tail, or name the "
            "second text with --text_pair_column_name"
        )
