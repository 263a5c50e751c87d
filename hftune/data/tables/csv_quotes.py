"""Quotes in the wrong place of a csv or tsv file: where they stand, and whether they swallowed rows.

A quote at the beginning of a cell opens it, and the cell runs on to the next quote that ends one, over any
number of lines. Texts of several lines are written so, and rows are lost so without a word where a quote is
part of the text, as in a tsv that was exported without quoting. The rule that tells them apart:

- Each line of a record of several lines is looked at as if its quotes were ordinary signs. It has the *form*
  of a row if it has as many separators as the header, and no blank behind them where the file has none.
- It is *like* a row if its cells are also like those of other rows, by most of the columns that tell: one
  whose values recur (a label) has one of these values, exactly; one of numbers has a number, not longer;
  one whose values all differ and have no blanks (a name) has another one as long; one of sentences has a
  blank. A line of prose may well have the form, so that alone is no evidence. The cells that the record would
  have in any case, at the beginning of its first line and at the end of its last, tell nothing.
- If the first and the last line have the form (they do not around a true text of several lines) and three
  quarters of the lines are like rows, it is an error; so it is without these two from ten lines on. Of two
  lines, names alone are no evidence: any word is one.
- If a line in between is like a row, or all lines have the form and one is like a row, it is a warning; so is
  the form of three lines and more in a file without a column that tells.

A file of one column has no separators, and nothing can be found out there: each record of several lines may
be several rows, which is a warning.
"""

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hftune.errors import BadInput

_LONGEST_LABEL = 100
_FEW_NUMBERS = 10  # of so many different ones each is known, as of classes
_FEW_ROWS = 20
_MANY_LINES = 10
_SENTENCES = 0.98  # the share of cells with a blank, in a column of sentences


class Document(NamedTuple):
    """Lines of separated values.

    Args:
        name: The file, for messages.
        text: The lines.
        first: The number of the first of them.
        separator: What separates the columns.
    """

    name: str
    text: str
    first: int
    separator: str


class Record(NamedTuple):
    """A row that takes several lines.

    Args:
        row: Its number; that of the next row where it has not as many cells as the header.
        first: Its first line.
        last: Its last line.
    """

    row: int
    first: int
    last: int


@dataclass(frozen=True)
class _Column:
    """What is known of one column.

    Args:
        counts: How often each value stands in it.
        recurs: Whether its values recur.
        codes: Whether its values all differ and have no blanks.
        sentences: Whether its values are sentences.
        indented: Whether a value begins with a blank.
        sizes: The length of the shortest and of the longest value.
        digits: Whether all values are whole numbers.
    """

    counts: Counter[str]
    recurs: bool
    codes: bool
    sentences: bool
    indented: bool
    sizes: tuple[int, int]
    digits: bool

    @classmethod
    def of(cls, cells: list[str]) -> "_Column":
        values = [cell for cell in cells if "\n" not in cell and "\r" not in cell] or [""]
        counts = Counter(values)
        blank = sum(len(value.split()) > 1 for value in values)
        sizes = min(map(len, counts)), max(map(len, counts))
        return cls(
            counts=counts,
            recurs=2 * len(counts) <= len(values) and sizes[1] <= _LONGEST_LABEL,
            codes=len(counts) == len(values) and not blank and sizes[0] > 0,
            sentences=blank >= _SENTENCES * len(values),
            indented=any(value[:1].isspace() for value in counts),
            sizes=sizes,
            digits=all(map(str.isdigit, counts)),
        )

    @property
    def tells(self) -> bool:
        """Whether values of it can be told from prose."""
        return self.recurs or self.codes or self.digits

    def agrees(self, value: str, own: int) -> bool:
        """Tells whether a value is like the others, of which `own` are not another row's."""
        if self.recurs and not (self.digits and len(self.counts) > _FEW_NUMBERS):
            return self.counts[value] > own
        if self.digits:
            like = value.isdigit() and len(value) <= self.sizes[1] + 1
        else:
            like = len(value.split()) == 1 and self.sizes[0] <= len(value) <= self.sizes[1]
        return like and (self.counts[value] <= own or not self.codes)


