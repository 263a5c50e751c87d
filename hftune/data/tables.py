"""Reads one csv, tsv, json lines or parquet file, and knows where each row of it stands.

Rules of reading, each with its reason:

- csv is separated by commas and tsv by tabs, both quoted as Python's `csv` does strictly: a guess
  at the separator would shift columns in silence, so another one is an error that names it.
- Text is UTF-8, with or without a byte order mark; line ends are LF, CRLF or CR.
- In csv and tsv an empty cell is missing and nothing else is: "NA" and "null" are words.
- json lines hold one object a line; a key that a line lacks is missing there.
"""

import csv
import difflib
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hftune.errors import BadInput

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}


@dataclass(frozen=True)
class Table:
    """Rows of one split, with their places.

    Args:
        name: The file as the user wrote it, or "ID SPLIT" for a Hub set.
        columns: By name: an Arrow column, or a list where the values are of several types.
        lines: The line (1-based) on which each row begins; None where rows have no lines.
        class_names: Names of the classes of those columns whose data bring them.
        places: What each row is called, such as the path of its file; None where a number has to do.
    """

    name: str
    columns: dict[str, pa.ChunkedArray | list[Any]]
    lines: list[int] | None = None
    class_names: dict[str, list[str]] = field(default_factory=dict)
    places: list[str] | None = None

    def place(self, row: int) -> str:
        """Says where a row (0-based) stands, such as "train.csv line 17" or "x.parquet row 3"."""
        if self.places is not None:
            return self.places[row]
        return f"{self.name} row {row}" if self.lines is None else f"{self.name} line {self.lines[row]}"

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))

    def take(self, rows: np.ndarray) -> "Table":
        """Returns some of the rows (int64, ascending); each is still called by the place that it has here."""
        chosen = np.zeros(self.rows, bool)
        chosen[rows] = True
        mask = pa.array(chosen)
        columns = {
            name: [values[row] for row in rows] if isinstance(values, list) else values.filter(mask)
            for name, values in self.columns.items()
        }
        lines = None if self.lines is None else [self.lines[row] for row in rows]
        places = [self.place(row) for row in rows.tolist()] if lines is None or self.places else None
        return Table(self.name, columns, lines, self.class_names, places)


def read_table(name: str) -> Table:
    """Reads a file by its extension.

    Args:
        name: Path of a .csv, .tsv, .jsonl, .json (one object a line) or .parquet file; `~` is the
            home folder. Messages name it as it is written here.

    Returns:
        The table; csv and tsv cells are strings, empty ones missing.

    Raises:
        BadInput: The file is missing, not what its name says, or has a row that cannot be read.
    """
    path = Path(name).expanduser()
    data = _read_bytes(name, path)
    suffix = path.suffix.lower()
    _refuse_other_contents(name, suffix, data)
    if suffix == ".parquet":
        return _read_parquet(name, data)
    text = _decode(name, data)
    return _read_json_lines(name, text) if suffix.startswith(".json") else _read_csv(name, text, suffix)


def _read_bytes(name: str, path: Path) -> bytes:
    if path.suffix.lower() not in SUFFIXES:
        unpack = "; unpack it first" if path.suffix.lower() in (".gz", ".zip", ".bz2", ".xz", ".zst") else ""
        raise BadInput(f"{name}: a data file's name must end with one of {', '.join(SUFFIXES)}{unpack}")
    if path.is_dir():
        raise BadInput(f"{name} is a folder, not a file; pass a folder with --dataset_name")
    if not path.exists():
        neighbours = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, neighbours, n=1)
        raise BadInput(
            f"{name} does not exist" + (f"; did you mean {path.parent / near[0]}?" if near else "")
        )
    try:
        return path.read_bytes()
    except PermissionError:
        raise BadInput(f"{name}: no permission to read this file") from None


