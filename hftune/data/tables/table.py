"""Rows of one split under the names of their columns, each with its place in the user's data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from hftune.errors import listed, shown

MANY_COLUMNS = 64  # tables of so many, nearly all numbers, hold pixels (of 8 x 8 at least) or features


@dataclass(frozen=True)
class Table:
    """Rows of one split, with their places.

    Args:
        name: The file as the user wrote it, or "ID SPLIT" for a Hub set.
        columns: By name: an Arrow column, or a list where the values are of several types.
        lines: The line (1-based) on which each row begins; None where rows have no lines.
        class_names: Names of the classes of those columns whose data bring them.
        places: What each row is called, such as the path of its file; None where a number has to do.
        notes: How the file was read where that is not the usual way, such as "separated by semicolons".
        warnings: Lines to show to the user.
        taken: Row of the user's table that each was, where only some were taken, int64; None for all.
    """

    name: str
    columns: dict[str, pa.ChunkedArray | list[Any]]
    lines: list[int] | None = None
    class_names: dict[str, list[str]] = field(default_factory=dict)
    places: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    taken: np.ndarray | None = None

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
        return replace(self, columns=columns, lines=lines, places=places, taken=self.of_user(rows))

    def of_user(self, rows: np.ndarray) -> np.ndarray:
        """Returns which rows of the user's table some of these are (int64)."""
        return rows if self.taken is None else self.taken[rows]

    @property
    def origin(self) -> str:
        """The name, and how the file was read where that is not the usual way."""
        return self.name + (f" ({', '.join(self.notes)})" if self.notes else "")

    @property
    def column_list(self) -> str:
        """The columns as a message lists them."""
        return "columns: " + listed(self.columns)

    @property
    def advice(self) -> str:
        """What may be wrong where no column is what is looked for, as the end of a message."""
        ending = self.name.lower().rpartition(".")[2]
        objects = [column for column, values in self.columns.items() if _holds_objects(values)]
        if objects and ending in ("json", "jsonl"):  # of parquet, these may be images
            merged = " + ".join(f".[{json.dumps(column, ensure_ascii=False)}]" for column in objects[:3])
            return (
                f"; {listed(objects)} hold objects: write what is in them as columns, for example with "
                f"jq -c '. + {shown(merged)}' {self.name} > flat.jsonl"
            )
        numbers = sum(map(_holds_numbers, self.columns.values()))
        if len(self.columns) >= MANY_COLUMNS and numbers >= 0.9 * len(self.columns):
            return (
                f"; {numbers:,} columns hold numbers, as of images with one column per pixel: save each "
                "image as a file, and list the paths"
            )
        written = ending in ("csv", "tsv")  # the others have no header line
        if written and any(_is_number(column) or len(column.split()) > 2 for column in self.columns):
            return "; is the header line missing?"
        return ""


def _holds_numbers(values: pa.ChunkedArray | list[Any]) -> bool:
    if isinstance(values, list) or not len(values):
        return False
    first = values[0].as_py()
    return _is_number(first) if isinstance(first, str) else isinstance(first, (int, float))


def _is_number(cell: str) -> bool:
    return cell.strip().lstrip("+-").replace(".", "", 1).isdigit()


def _holds_objects(values: pa.ChunkedArray | list[Any]) -> bool:
    if isinstance(values, list):
        return any(isinstance(value, dict) for value in values)
    return pa.types.is_struct(values.type)
