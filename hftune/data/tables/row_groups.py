"""Parquet files by their row groups: ids of rows by the files' footers, and an order that reads each once.

A footer says how many rows each row group has, so a row's id, counted over all files, says where it stands.
N rows, G row groups.
"""

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hftune.data.columns import is_string
from hftune.data.tables.read import class_names, refuse_duplicates
from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed, shown
from hftune.seed import permutation
from hftune.storage.files import hash_file

HEAD = 1000  # rows by which columns are found
AT_ONCE = 64 * 2**20  # bytes of row groups that are held together, where two are not more


class RowGroups(Sequence[str]):
    """The rows of some parquet files, one below the other; nothing is held. As a sequence: their places.

    Args:
        files: The path of each file by what the user calls it; there is one at least.
        names: Names of the classes of those columns whose data bring them; None: as the files say.

    Attributes:
        starts: Id of the first row of each group, and N behind them, int64 (G + 1,).

    Raises:
        BadInput: A file is missing, damaged or of other columns than the first, or there are no rows.
    """

    def __init__(self, files: Mapping[str, str], names: Mapping[str, list[str]] | None = None):
        self.files = dict(files)
        self._names = list(files)
        files_opened = [_open(name, path) for name, path in files.items()]
        self._schemas = [opened.schema_arrow for opened in files_opened]
        self._footers = [opened.metadata for opened in files_opened]
        for opened in files_opened:
            opened.close()
        self._groups = [
            (file, group)
            for file, footer in enumerate(self._footers)
            for group in range(footer.num_row_groups)
        ]
        sizes = [self._footers[file].row_group(group).num_rows for file, group in self._groups]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._starts = self.starts.tolist()  # bisect is ten times faster on a list
        self.class_names = dict(names or class_names(self._schemas[0]))
        if not len(self):
            raise BadInput(f"{self.name} has columns ({listed(self._schemas[0].names)}) but no rows")

    @property
    def name(self) -> str:
        """What the files are called together."""
        more = len(self._names) - 1
        return self._names[0] + (f" and {more:,} more" if more else "")

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: Any) -> Any:
        """Says where a row stands: "x.parquet row 3"."""
        group = self.group_of(int(row))
        file, _ = self._groups[group]
        first = next(number for number, (of, _) in enumerate(self._groups) if of == file)
        return f"{self._names[file]} row {int(row) - self._starts[first]}"

    def group_of(self, row: int) -> int:
        """Returns the group that a row stands in."""
        return bisect_right(self._starts, row) - 1

    def head(self) -> Table:
        """Returns the first rows with all of their columns."""
        path = self.files[self._names[0]]
        try:
            with pq.ParquetFile(os.path.expanduser(path)) as opened:
                table = pa.Table.from_batches([next(opened.iter_batches(HEAD))], opened.schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._names[0], error) from None
        columns = dict(zip(table.column_names, table.columns, strict=True))
        return Table(self._names[0], columns, None, self.class_names)

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Reads some columns of a row group.

        Raises:
            BadInput: The file can no longer be read, or holds what is no UTF-8.
        """
        file, inside = self._groups[group]
        name = self._names[file]
        try:
            path, footer = os.path.expanduser(self.files[name]), self._footers[file]
            with pq.ParquetFile(path, metadata=footer) as opened:
                # No threads: the process may be a worker that was forked.
                table = opened.read_row_group(inside, list(columns), use_threads=False)
            table.validate(full=True)  # Arrow itself does not look whether strings are UTF-8
        except (pa.ArrowException, OSError) as error:
            raise _damaged(name, error) from None
        return table.select(list(columns))

    def table(self, columns: Sequence[str]) -> Table:
        """Reads some columns of all rows, such as the labels; equal texts among them are held once.

        Raises:
            BadInput: A file lacks one of them, or has it as another type than the first file.
        """
        self.check(columns)
        parts = [self.read(group, columns) for group in range(len(self._groups))]
        found = {column: _shared([part.column(column) for part in parts]) for column in columns}
        names = {column: self.class_names[column] for column in columns if column in self.class_names}
        return Table(self.name, found, None, names, places=self)

    def check(self, columns: Sequence[str]) -> None:
        """Raises `BadInput` for a file that lacks one of some columns, or has it as another type."""
        for name, schema in zip(self._names, self._schemas, strict=True):
            for column in columns:
                if column not in schema.names:
                    raise BadInput(
                        f"{name} has no column {column!r}, but {self._names[0]} has ({listed(schema.names)})"
                    )
                kind, first = schema.field(column).type, self._schemas[0].field(column).type
                if kind != first:
                    raise BadInput(
                        f"{name}: column {column!r} holds {shown(str(kind))}, but {shown(str(first))} in "
                        f"{self._names[0]}; write both alike"
                    )

    def refuse_missing(self, column: str) -> None:
        """Raises `BadInput` where the footers say that cells of a column are missing; the first is named."""
        missing = np.array([self._missing(group, column) for group in range(len(self._groups))])
        if missing.any():
            group = int(np.argmax(missing > 0))
            row = self._starts[group] + pc.index(self.read(group, [column])[column].is_null(), True).as_py()
            count = int(missing.sum())
            also = f" (and {count - 1:,} more)" if count > 1 else ""
            raise BadInput(
                f"{self[row]}: the text (column {column!r}) is missing{also}; fill it in or remove the row"
            )

    def _missing(self, group: int, column: str) -> int:
        """Returns how many cells are missing by the footer; 0 where it does not say, which reading finds."""
        file, inside = self._groups[group]
        paths = [self._footers[file].schema.column(i).path for i in range(self._footers[file].num_columns)]
        statistics = self._footers[file].row_group(inside).column(paths.index(column)).statistics
        return statistics.null_count if statistics is not None and statistics.has_null_count else 0

    def bytes_of(self, columns: Sequence[str]) -> np.ndarray:
        """Returns about how much memory some columns of texts of each group take, int64 (G,)."""
        found = np.zeros(len(self._groups), np.int64)
        for number, (file, inside) in enumerate(self._groups):
            group = self._footers[file].row_group(inside)
            for i in range(group.num_columns):
                if group.column(i).path_in_schema in columns:
                    found[number] += group.column(i).total_uncompressed_size + 8 * group.num_rows
        return found

    def digests(self) -> list[str]:
        """Returns the SHA-256 (hex) of each file."""
        return [hash_file(Path(path).expanduser()) for path in self.files.values()]


def groups_at_once(sizes: np.ndarray) -> int:
    """Returns how many row groups are held together, two at least, given their bytes (int64, (G,))."""
    return min(len(sizes), max(2, int(AT_ONCE // max(1, sizes.max()))))


def mixed_order(starts: np.ndarray, window: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of an epoch: groups in a random order, and the rows of each `window` of them mixed.

    With `window` groups in memory each is read once. Every row is visited once.

    Args:
        starts: Number of the first row of each group, and N behind them, int64 (G + 1,).
        window: How many groups are mixed.
        seed: The run's.
        epoch: From 0.
    """
    groups = permutation(len(starts) - 1, "row groups", seed, epoch)
    parts = []
    for number, first in enumerate(range(0, len(groups), window)):
        rows = [np.arange(starts[group], starts[group + 1]) for group in groups[first : first + window]]
        mixed = np.concatenate(rows)
        parts.append(mixed[permutation(len(mixed), "order", seed, epoch, number)])
    return np.concatenate(parts)