def _refuse_other_contents(name: str, suffix: str, data: bytes) -> None:
    """Raises BadInput where the bytes are plainly not what the extension says."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    tag = head[:15].lower()
    if not head:
        raise BadInput(f"{name} is empty" if not data else f"{name} holds only blanks, no rows")
    if tag.startswith(b"version https:/") and b"git-lfs" in head:
        raise BadInput(f"{name} is a Git LFS pointer, not the data; fetch it with: git lfs pull")
    if tag.startswith((b"<!doctype html", b"<html")):
        raise BadInput(
            f"{name} is an HTML page, probably an error page saved by a download; download it again"
        )
    if data.startswith(b"\x1f\x8b"):
        raise BadInput(
            f"{name} is compressed with gzip{_inside(data)}; unpack it first, then pass the file inside"
        )
    if data.startswith(b"PK\x03\x04"):
        raise BadInput(f"{name} is a zip archive or an Excel workbook; pass the table itself, saved as csv")
    if suffix == ".parquet":
        if not (len(data) >= 12 and data.startswith(b"PAR1") and data.endswith(b"PAR1")):
            state = "is cut off: its end is missing" if data.startswith(b"PAR1") else "is not a parquet file"
            raise BadInput(f"{name} {state} ({len(data):,} bytes); write or download it again")
    elif data.startswith(b"PAR1"):
        raise BadInput(f"{name} is a parquet file; rename it so that it ends with .parquet")


def _inside(data: bytes) -> str:
    try:
        return f" (inside: {gzip.GzipFile(fileobj=io.BytesIO(data)).read(40).decode(errors='replace')!r}...)"
    except (OSError, EOFError, zlib.error):  # a broken archive is still an archive
        return ""


def _decode(name: str, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or data[:200].count(0) > len(data[:200]) // 4:
        raise BadInput(
            f"{name} is UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8 {name} > utf8_{Path(name).name}"
        )
    zero = data.find(b"\0")
    if zero >= 0:
        line, byte = _line_and_byte(data, zero)
        raise BadInput(f"{name} line {line}, byte {byte} is a NUL byte; the file is damaged or binary")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the mark
        position = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line, byte = _line_and_byte(data, position)
        raise BadInput(
            f"{name} line {line}, byte {byte} (0x{data[position]:02X}) is not UTF-8; convert the file, for "
            f"example from Latin-1: iconv -f ISO-8859-1 -t UTF-8 {name} > utf8_{Path(name).name}"
        ) from None


def _line_and_byte(data: bytes, position: int) -> tuple[int, int]:
    """Returns the line and the byte within it (both 1-based) of an offset."""
    ends = re.findall(rb"\r\n|\r|\n", data[:position])
    start = max(data.rfind(b"\n", 0, position), data.rfind(b"\r", 0, position)) + 1
    return len(ends) + 1, position - start + 1


def _read_csv(name: str, text: str, suffix: str) -> Table:
    separator = "\t" if suffix == ".tsv" else ","
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in _csv_rows(name, text, separator):
        if not row:  # a blank line
            continue
        if not header:
            header = row
            _check_header(name, line, header, separator)
            continue
        if len(row) != len(header):
            _wrong_width(name, line, row, header, separator)
        rows.append(row)
        lines.append(line)
    if not rows:
        raise BadInput(f"{name} has a header ({', '.join(header)}) but no rows")
    cells = zip(*rows, strict=True)
    columns = {
        column: pa.chunked_array([pa.array([cell or None for cell in values], pa.string())])
        for column, values in zip(header, cells, strict=True)
    }
    return Table(name, columns, lines)


def _csv_rows(name: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (line on which the row begins, cells)."""
    limit = csv.field_size_limit(max(len(text), 1))  # the default refuses cells above 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error:
        _bad_quote(name, text, separator, line)
    finally:
        csv.field_size_limit(limit)


def _bad_quote(name: str, text: str, separator: str, first: int) -> NoReturn:
    """Raises BadInput for the row that begins in line `first`, whose quotes do not pair up."""
    opened: int | None = None  # the line in which the cell that is open now was opened
    for line, content in enumerate(io.StringIO(text, newline=""), start=1):
        if line < first:
            continue
        for run in re.finditer('"+', content):
            pairs = len(run[0]) % 2 == 0  # a pair is a quote within a cell, or an empty cell
            if opened is None and content[run.start() - 1 : run.start()] not in ("", separator):
                continue  # a quote within an unquoted cell is an ordinary character
            begun = opened or line
            if opened is None:
                opened = None if pairs else line
            elif not pairs:
                opened = None
            if opened is None and content[run.end() : run.end() + 1] not in ("", separator, "\r", "\n"):
                raise BadInput(
                    f"{name} line {line}: there is text behind a closing quote, in the cell that opens in "
                    f'line {begun}; double the quotes ("") that belong to the text'
                )
    raise BadInput(
        f'{name} line {opened}: a quote (") opens here and is never closed; close it, or double it if it '
        "belongs to the text"
    )


