"""The checked rows of one split, and what stands twice in them or in several splits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hftune.data.tables.read import Table


@dataclass(frozen=True)
class CheckedSplit:
    """Clean rows of one split.

    Args:
        content: What the rows hold, as strings that are equal for equal content: the texts themselves,
            pairs of them as JSON, or the hashes of images, (N,).
        targets: What the task asks for, rows first.
        table: Where the rows came from.
        rows: Row of the table that each row was, int64 (N,).
        looks: Strings that are equal for rows that nobody can tell apart, (N,), where `content` does not say
            it: files of other bytes may show the same pixels.
    """

    content: pa.ChunkedArray
    targets: np.ndarray
    table: Table
    rows: np.ndarray
    looks: pa.ChunkedArray | None = None

    def place(self, row: int) -> str:
        """Says where a row (0-based) stands in the user's data."""
        return self.table.place(int(self.rows[row]))

    def take(self, chosen: np.ndarray) -> "CheckedSplit":
        """Returns the chosen rows (int64, ascending)."""
        if len(chosen) == len(self.rows):
            return self
        looks = None if self.looks is None else self.looks.take(pa.array(chosen))
        content = self.content.take(pa.array(chosen))
        return CheckedSplit(content, self.targets[chosen], self.table, self.rows[chosen], looks)


def find_duplicates(parts: Mapping[str, CheckedSplit], noun: str) -> list[str]:
    """Counts what stands twice in train, and rows of other splits that stand in train too.

    Content is compared as it is, byte by byte.

    Args:
        parts: Splits by name; "train" is one of them.
        noun: What a row holds: "text", "pair" or "image".

    Returns:
        Warnings with counts and the first pair.
    """
    train = parts["train"]
    encoded = pc.dictionary_encode(_combined(train.content))
    codes = encoded.indices.to_numpy()
    first = np.full(len(encoded.dictionary), len(codes), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))  # row at which each text appears first
    warnings = []
    again = np.flatnonzero(first[codes] != np.arange(len(codes)))
    if len(again):
        unequal = train.targets[again] != train.targets[first[codes[again]]]
        other = np.count_nonzero(unequal.reshape(len(again), -1).any(1))
        differently = f", {other:,} of them with another label" if other else ""
        pair = f"{train.place(again[0])} = {train.place(first[codes[again[0]]])}"
        warnings.append(f"{len(again):,} train rows repeat an earlier {noun}{differently} (first: {pair})")
    for split, part in parts.items():
        if split == "train":
            continue
        code = pc.index_in(_combined(part.content), value_set=encoded.dictionary)
        shared = np.flatnonzero(code.is_valid().to_numpy(zero_copy_only=False))
        if len(shared):
            pair = f"{part.place(shared[0])} = {train.place(first[code[int(shared[0])].as_py()])}"
            warnings.append(f"{len(shared):,} {split} {noun}s also stand in train (first: {pair})")
    return warnings


def _combined(texts: pa.ChunkedArray) -> pa.LargeStringArray:
    return (
        pa.concat_arrays(texts.cast(pa.large_string()).chunks)
        if texts.num_chunks
        else pa.array([], pa.large_string())
    )
