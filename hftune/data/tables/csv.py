"""Reads csv and tsv, with what spreadsheets and pandas leave in them.

Rules of reading, each with its reason:

- csv is separated by commas and tsv by tabs, unless Excel's line `sep=;` says otherwise or the header has no
  such sign and exactly one other of semicolon, tab, comma and vertical bar: then that one, and it is said. A
  header with several of them is an error, as a wrong guess would shift columns in silence.
- Cells are quoted as Python's `csv` does strictly. What quotes in the wrong place do: see `csv_quotes`.
- Names are stripped of blanks; where each name but the first begins with a blank, cells lose theirs too, so
  that `a, "b, c"` is two cells.
- A column without name and content is none, nor are fields without content beyond the header, nor blank
  lines. A row of separators alone is left out, with a warning where rows follow; so is a repeated header.
- An empty cell is missing and nothing else is: "NA" and "null" are words.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import pyarrow as pa

from hftune.data.tables.csv_quotes import Document, Record, bad_quote, check_records
from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed, shown

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_SEP_LINE = re.compile(r'"?sep=([^\r\n"])"?[^\r\n\w]*(?:\r\n|\r|\n)', re.IGNORECASE)


class _Header(NamedTuple):
    """The first line with content.

    Args:
        line: Where it stands.
        cells: As they were read.
        names: Without the blanks around them; "" for a column without a name.
        blanks: Whether a blank follows each separator.
    """

    line: int
    cells: list[str]
    names: list[str]
    blanks: bool

    @property
    def named(self) -> int:
        """How many columns there are up to the last one with a name."""
        return max(number for number, name in enumerate(self.names, start=1) if name)


@dataclass
class _Rows:
    """The rows below a header.

    Args:
        cells: Of each row, as many as the header has.
        lines: The line on which each row begins.
        records: The rows that take several lines.
        blank: Lines of rows without content that others follow.
        repeated: Lines with the header again.
        wrong: The line and the cells at which reading stopped, as there are not as many as in the header.
    """

    cells: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    wrong: tuple[int, list[str]] | None = None


def read_csv(
    name: str, text: str, usual: str, notes: tuple[str, ...] = (), *, keep_blank: bool = False
) -> Table:
    """Reads separated values.

    Args:
        name: The file, for messages.
        text: What it holds, without a byte order mark.
        usual: What separates its columns unless it is plain that something else does.
        notes: How it was decoded, if not in the usual way.
        keep_blank: Keep rows without content that others follow; their cells are missing.

    Returns:
        The table; cells are strings, empty ones missing.

    Raises:
        BadInput: A row cannot be read, or is not plainly one row; the line is named.
    """
    if said := _SEP_LINE.match(text):
        document = Document(name, text[said.end() :], 2, said[1])
    else:
        document = Document(name, text, 1, _find_separator(name, text, usual))
    word = SEPARATORS.get(document.separator, repr(document.separator))
    header = _read_header(document)
    rows = _read_rows(document, header, keep_blank)
    widths = range(header.named, len(header.names) + 1)
    warnings = check_records(document, rows.cells, rows.records, widths, header.blanks)
    if rows.wrong is not None:
        _wrong_width(name, *rows.wrong, header, word)
    if not rows.cells:
        raise BadInput(f"{name} has a header ({listed(header.names)}) but no rows")
    left_out = (
        (rows.repeated, "repeat the header"),
        ([] if keep_blank else rows.blank, "hold separators only"),
    )
    for lines, what in left_out:
        if lines:
            warnings.append(f"{name}: {len(lines):,} rows {what} and are left out (first: line {lines[0]})")
    if document.separator != usual:
        notes += (f"separated by {word}",)
    return Table(name, _columns(name, header, rows), rows.lines, notes=notes, warnings=tuple(warnings))


def _find_separator(name: str, text: str, usual: str) -> str:
    widths = {}
    for separator in SEPARATORS:
        rows = csv.reader(io.StringIO(text[:100_000], newline=""), delimiter=separator)
        try:
            widths[separator] = len(next(filter(any, rows), []))
        except csv.Error:
            widths[separator] = 1
    others = [separator for separator, width in widths.items() if width > 1]
    if widths[usual] > 1 or not others:
        return usual
    if len(others) > 1:
        words = " or ".join(SEPARATORS[separator] for separator in others)
        raise BadInput(
            f"{name}: the columns are not separated by {SEPARATORS[usual]}, but perhaps by {words}; save it "
            f"again with {SEPARATORS[usual]}"
        )
    return others[0]


def _records(document: Document, skip_blanks: bool) -> Iterator[tuple[int, int, list[str]]]:
    """Yields of each record its first line, its last line and its cells."""
    limit = csv.field_size_limit(max(len(document.text), 1))  # the default refuses cells above 128 KiB
    source = io.StringIO(document.text, newline="")
    reader = csv.reader(source, delimiter=document.separator, skipinitialspace=skip_blanks, strict=True)
    begun, before = document.first, document.first - 1
    try:
        for cells in reader:
            last = reader.line_num + before
            yield begun, last, cells
            begun = last + 1
    except csv.Error:
        raise bad_quote(document, begun) from None
    finally:
        csv.field_size_limit(limit)


def _read_header(document: Document) -> _Header:
    def read(skip_blanks: bool) -> tuple[int, list[str]]:
        every = _records(document, skip_blanks)
        return next(((line, cells) for line, _, cells in every if any(map(str.strip, cells))), (1, []))

    line, cells = read(skip_blanks=False)
    blanks = len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:])
    if blanks:
        line, cells = read(skip_blanks=True)
    names = [cell.strip() for cell in cells]
    twice = sorted({column for column in names if column and names.count(column) > 1})
    if twice:
        raise BadInput(
            f"{document.name} line {line}: the header names {shown(twice[0])!r} twice ({listed(names)}); "
            "rename one"
        )
    if not any(names):
        raise BadInput(f"{document.name} holds separators only, no names and no rows")
    return _Header(line, cells, names, blanks)


def _read_rows(document: Document, header: _Header, keep_blank: bool) -> _Rows:
    rows = _Rows()
    width = len(header.names)
    gap: list[int] = []  # lines without content since the last row
    for line, last, cells in _records(document, header.blanks):
        if line <= header.line:
            continue
        if not any(cells):
            if cells or (keep_blank and width == 1):  # of one column, an empty cell is a blank line
                gap.append(line)
            continue
        if cells == header.cells:
            rows.repeated.append(line)
            continue
        if last > line:
            rows.records.append(Record(len(rows.cells) + (len(gap) if keep_blank else 0), line, last))
        if len(cells) != width:
            spare = width - len(cells)
            if len(cells) < header.named or any(map(str.strip, cells[width:])):
                rows.wrong = line, cells
                break
            cells = cells[:width] + [""] * spare
        if gap:
            rows.blank += gap
            if keep_blank:
                rows.cells += [[""] * width for _ in gap]
                rows.lines += gap
            gap = []
        rows.cells.append(cells)
        rows.lines.append(line)
    return rows


def _columns(name: str, header: _Header, rows: _Rows) -> dict[str, pa.ChunkedArray]:
    columns: dict[str, pa.ChunkedArray] = {}
    for number, (column, values) in enumerate(zip(header.names, zip(*rows.cells, strict=True), strict=True)):
        cells = [cell or None for cell in values]
        if not column:
            filled = [row for row, cell in enumerate(cells) if cell and cell.strip()]
            if not filled:
                continue
            if "" in columns or (number >= header.named and len(filled) < len(cells)):
                raise BadInput(
                    f"{name} line {rows.lines[filled[0]]}: {shown(values[filled[0]])!r} stands in a column "
                    f"without a name ({listed(header.names)}); name it, or put double quotes around text "
                    "with separators in it"
                )
        columns[column] = pa.chunked_array([pa.array(cells, pa.string())])
    return columns


def _wrong_width(name: str, line: int, cells: list[str], header: _Header, word: str) -> NoReturn:
    number = f"{len(cells)} field" + ("s" if len(cells) != 1 else "")
    hint = f"; put double quotes around text with {word} in it" if len(cells) > len(header.names) else ""
    raise BadInput(
        f"{name} line {line} has {number}, the header has {len(header.names)} ({listed(header.names)}){hint}"
    )