def _check_header(name: str, line: int, header: list[str], separator: str) -> None:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise BadInput(
            f"{name} line {line}: the header names {twice[0]!r} twice ({', '.join(header)}); rename one"
        )
    if len(header) > 1:
        return
    for other, word in _SEPARATORS.items():
        if other in header[0]:
            rename = {
                "\t": "; rename it so that it ends with .tsv",
                ",": "; rename it so that it ends with .csv",
            }
            raise BadInput(
                f"{name} line {line}: the columns are separated by {word}, not by {_SEPARATORS[separator]}"
                + rename.get(other, "; save it again with commas")
            )


def _wrong_width(name: str, line: int, row: list[str], header: list[str], separator: str) -> NoReturn:
    number = f"{len(row)} field" + ("s" if len(row) != 1 else "")
    hint = (
        f"; put double quotes around text with {_SEPARATORS[separator]} in it"
        if len(row) > len(header)
        else ""
    )
    raise BadInput(
        f"{name} line {line} has {number}, the header has {len(header)} ({', '.join(header)}){hint}"
    )


def _read_json_lines(name: str, text: str) -> Table:
    if text.lstrip().startswith("["):
        raise BadInput(
            f"{name} is one JSON array; write one object a line: "
            f"jq -c '.[]' {name} > {Path(name).stem}_lines.jsonl"
        )
    objects: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        if content.strip():
            objects.append(_parse_object(name, line, content))
            lines.append(line)
    names = dict.fromkeys(key for row in objects for key in row)
    return Table(name, {key: _arrow_or_list([row.get(key) for row in objects]) for key in names}, lines)


def _parse_object(name: str, line: int, content: str) -> dict[str, Any]:
    try:
        row = json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        whole = " (write each object on one line)" if content.strip() == "{" else ""
        reason = error.msg[0].lower() + error.msg[1:]
        raise BadInput(f"{name} line {line}, column {error.colno} is not JSON: {reason}{whole}") from None
    except ValueError as error:
        raise BadInput(f"{name} line {line}: {error}") from None
    if not isinstance(row, dict):
        raise BadInput(f'{name} line {line} is not an object such as {{"text": ..., "label": ...}}')
    if "\\ud" in content.lower():  # a lone surrogate can only come from an escape
        for key, value in row.items():
            if re.search("[\ud800-\udfff]", f"{key}{value}"):
                raise BadInput(
                    f"{name} line {line}: column {key!r} holds half a character (a lone surrogate, \\ud800 "
                    "to \\udfff); the text was cut in the middle of one"
                )
    return row


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return row


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON; leave the value out or write null")


def _arrow_or_list(values: list[Any]) -> pa.ChunkedArray | list[Any]:
    if len({type(value) for value in values} - {type(None)}) > 1:
        return values  # Arrow would turn 1 and 1.5 into floats, and refuse 1 and "a" without a place
    try:
        return pa.chunked_array([pa.array(values)])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # nested values that differ, huge integers
        return values


def _read_parquet(name: str, data: bytes) -> Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _refuse_duplicates(name, file.schema_arrow.names)
        table = file.read()
        table.validate(full=True)  # Arrow itself does not look whether strings are UTF-8
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{name} is a damaged parquet file; write or download it again ({reason})") from None
    if not table.num_rows:
        raise BadInput(f"{name} has columns ({', '.join(table.column_names)}) but no rows")
    return Table(
        name, dict(zip(table.column_names, table.columns, strict=True)), None, _class_names(table.schema)
    )


def _refuse_duplicates(name: str, columns: Iterable[str]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise BadInput(f"{name} has two columns called {column!r}; rename one")
        seen.add(column)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the class names that `datasets` stores beside the columns of its parquet files."""
    stored = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(stored).get("info", {}).get("features", {}) if stored else {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
