"""Reads pairs of texts to predict: from the command line, files, folders and standard input."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hftune.data.inputs import Contents, Name
from hftune.data.tables.file_text import decode_text, read_bytes
from hftune.data.tables.json import read_json
from hftune.data.tables.read import Table, read_table
from hftune.data.text.pairs import pair_columns
from hftune.data.text.read import (
    LINES,
    SUFFIXES,
    blank_rows,
    checked_text,
    exists,
    files_below,
    lines_of,
    refuse_other_file,
    texts_of,
)
from hftune.errors import BadInput, shown


def read_pairs(
    sources: Sequence[str],
    text: str | None = None,
    pair: str | None = None,
    *,
    second: str | None = None,
    model: str = "the model",
) -> Contents:
    """Reads pairs in the order of the sources.

    Args:
        sources: Each is a file (.txt: two texts a line with a tab between them; .csv, .tsv, .jsonl, .parquet:
            two columns), a folder of such files, or "-" for standard input, lines with tabs or of JSON; or
            the one source is the first text of a pair.
        text: The files' column of first texts; None: found by its usual names.
        pair: Likewise of second texts.
        second: The second text of the one source.
        model: What the user calls the model.

    Raises:
        BadInput: A source is empty or no pair, a text is unreadable, a file is missing; names file and row.
    """
    found = Contents()
    if second is not None:
        if len(sources) != 1 or sources[0] == "-" or exists(sources[0]):
            raise BadInput(
                '--text_pair "second text" goes with one text: "first text" --text_pair "second text"'
            )
        both = checked_text(1, sources[0]), checked_text(2, second)
        found.add([both], [0], lambda _: "the pair of the command line")
    else:
        for source in sources:
            _add(found, source, text, pair, model)
    found.values = [name for name in found.names if name is not None]
    return found


def _add(found: Contents, source: str, text: str | None, pair: str | None, model: str) -> None:
    if source == "-":
        data = sys.stdin.buffer.read() if sys.stdin else b""
        content, notes = decode_text("standard input", data)
        if _is_json(content):
            _add_table(found, read_json("standard input", content, notes), text, pair)
        else:
            _add_lines(found, "standard input", data)
    elif not exists(source):
        checked_text(1, source)
        raise BadInput(
            f"{shown(source)!r} is one text, and {model} reads pairs: pass the second one with "
            '--text_pair "second text", or a file of pairs'
        )
    elif os.path.isdir(source):
        for file in files_below(source):
            _add_file(found, file, text, pair)
    else:
        _add_file(found, source, text, pair)


def _is_json(content: str) -> bool:
    """Says whether lines are JSON objects; a text may begin with a brace as well."""
    first = next((line for line in content.splitlines() if line.strip()), "")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _add_file(found: Contents, name: str, text: str | None, pair: str | None) -> None:
    suffix = Path(name).suffix.lower()
    if suffix == LINES:
        _add_lines(found, name, read_bytes(name, (LINES,)))
        return
    if suffix not in SUFFIXES:
        refuse_other_file(name)
    _add_table(found, read_table(name, keep_blank=True), text, pair)


def _add_table(found: Contents, table: Table, text: str | None, pair: str | None) -> None:
    columns = pair_columns(table, text, pair)
    first, second = (texts_of(table, column) for column in columns)
    names = [_both(*parts) for parts in zip(first, second, strict=True)]
    others = {name: values for name, values in table.columns.items() if name not in columns}
    found.add(names, range(len(names)), table.place, others)
    found.warnings += [f"{table.name}: {note}" for note in table.notes]
    found.warnings += [*table.warnings, *blank_rows(names, table.place)]


def _add_lines(found: Contents, name: str, data: bytes) -> None:
    lines, notes = lines_of(name, data, "two texts a line, with a tab between them")

    def place(row: int) -> str:
        return f"{name} line {row + 1}"

    names: list[Name] = []
    for row, line in enumerate(lines):
        parts = line.split("\t")
        if line.strip() and len(parts) != 2:
            raise BadInput(
                f"{place(row)}: {len(parts) - 1:,} tabs; a line holds two texts with one tab between them"
            )
        names.append(_both(*parts) if len(parts) == 2 else None)
    found.add(names, range(len(names)), place)
    found.warnings += [*(f"{name}: {note}" for note in notes), *blank_rows(names, place)]


def _both(first: str | None, second: str | None) -> Name:
    """Returns a pair, None where one of its texts is blank."""
    return (first, second) if first and first.strip() and second and second.strip() else None