def _open(name: str, path: str) -> pq.ParquetFile:
    if not name.lower().endswith(".parquet"):
        raise BadInput(f"--streaming reads parquet, not {name}; write it as parquet or leave --streaming out")
    if not os.path.isfile(os.path.expanduser(path)):
        raise BadInput(f"{name} does not exist, or is no file")
    try:
        opened = pq.ParquetFile(os.path.expanduser(path))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, error) from None
    refuse_duplicates(name, opened.schema_arrow.names)
    return opened


def _damaged(name: str, error: Exception) -> BadInput:
    reason = shown(str(error).splitlines()[0], 200)
    return BadInput(f"{name} is a damaged parquet file; write or download it again ({reason})")


def _shared(parts: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray | list[Any]:
    """Joins the cells of all groups; of texts a list in which equal ones are the same object."""
    chunks = [chunk for part in parts for chunk in part.chunks]
    if not is_string(parts[0].type):
        return pa.chunked_array(chunks, parts[0].type)
    known: dict[str | None, str | None] = {}
    cells: list[str | None] = []
    for chunk in chunks:
        encoded = pc.dictionary_encode(chunk, null_encoding="encode")
        words = [known.setdefault(word, word) for word in encoded.dictionary.to_pylist()]
        cells += [words[code] for code in encoded.indices.to_numpy()]
    return cells
