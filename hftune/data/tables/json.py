"""Reads json lines, and JSON documents whose rows are plain.

Rules of reading, each with its reason:

- One object a line; a key that a line lacks is missing there.
- A document that is one array of objects is read, and one object that has exactly one list of objects, of
  which the key is said. Other shapes are an error that says what they are.
- Values stay as they are written: a column of several types, or of whole numbers beyond 64 bits, is kept as a
  list, where Arrow would turn 1 and 1.5 into floats.
"""

import io
import json
import re
from typing import Any, NoReturn

import pyarrow as pa

from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed, shown

_Rows = list[dict[str, Any]]
_ROW = '{"text": ..., "label": ...}'
_HALF_SIGN = re.compile(r"\\u[dD][89abAB]", re.ASCII)  # a lone surrogate can only come from an escape


def read_json(name: str, text: str, notes: tuple[str, ...] = ()) -> Table:
    """Reads json lines or a document.

    Args:
        name: The file; one that ends with .jsonl holds lines, any other what it looks like.
        text: What it holds.
        notes: How it was decoded, if not in the usual way.

    Raises:
        BadInput: It is not JSON, or its rows are not plain; the line or the shape is named.
    """
    if _is_document(name, text):
        rows, found = _rows_of(name, _parse_document(name, text))
        lines = None
        notes += found
        if _HALF_SIGN.search(text):
            for number, row in enumerate(rows):
                _refuse_half_signs(f"{name} row {number}", row)
    else:
        rows, lines = _read_lines(name, text)
    names = dict.fromkeys(key for row in rows for key in row)
    if not names:
        raise BadInput(f"{name} holds objects without keys, no columns")
    return Table(
        name, {key: _arrow_or_list([row.get(key) for row in rows]) for key in names}, lines, notes=notes
    )


def _is_document(name: str, text: str) -> bool:
    """Tells a document (an array, an object over several lines, a .json file of one object) from lines."""
    begin = len(text) - len(text.lstrip())
    end = text.find("\n", begin)
    first, rest = (text[begin:], "") if end < 0 else (text[begin:end], text[end : end + 10_000].lstrip())
    if not first.startswith("{"):
        return first.startswith("[")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return not rest.startswith("{")
    return not rest and not name.lower().endswith(".jsonl")


def _read_lines(name: str, text: str) -> tuple[_Rows, list[int]]:
    rows: _Rows = []
    lines: list[int] = []
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        if content.strip():
            rows.append(_parse_line(name, line, content))
            lines.append(line)
    return rows, lines


def _parse_line(name: str, line: int, content: str) -> dict[str, Any]:
    try:
        row = json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        whole = " (write each object on one line)" if content.strip() == "{" else ""
        reason = error.msg[0].lower() + error.msg[1:]
        raise BadInput(f"{name} line {line}, column {error.colno} is not JSON: {reason}{whole}") from None
    except RecursionError:
        raise BadInput(f"{name} line {line} is nested too deeply") from None
    except ValueError as error:
        raise BadInput(f"{name} line {line}: {error}") from None
    if not isinstance(row, dict):
        raise BadInput(f"{name} line {line} is not an object such as {_ROW}")
    if "\\u" in content and _HALF_SIGN.search(content):
        _refuse_half_signs(f"{name} line {line}", row)
    return row


def _parse_document(name: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        reason = error.msg[0].lower() + error.msg[1:]
        several = " (write each object on one line, or all in one array)" if error.msg == "Extra data" else ""
        place = f"{name} line {error.lineno}, column {error.colno}"
        raise BadInput(f"{place} is not JSON: {reason}{several}") from None
    except RecursionError:
        raise BadInput(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise BadInput(f"{name}: {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{shown(twice)!r} stands twice in one object")
    return row


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON; leave the value out or write null")


def _refuse_half_signs(place: str, row: dict[str, Any]) -> None:
    for key, value in row.items():
        if re.search("[\ud800-\udfff]", f"{key}{value}"):
            raise BadInput(
                f"{place}: column {shown(key)!r} holds half a character (a lone surrogate, \\ud800 to "
                "\\udfff); the text was cut in the middle of one"
            )


def _rows_of(name: str, document: Any) -> tuple[_Rows, tuple[str, ...]]:
    """Returns the rows of a document, and a note where they stand under a key."""
    if isinstance(document, dict):
        keys = [key for key, value in document.items() if _are_objects(value)]
        if len(keys) == 1:
            return document[keys[0]], (f"the rows under {shown(keys[0])!r}",)
        values = list(document.values())
        if any(isinstance(value, str) for value in values) and not any(map(_holds_rows, values)):
            return [document], ()  # a single row
    elif _are_objects(document):
        return document, ()
    raise BadInput(f"{name} {_shape(document)}")


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _holds_rows(value: Any) -> bool:
    return _are_objects(value) or (isinstance(value, dict) and any(map(_holds_rows, value.values())))


def _shape(document: Any) -> str:
    """Says what a document is whose rows are not plain, and what to write instead."""
    pandas = 'one object a line: df.to_json(FILE, orient="records", lines=True)'
    if not isinstance(document, dict):
        if not document:
            return "is an empty array, no rows"
        if all(isinstance(row, list) for row in document):
            return f"is an array of arrays, whose columns have no names; write {pandas}"
        odd, row = next((number, row) for number, row in enumerate(document) if not isinstance(row, dict))
        what = "a text" if isinstance(row, str) else shown(json.dumps(row))
        return f"is an array in which row {odd} is {what}, not an object such as {_ROW}"
    values, keys = list(document.values()), listed(document)
    if several := [key for key, value in document.items() if _are_objects(value)]:
        one = shown(json.dumps(several[0], ensure_ascii=False))
        return (
            f"has several lists of objects ({listed(several)}); write each to a file of its own, for example "
            f"with jq -c '.[{one}][]' OLD > NEW"
        )
    if {"columns", "data"} <= document.keys():
        return f'is pandas\' orient "split"; write {pandas}'
    if values and all(isinstance(value, list) for value in values):
        return f"is one object with a list for each key ({keys}), not rows; write one object a line: {_ROW}"
    if values and all(isinstance(value, dict) and not _holds_rows(value) for value in values):
        return (
            f'is one object of {len(values):,} objects ({keys}), as pandas\' orient "columns" or "index"; '
            f"write {pandas}"
        )
    return f"is one object ({keys}) without a list of rows; write one object a line: {_ROW}"


def _arrow_or_list(values: list[Any]) -> pa.ChunkedArray | list[Any]:
    if len({type(value) for value in values} - {type(None)}) > 1:
        return values
    try:
        return pa.chunked_array([pa.array(values)])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # nested values that differ, huge integers
        return values
