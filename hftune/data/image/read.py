"""Reads images: those that a table lists, and those that are named on the command line to be predicted."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from torch.utils.data import ConcatDataset

from hftune.data.image.folders import find_image_files
from hftune.data.image.images import locate_and_check, memory_budget
from hftune.data.image.splits import NAMES, PICTURE
from hftune.data.inputs import Contents, content_column, header_doubts
from hftune.data.tables.read import SUFFIXES as TABLE_SUFFIXES
from hftune.data.tables.read import Table, read_table
from hftune.errors import BadInput, printable


def read_images(
    sources: Iterable[str],
    column: str | None = None,
    *,
    image_dir: str | None = None,
    skip_bad: bool | None = False,
    background: str | None = None,
) -> Contents:
    """Reads images in the order of the sources; each is decoded once.

    Args:
        sources: Each is an image, a folder of images, a list of them (.csv, .tsv, .jsonl, .parquet), or
            "-" for the paths on the lines of standard input.
        column: The lists' column of images or their paths; None: found by its kind.
        image_dir: The folder that the lists' paths start from; None: each list's own.
        skip_bad: See `check_images`.
        background: The colour behind transparent pixels, see `decode`.

    Raises:
        BadInput: An image cannot be read, or there is none; names file and row.
    """
    found, parts = Contents(), []
    room = memory_budget()
    files, found.warnings = find_image_files(sources)
    spare = bool(skip_bad) and len(files) > 1  # one of several may be unreadable as a whole
    for table, key in _tables(files, column):
        checked = locate_and_check(
            table, key, image_dir=image_dir, skip_bad=skip_bad, room=room, background=background, spare=spare
        )
        room -= checked.bytes_held
        parts.append(checked)
        table = checked.images.table
        names = (_name(table, key, row) for row in checked.rows.tolist())
        others = {name: values for name, values in table.columns.items() if name != key}
        if not column:
            found.warnings += header_doubts(table, key, [name for group in NAMES for name in group])
        found.add(names, checked.rows.tolist(), table.place, others)
    found.warnings += [line for checked in parts for line in checked.warnings]
    if not found.names:
        raise BadInput("none of the images can be read", found.warnings)
    found.values = ConcatDataset([checked.images for checked in parts])  # type: ignore[misc]
    return found


def _tables(files: list[str], column: str | None) -> list[tuple[Table, str]]:
    """Returns tables, each with its column of images."""
    tables: list[tuple[Table, str]] = []
    loose: list[str] = []  # images that were named one after the other, checked together
    for file in files:
        if file.lower().endswith(TABLE_SUFFIXES):
            tables += _table_of(loose)
            loose = []
            table = read_table(file)
            tables.append((table, content_column(table, PICTURE, column)))
        else:
            loose.append(file)
    return tables + _table_of(loose)


def _table_of(files: list[str]) -> list[tuple[Table, str]]:
    if not files:
        return []
    places = [printable(file) for file in files]
    return [(Table("the images", {"image": files}, places=places), "image")]


def _name(table: Table, column: str, row: int) -> str:
    value: Any = table.columns[column][row]
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    path = value.get("path") if isinstance(value, dict) else value
    return path if isinstance(path, str) else table.place(row)
