"""Reads texts to predict: from the command line, files of lines, tables, folders and standard input."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from hftune.data.columns import TEXT, TEXT_NAMES, check_texts
from hftune.data.files import IMAGE_SUFFIXES, list_files
from hftune.data.inputs import Contents, Name, content_column, header_doubts
from hftune.data.tables.file_text import decode_text, read_bytes
from hftune.data.tables.read import LINES, Table, read_table
from hftune.data.tables.read import SUFFIXES as TABLE_SUFFIXES
from hftune.errors import BadInput

SUFFIXES = (LINES, *TABLE_SUFFIXES)


def read_texts(sources: Iterable[str], column: str | None = None) -> Contents:
    """Reads texts in the order of the sources; blank lines at the end of a file are none.

    Args:
        sources: Each is a file (.txt: one text a line; .csv, .tsv, .jsonl, .parquet: a column), a folder of
            such files, "-" for the lines of standard input, or else itself a text.
        column: The files' column of texts; None: found by its usual names.

    Raises:
        BadInput: A source is empty, a text is unreadable, a file is missing or has none; names file and row.
    """
    found = Contents()
    for number, source in enumerate(sources, start=1):
        if source == "-":
            _add_lines(found, "standard input", sys.stdin.buffer.read() if sys.stdin else b"")
        elif not exists(source):
            text = checked_text(number, source)
            found.add([text], [number - 1], lambda row: f"text {row + 1} of the command line")
        elif os.path.isdir(source):
            for file in files_below(source):
                _add_file(found, file, column)
        else:
            _add_file(found, source, column)
    found.values = [text for text in found.names if text is not None]
    return found


def exists(source: str) -> bool:
    """Says whether a source is a file or a folder."""
    try:
        return bool(source.strip()) and Path(source).exists()
    except (OSError, ValueError):  # a text: too long for a file's name, or with a NUL
        return False


def checked_text(number: int, text: str) -> str:
    """Returns a text of the command line.

    Raises:
        BadInput: It is blank, not UTF-8, or looks like a file that is not there.
    """
    if not text.strip():
        raise BadInput(f"text {number} of the command line is empty; write a text, a file or a folder")
    if len(text.split()) == 1 and Path(text).suffix.lower() in (*SUFFIXES, *IMAGE_SUFFIXES):
        raise BadInput(f"{text} does not exist")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"text {number} of the command line is not UTF-8") from None
    return text


def files_below(folder: str) -> list[str]:
    """Returns the files of texts in a folder and those below it; raises `BadInput` where there is none."""
    found = [path for path in list_files(folder) if path.lower().endswith(SUFFIXES)]
    if not found:
        raise BadInput(f"{folder}: a folder without texts ({', '.join(SUFFIXES)})")
    return [os.path.join(folder, path) for path in found]


def _add_file(found: Contents, name: str, column: str | None) -> None:
    suffix = Path(name).suffix.lower()
    if suffix == LINES:
        return _add_lines(found, name, read_bytes(name, (LINES,)))
    if suffix not in TABLE_SUFFIXES:
        refuse_other_file(name)
    table = read_table(name, keep_blank=True)
    key = content_column(table, TEXT, column)
    texts = texts_of(table, key)
    others = {other: values for other, values in table.columns.items() if other != key}
    found.add(texts, range(len(texts)), table.place, others)
    found.warnings += [f"{name}: {note}" for note in table.notes]
    found.warnings += [] if column else header_doubts(table, key, TEXT_NAMES)
    found.warnings += [*table.warnings, *blank_rows(texts, table.place)]
    return None


def refuse_other_file(name: str) -> NoReturn:
    """Raises `BadInput` for a file whose name says that it holds no texts."""
    pipe = "" if Path(name).is_file() else "; a pipe's lines are read from standard input: pass -"
    raise BadInput(f"{name}: a file of texts must end with {LINES}, {', '.join(TABLE_SUFFIXES)}{pipe}")


def texts_of(table: Table, column: str) -> list[str | None]:
    """Returns the texts of a table, None for a blank cell; a table without any text is an error."""
    values = table.columns[column]
    cells = values if isinstance(values, list) else values.to_pylist()
    filled = [row for row, cell in enumerate(cells) if cell is not None and str(cell).strip()]
    if filled and len(filled) < len(cells):
        places = [table.place(row) for row in filled]
        taken = [cells[row] for row in filled] if isinstance(values, list) else values.take(pa.array(filled))
        table = Table(table.name, {column: taken}, places=places)
    checked, _ = check_texts(table, column, keep_blank=False)
    texts: list[str | None] = [None] * len(cells)
    for row, text in zip(filled, checked.to_pylist(), strict=True):
        texts[row] = text
    return texts


def _add_lines(found: Contents, name: str, data: bytes) -> None:
    lines, notes = lines_of(name, data, "one text a line")

    def place(row: int) -> str:
        return f"{name} line {row + 1}"

    texts = [line if line.strip() else None for line in lines]
    found.add(texts, range(len(texts)), place)
    found.warnings += [*(f"{name}: {note}" for note in notes), *blank_rows(texts, place)]


def lines_of(name: str, data: bytes, what: str) -> tuple[list[str], tuple[str, ...]]:
    """Returns the lines of a file, without blank ones at its end, and how it was decoded.

    Args:
        name: What the user calls it.
        data: Its bytes.
        what: What it should hold, for the error.

    Raises:
        BadInput: It is empty or cannot be decoded.
    """
    text, notes = decode_text(name, data)
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BadInput(f"{name} is empty; write {what}")
    return lines, notes


def blank_rows(texts: Sequence[Name], place: Callable[[int], str]) -> list[str]:
    """Returns the warning about rows without a text, or without both of a pair."""
    rows = [row for row, text in enumerate(texts) if text is None]
    if not rows:
        return []
    first = place(rows[0])
    if len(rows) == 1:
        return [f"{first} has no text and is answered with null"]
    return [f"{len(rows):,} rows have no text and are answered with null (first: {first})"]