def check_records(
    document: Document, rows: list[list[str]], records: list[Record], widths: range, blanks: bool
) -> list[str]:
    """Looks for rows within the cells of records that take several lines.

    Args:
        document: The lines.
        rows: The cells of all rows that were read.
        records: Those that take several lines, in their order.
        widths: How many cells a row may have.
        blanks: Whether a blank follows each separator.

    Returns:
        The warnings.

    Raises:
        BadInput: A record holds other records, by the rule above.
    """
    if widths[-1] < 2:
        return _of_one_column(document.name, records)
    doubtful: list[tuple[Record, int]] = []
    columns: list[_Column] | None = None
    few = len(rows) < _FEW_ROWS  # then the lines are compared with each other, too
    for record, lines in _lines_of(_suspicious(rows, records, document.separator, blanks), document):
        split = [_cells(line, document.separator, blanks) for line in lines]
        if not any(len(cells) in widths for cells in split[1:]):
            continue
        own = rows[record.row] if record.row < len(rows) else []
        if few:
            others = [row for row in rows if row is not own]
            known = _profile(others, widths[0])
            formed = [_unquoted(cells) for cells in split if _has_the_form(cells, widths, known)]
            columns = _profile(others + formed, widths[0])
        elif columns is None:
            columns = _profile(rows, widths[0])
        full = [number for number, line in enumerate(lines) if line.strip()]
        right = [number for number in full if _has_the_form(split[number], widths, columns)]
        verdicts = _verdicts([_unquoted(cells) for cells in split], right, columns, own, few)
        alike = [number for number, verdict in zip(right, verdicts, strict=True) if verdict]
        judged = sum(verdict is not None for verdict in verdicts) + len(full) - len(right)
        ends = {full[0], full[-1]} <= set(right) or len(full) >= _MANY_LINES
        sure = len(full) > 2 or any(column.recurs or column.digits for column in columns)
        if ends and sure and alike and 4 * len(alike) >= 3 * judged:
            raise _swallowed(document, record, len(full))
        inner = [number for number in alike if 0 < number < len(lines) - 1]
        if inner or (right == full and (alike or (not judged and len(full) > 2))):
            doubtful.append((record, inner[0] if inner else full[-1]))
    return _doubts(document.name, doubtful)


def _suspicious(rows: list[list[str]], records: list[Record], separator: str, blanks: bool) -> list[Record]:
    """Returns the records with a separator in a cell, without the blank behind it that prose has."""
    spaced = blanks or any(cell[:1] == " " for row in (rows if records else []) for cell in row[1:])
    mark = re.compile(re.escape(separator) + ("" if spaced else "(?! )"))
    return [
        record for record in records if record.row >= len(rows) or any(map(mark.search, rows[record.row]))
    ]


def _lines_of(records: list[Record], document: Document) -> Iterator[tuple[Record, list[str]]]:
    source, number = io.StringIO(document.text if records else "", newline=""), document.first
    for record in records:
        lines = list(itertools.islice(source, record.first - number, record.last + 1 - number))
        number = record.last + 1
        yield record, [line.rstrip("\r\n") for line in lines]


def _cells(line: str, separator: str, blanks: bool) -> list[str]:
    """Returns the cells of a line by itself, in which a quote that has no partner is an ordinary sign."""
    if line.count('"') > 1:
        sign = re.escape(separator)
        whole = rf'(^|{sign} *)("(?:[^"]|"")*")(?={sign}|$)'
        line = re.sub(whole, lambda cell: cell[1] + cell[2].replace(separator, " "), line)
    cells = line.split(separator)
    return [cell.lstrip(" ") for cell in cells] if blanks else cells


def _unquoted(cells: list[str]) -> list[str]:
    return [cell.strip('"') for cell in cells]


def _profile(rows: list[list[str]], width: int) -> list[_Column]:
    return [_Column.of([row[number] for row in rows]) for number in range(width)]


def _has_the_form(cells: list[str], widths: range, columns: list[_Column]) -> bool:
    return len(cells) in widths and not any(
        cell[:1].isspace() and not column.indented for cell, column in zip(cells, columns, strict=False)
    )


