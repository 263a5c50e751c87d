"""Which column holds what, and the cells of it that are missing."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hftune.data.tables.read import Table
from hftune.data.tables.wide import refuse_one_hot
from hftune.errors import BadInput, listed, shown

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
MORE_LABEL_NAMES = (  # without "_", "-" and blanks; where none of the others is there
    *("tag", "tags", "classname", "classnames", "classes", "categories", "categoryname", "labelname"),
    *("breed", "species", "diagnosis"),
)


class Content(NamedTuple):
    """What rows hold besides their label, as far as finding its column goes.

    Args:
        noun: Its name in flags: `--NOUN_column_name`.
        candidates: Returns the columns of a table that may hold it, given the label's.
        several: What else may be said where several columns could be it, to stand behind the flag.
    """

    noun: str
    candidates: Callable[[Table, str], list[str]]
    several: str = ""


def choose_columns(
    table: Table, kind: Content, content: str | None, label: str | None, label_names: Sequence[str] = ()
) -> tuple[str, str]:
    """Finds the content's and the label's column.

    Args:
        table: The training rows.
        kind: What the rows hold.
        content: The content column's name, or None to infer it.
        label: The label column's name, or None to infer it.
        label_names: What such columns are called besides the usual names.

    Raises:
        BadInput: A given name is missing, or it is not clear which column is meant.
    """
    flag_of_content = f"--{kind.noun}_column_name"
    for given, flag in ((content, flag_of_content), (label, "--label_column_name")):
        if given is not None:
            refuse_missing_column(table, given, flag)
    if content is not None and content == label:
        raise BadInput(f"{flag_of_content} and --label_column_name are both {content!r}")
    if label is None:
        candidates = _label_candidates(table, content, label_names)
        if not candidates:
            refuse_one_hot(table)
        label = _one(table, candidates, "label")
    if content is None:
        content = _one(table, kind.candidates(table, label), kind.noun, kind.several)
    return content, label


def refuse_missing_column(table: Table, given: str, flag: str) -> None:
    """Raises `BadInput` where a table has no column of the name that a flag gives."""
    if given not in table.columns:
        near = difflib.get_close_matches(given, table.columns, n=1, cutoff=0.5)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        suggestion += f" ({table.column_list}){table.advice}"
        raise BadInput(f"{table.name} has no column {given!r} ({flag}){suggestion}")


def with_names_of(table: Table, columns: Iterable[str]) -> Table:
    """Returns a table whose columns have the names of train's, where they differ by case or blanks alone.

    Args:
        table: Rows of a split.
        columns: The names of train's columns that are read.
    """
    renamed = {}
    for wanted in columns:
        alike = [c for c in table.columns if _plain(c) == _plain(wanted)]
        if wanted not in table.columns and len(alike) == 1:
            renamed[alike[0]] = wanted
    if not renamed:
        return table
    return replace(
        table,
        columns={renamed.get(c, c): values for c, values in table.columns.items()},
        class_names={renamed.get(c, c): names for c, names in table.class_names.items()},
    )


def unread_texts(table: Table, texts: Sequence[str], label: str) -> list[str]:
    """Returns a warning that names the other columns of free text, which are not read.

    Args:
        table: The training rows.
        texts: The columns that are read as text, one or two.
        label: The label column.
    """
    varied = []
    for column, values in table.columns.items():
        if column not in (*texts, label) and _is_free_text(values):
            head = values[:100] if isinstance(values, list) else values.slice(0, 100).to_pylist()
            if 5 * len(set(head)) > len(head):  # names of classes may be of several words, but they recur
                varied.append(column)
    if not varied:
        return []
    read = " and ".join(map(repr, texts))
    only = f"only column {read} is" if len(texts) == 1 else f"only columns {read} are"
    return [
        f"{table.name}: {only} read as text; left out: {listed(varied)} (to read several, "
        "join them into one column)"
    ]


def _label_candidates(table: Table, text: str | None, more: Sequence[str]) -> list[str]:
    usual = (*LABEL_NAMES, *more)
    named = [c for c in table.columns if _plain(c) in usual or _plain(c).endswith(("_label", "_labels"))]
    if not named:
        named = [c for c in table.columns if re.sub(r"[\s_-]", "", c.casefold()) in MORE_LABEL_NAMES]
    candidates = [c for c in table.columns if (c in named or c in table.class_names) and c != text]
    return ["label"] if "label" in candidates else candidates


def _plain(column: str) -> str:
    return column.strip().casefold()


def named_texts(table: Table, label: str | None) -> list[str]:
    """Returns the columns that have a usual name of texts."""
    if "text" in table.columns and label != "text":
        return ["text"]
    return [c for c in table.columns if _plain(c) in TEXT_NAMES and c != label]


def _text_candidates(table: Table, label: str) -> list[str]:
    free = (c for c in table.columns if c != label and _is_free_text(table.columns[c]))
    return named_texts(table, label) or list(free)


TEXT = Content("text", _text_candidates, ", and the second text of pairs with --text_pair_column_name")


def _is_free_text(column: pa.ChunkedArray | list[Any]) -> bool:
    """Tells sentences from ids: most of the first values hold a blank, or letters beyond ASCII."""
    if isinstance(column, list) or not is_string(column.type):
        return False
    head = column.slice(0, 100).to_pylist()
    texts = sum(value is not None and (" " in value.strip() or not value.isascii()) for value in head)
    return 2 * texts > len(head)


def _one(table: Table, candidates: list[str], kind: str, advice: str = "") -> str:
    if len(candidates) == 1:
        return candidates[0]
    flag = f"--{kind}_column_name"
    if candidates:
        several = listed(candidates)
        raise BadInput(
            f"{table.name}: each of {several} could be the {kind} column; say which with {flag}{advice}"
        )
    raise BadInput(
        f"{table.name} has no column that is plainly the {kind} ({table.column_list}); name it with "
        f"{flag}{table.advice}"
    )


def is_string(kind: pa.DataType) -> bool:
    """Returns whether an Arrow column of this type holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def check_texts(
    table: Table, column: str, keep_blank: bool, flag: str = "--text_column_name"
) -> tuple[pa.ChunkedArray, list[str]]:
    """Checks that every row has a text.

    Args:
        table: Rows of one split.
        column: The text column.
        keep_blank: Keep texts that hold only blanks, with a warning, as for sets which the user
            cannot edit; otherwise they are an error.
        flag: The flag that names another column.

    Returns:
        The texts as Arrow strings and the warnings.

    Raises:
        BadInput: A text is missing, blank or not a string; the places are named.
    """
    values = table.columns[column]
    if isinstance(values, list):
        row = next(i for i, value in enumerate(values) if value is not None and not isinstance(value, str))
        raise BadInput(
            f"{table.place(row)}: the text (column {column!r}) is {kind_of(values[row])}, not a string"
        )
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not is_string(values.type) and values.null_count < len(values):
        raise BadInput(
            f"{table.name}: column {column!r}, taken as the text, holds {shown(str(values.type))}, not text; "
            f"name another with {flag} ({table.column_list}){table.advice}"
        )
    refuse_rows(table, values.is_null(), f"the text (column {column!r}) is missing")
    values = values.cast(pa.string())
    if pc.all(pc.match_substring_regex(values, r"^\s*[-+]?[0-9]+([.,][0-9]+)?\s*$")).as_py():
        raise BadInput(
            f"{table.name}: column {column!r}, taken as the text, holds only numbers; name another with "
            f"{flag} ({table.column_list})"
        )
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0)
    if not keep_blank:
        refuse_rows(table, blank, f"the text (column {column!r}) is blank")
    count = pc.sum(blank).as_py()
    first = table.place(pc.index(blank, True).as_py()) if count else ""
    return values, [f"{table.name}: {count:,} texts are blank and kept (first: {first})"] if count else []


def refuse_rows(table: Table, bad: pa.ChunkedArray, problem: str) -> None:
    """Raises `BadInput` with the places of those rows of a table that are `bad` (bool, (N,))."""
    rows = np.flatnonzero(bad.to_numpy())
    if len(rows):
        places = [table.place(row) for row in rows.tolist()]
        also = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
        raise BadInput(f"{places[0]}: {problem}{also}; fill it in or remove the row", places[1:])


def kind_of(value: Any) -> str:
    """Returns what a value is, in words for people: "a list"."""
    kinds = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        Decimal: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), f"of type {type(value).__name__}")
