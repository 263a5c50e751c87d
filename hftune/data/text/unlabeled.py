"""Texts without labels, which a teacher alone answers; none of them stands in a split with labels."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from hftune.data.columns import TEXT, with_names_of
from hftune.data.duplicates import CheckedSplit
from hftune.data.inputs import content_column
from hftune.data.sources import Source
from hftune.data.tables.file_text import read_bytes
from hftune.data.tables.read import Table, read_table
from hftune.data.taught import UNLABELED
from hftune.data.text.pairs import Columns, join, pair_columns
from hftune.data.text.read import LINES, lines_of, texts_of
from hftune.errors import BadInput
from hftune.settings.text import TextSettings

SPLITS = ("test", "validation", "train")  # in which a text is looked for, the worst leak first


def find_unlabeled(
    settings: TextSettings, source: Source, columns: Columns, parts: Mapping[str, CheckedSplit]
) -> tuple[CheckedSplit, list[str]] | None:
    """Reads the texts of `--unlabeled_split` and `--unlabeled_file`, and leaves out those that are known.

    A text of the validation or test rows would be learned from before it is scored, and one of the training
    rows would be learned twice. Contents are compared as they are, byte by byte.

    Args:
        settings: Name the split and the file.
        source: Has the split.
        columns: Those of the training texts; a file may have others of the usual names.
        parts: The rows with labels, by split.

    Returns:
        The texts, with `UNLABELED` as target, and lines to show to the user; None where none were asked for.

    Raises:
        BadInput: They cannot be read, or none is left.
    """
    tables = list(_tables(settings, source, columns))
    if not tables:
        return None
    contents: list[str] = []
    places: list[str] = []
    warnings: list[str] = []
    for table in tables:
        blank = []
        for row, content in enumerate(_contents(table, _columns_of(table, columns))):
            if content is None:
                blank.append(table.place(row))
            else:
                contents.append(content)
                places.append(table.place(row))
        warnings += table.warnings
        if blank:
            count = f"{len(blank):,} rows without labels"
            warnings.append(f"{count} hold no text and are left out (first: {blank[0]})")
    strings = pa.chunked_array([contents], pa.string())
    read = Table("texts without labels", {"text": strings}, places=places)
    part = CheckedSplit(strings, np.full(len(contents), UNLABELED), read, np.arange(len(contents)))
    part, left_out = _without_known(part, parts)
    if not len(part.rows):
        named = " ".join(f"--{flag} {getattr(settings, flag)}" for flag in _flags(settings))
        raise BadInput(f"{named}: every text also stands in a split with labels, so none is left", left_out)
    return part, warnings + left_out


def _flags(settings: TextSettings) -> list[str]:
    return [flag for flag in ("unlabeled_split", "unlabeled_file") if getattr(settings, flag)]


def _tables(settings: TextSettings, source: Source, columns: Columns) -> Iterator[Table]:
    if name := settings.unlabeled_split:
        if name not in source.tables:
            there = ", ".join(source.tables)
            raise BadInput(f"--unlabeled_split {name}: {source.origin} has no such split (it has {there})")
        yield with_names_of(source.tables[name], columns)
    if file := settings.unlabeled_file:
        if Path(file).suffix.lower() == LINES:
            lines, _ = lines_of(file, read_bytes(file, (LINES,)), "one text a line")
            numbers = list(range(1, len(lines) + 1))
            yield Table(file, {"text": pa.chunked_array([lines], pa.string())}, lines=numbers)
        else:
            yield with_names_of(read_table(file), columns)


def _columns_of(table: Table, columns: Columns) -> Columns:
    if set(columns) <= table.columns.keys():
        return columns
    return pair_columns(table, None, None) if len(columns) == 2 else (content_column(table, TEXT, None),)


def _contents(table: Table, columns: Columns) -> list[str | None]:
    """Returns the content of each row as a `CheckedSplit` has it; None where a text is missing."""
    texts = [texts_of(table, column) for column in columns]
    if len(texts) == 1:
        return texts[0]
    whole = [None not in pair for pair in zip(*texts, strict=True)]
    joined = join(*([text or "" for text in column] for column in texts)).to_pylist()
    return [content if both else None for content, both in zip(joined, whole, strict=True)]


def _without_known(part: CheckedSplit, parts: Mapping[str, CheckedSplit]) -> tuple[CheckedSplit, list[str]]:
    known: dict[str, tuple[str, int]] = {}
    for split in SPLITS:
        for row, content in enumerate(parts[split].content.to_pylist() if split in parts else ()):
            known.setdefault(content, (split, row))
    found = [known.get(content) for content in part.content.to_pylist()]
    lines = []
    for split in SPLITS:
        rows = [row for row, place in enumerate(found) if place and place[0] == split]
        if rows:
            _, other = found[rows[0]] or ("", 0)
            pair = f"{part.place(rows[0])} = {parts[split].place(other)}"
            lines.append(
                f"{len(rows):,} texts without labels also stand in {split} and are left out (first: {pair})"
            )
    return part.take(np.array([row for row, place in enumerate(found) if not place], np.int64)), lines