def _verdicts(
    lines: list[list[str]], chosen: list[int], columns: list[_Column], own: list[str], counted: bool
) -> list[bool | None]:
    """Tells of each chosen line whether its cells are like those of other rows; None where nothing tells.

    Args:
        lines: The cells of each line of a record.
        chosen: Numbers of lines.
        columns: What is known of the columns.
        own: The record's cells. Those that its first line begins with, and those that its last line ends
            with, tell nothing: they are the record's in any case.
        counted: Whether the lines are among the rows that the columns are known from, and not the record.
    """
    begin = _equal(lines[0], own)
    end = len(lines[-1]) - _equal(lines[-1][::-1], own[::-1])
    verdicts: list[bool | None] = []
    for place in chosen:
        first, last = begin if place == 0 else 0, end if place == len(lines) - 1 else len(columns)
        told = []
        for number, (cell, column) in enumerate(zip(lines[place], columns, strict=False)):
            if column.sentences and len(cell.split()) < 2:
                told += [False, False]
            elif column.tells and first <= number < last:
                mine = number < len(own) and own[number] == cell
                told.append(column.agrees(cell, counted or mine))
        verdicts.append(told.count(True) >= told.count(False) if told else None)
    return verdicts


def _equal(cells: list[str], others: list[str]) -> int:
    """Returns how many cells are equal from the beginning on."""
    pairs = enumerate(zip(cells, others, strict=False))
    return next((number for number, (cell, other) in pairs if cell != other), min(len(cells), len(others)))


def _swallowed(document: Document, record: Record, count: int) -> BadInput:
    return BadInput(
        f'{document.name} line {record.first}: a quote (") opens here and closes only in line {record.last}, '
        f"and these {count:,} lines look like rows of their own; remove both quotes, or double those that "
        f"belong to the text{_advice(document)} (texts with such lines can be passed as json lines)"
    )


def _doubts(name: str, doubtful: list[tuple[Record, int]]) -> list[str]:
    if not doubtful:
        return []
    record, line = doubtful[0]
    more = f" ({len(doubtful) - 1:,} more such cells)" if len(doubtful) > 1 else ""
    return [
        f"{name} line {record.first}: the quoted cell that opens here and closes in line {record.last} has "
        f"lines that look like rows, such as line {record.first + line}; if they are, a quote is missing or "
        f"too many{more}"
    ]


def _of_one_column(name: str, records: list[Record]) -> list[str]:
    if not records:
        return []
    first = f"the first: lines {records[0].first} to {records[0].last}"
    return [
        f"{name}: {len(records):,} row{'s take' if len(records) > 1 else ' takes'} several lines, as quotes "
        f"open and close there ({first}); if each line is a row, double the quotes that belong to the text"
    ]


def _advice(document: Document) -> str:
    if document.separator != "\t":
        return ""
    return (
        "; a tsv that was written without quoting can be saved again: "
        'pandas.read_csv(OLD, sep="\\t", quoting=3, dtype=str, keep_default_na=False)'
        ".to_csv(NEW, index=False)"
    )


def bad_quote(document: Document, begun: int) -> BadInput:
    """Returns what to raise for the row that begins in line `begun`, whose quotes do not pair up."""
    name, text, first, separator = document
    opened: int | None = None  # the line in which the cell that is open now was opened
    for line, content in enumerate(io.StringIO(text, newline=""), start=first):
        if line < begun:
            continue
        for run in re.finditer('"+', content):
            pairs = len(run[0]) % 2 == 0  # a pair is a quote within a cell, or an empty cell
            if opened is None and content[run.start() - 1 : run.start()] not in ("", separator):
                continue  # a quote within an unquoted cell is an ordinary character
            begins = opened or line
            if opened is None:
                opened = None if pairs else line
            elif not pairs:
                opened = None
            if opened is None and content[run.end() : run.end() + 1] not in ("", separator, "\r", "\n"):
                return BadInput(
                    f"{name} line {line}: there is text behind a closing quote, in the cell that opens in "
                    f'line {begins}; double the quotes ("") that belong to the text{_advice(document)}'
                )
    return BadInput(
        f'{name} line {opened}: a quote (") opens here and is never closed; close it, or double it if it '
        f"belongs to the text{_advice(document)}"
    )
