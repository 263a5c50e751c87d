"""From the cells of a column to numbers, each as it was written."""

import math
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from hftune.data.columns import kind_of
from hftune.data.label_values import MISSING_WORDS, quoted
from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed

LARGEST = float(np.finfo(np.float32).max)  # a model answers in float32
REPAIR = "; write all of them as numbers, such as 4.5, or remove the row"

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CODE = re.compile(r"[+-]?0[0-9]+")


class NotANumber(ValueError):
    """A cell holds no number; the message says what it holds, to stand behind "the number is".

    Args:
        message: What it holds.
        missing: Whether it holds nothing, or what tools write for that.
    """

    def __init__(self, message: str, missing: bool = False):
        super().__init__(message)
        self.missing = missing


def read_numbers(table: Table, column: str) -> tuple[np.ndarray, list[str]]:
    """Reads a column of numbers, or of texts that are numbers.

    Class names that are numbers count as such; of others the class ids do, with a warning.

    Args:
        table: The rows.
        column: The column.

    Returns:
        float64 (N,), and warnings.

    Raises:
        BadInput: A cell is missing, infinite or no number; the places are named.
    """
    names = table.class_names.get(column)
    of_names = _numbers_of(names) if names else None
    warnings = []
    if names and of_names is None:
        ids = f"the class ids 0 to {len(names) - 1}"
        warnings.append(f"{table.name}: the names in column {column!r} ({listed(names)}) count as {ids}")
    cells, problems = _cells(table.columns[column]), []
    found = np.zeros(len(cells))
    for row, cell in enumerate(cells):
        try:
            found[row] = to_number(cell)
            if of_names is not None and not isinstance(cell, str) and 0 <= cell < len(of_names):
                found[row] = of_names[cell]
        except NotANumber as reason:
            problems.append(f"{table.place(row)}: the number (column {column!r}) is {reason}")
    if problems:
        raise BadInput(f"{problems[0]}{REPAIR}", problems[1:])
    return found, warnings


def first_fraction(table: Table, column: str) -> str | None:
    """Returns the first number of a column that is not whole, as it is written.

    None where there is none, where a cell is no number, and where the data bring names of classes. Missing
    cells do not count, and whole numbers that begin with a zero are codes.
    """
    if column in table.class_names:
        return None
    found = None
    for cell in _cells(table.columns[column]):
        try:
            number = to_number(cell)
        except NotANumber as problem:
            if problem.missing:
                continue
            return None
        if isinstance(cell, str) and _CODE.fullmatch(cell.strip()):
            return None
        if found is None and not number.is_integer():
            found = str(cell).strip()
    return found


def to_number(cell: Any) -> float:
    """Returns the number that a cell is or spells.

    Raises:
        NotANumber: It is missing, infinite, or something else.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if not text or text.casefold() in MISSING_WORDS:
            raise NotANumber(f"missing ({quoted(cell)})" if text else "missing", missing=True)
        if not _NUMBER.fullmatch(text):
            comma = " (a decimal point is needed)" if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text) else ""
            raise NotANumber(f"{quoted(cell)}, which is none{comma}")
        cell = float(text)
    if cell is None or cell != cell:
        raise NotANumber("missing", missing=True)
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        raise NotANumber(f"{quoted(cell)}, {kind_of(cell)}")
    if not -LARGEST <= cell <= LARGEST:
        raise NotANumber(f"{quoted(cell)}, " + ("infinite" if _is_infinite(cell) else "beyond float32"))
    return float(cell)


def _is_infinite(value: int | float | Decimal) -> bool:
    return not isinstance(value, int) and math.isinf(value)


def _numbers_of(names: list[str]) -> list[float] | None:
    """Returns the numbers that class names are; None where one is none."""
    try:
        return [to_number(name) for name in names]
    except NotANumber:
        return None


def _cells(values: pa.ChunkedArray | list[Any]) -> list[Any]:
    if isinstance(values, list):
        return values
    if pa.types.is_float16(values.type) or pa.types.is_float32(values.type):  # 3.8, not 3.799999952316284
        return [None if value is None else float(str(np.float32(value))) for value in values.to_pylist()]
    return values.to_pylist()
