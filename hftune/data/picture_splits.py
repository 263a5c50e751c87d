"""From a user's folders, lists or Hub id to clean splits of pictures."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hftune.data.columns import Content, choose_columns
from hftune.data.folders import read_class_folders, split_folders
from hftune.data.pictures import Pictures, check_pictures, room_for_pictures
from hftune.data.shapes import load_shapes
from hftune.data.source import Source, find_source, naming_columns
from hftune.data.splits import Checked, Splits, make_splits
from hftune.data.tables import Table
from hftune.errors import BadInput
from hftune.image_settings import ImageSettings

NAMES = ("image", "img", "picture", "photo", "file_name", "filename", "file", "path", "image_path")


class PictureSplits(NamedTuple):
    """Checked splits, and the pictures of each in the order of its rows."""

    splits: Splits
    pictures: dict[str, Pictures]


def load_picture_splits(settings: ImageSettings) -> PictureSplits:
    """Loads, checks and splits the pictures that the settings name; every picture is decoded once.

    Args:
        settings: What `find_pictures` and `make_splits` read of them, and `image_column_name` and
            `label_column_name` (None: inferred), `skip_bad_images`.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    source, warnings = find_pictures(settings)
    named = settings.image_column_name, settings.label_column_name
    column, label = choose_columns(source.train, PICTURE, *named)
    found: dict[str, Pictures] = {}
    room = room_for_pictures()

    def check(split: str, table: Table) -> Checked:
        nonlocal room
        file = getattr(settings, f"{split}_file") or settings.train_file  # whose split column made it
        checked = check_pictures(
            table,
            column,
            folder=os.path.dirname(file) if file else None,
            skip_bad=settings.skip_bad_images,
            room=room,
        )
        room -= checked.bytes_held
        found[split] = checked.pictures
        return Checked(checked.digests, checked.rows, checked.warnings)

    if not os.path.isdir(source.train.name):  # class folders have no columns
        source = naming_columns(source, PICTURE, column, label)
    splits = make_splits(source, settings, content=column, label=label, check=check, noun="picture")
    splits.warnings[:0] = warnings
    return PictureSplits(splits, _of_parts(splits, found))


def find_pictures(settings: ImageSettings) -> tuple[Source, list[str]]:
    """Decides between class folders, lists, the sample and the Hub; returns the tables and warnings.

    Raises:
        BadInput: The data cannot be had; the message names the folder, the file or the Hub id.
    """
    folders: dict[str, str] = {}
    if settings.train_dir:
        given = {name: getattr(settings, f"{name}_dir") for name in ("train", "validation", "test")}
        folders = {name: folder for name, folder in given.items() if folder}
    elif settings.dataset_name and Path(settings.dataset_name).expanduser().is_dir():
        found = split_folders(Path(settings.dataset_name).expanduser())
        folders = {name: str(folder) for name, folder in found.items()}
    if not folders:
        return find_source(settings, load_shapes), []
    read = {name: read_class_folders(folder) for name, folder in folders.items()}
    warnings = [warning for _, told in read.values() for warning in told]
    origin = settings.dataset_name or ", ".join(folders.values())
    tables = {name: table for name, (table, _) in read.items()}
    _refuse_other_classes(tables, folders)
    return Source(tables, origin, files=True, validation=folders.get("validation", "")), warnings


def _refuse_other_classes(tables: dict[str, Table], folders: dict[str, str]) -> None:
    """Raises `BadInput` unless every split has the class folders that train has."""
    classes = {split: set(table.columns["label"].to_pylist()) for split, table in tables.items()}  # type: ignore[union-attr]
    problems = [
        f"{folders[there]} has no class folder {name!r}, which {folders[here]} has"
        for split in classes
        for here, there in ((split, "train"), ("train", split))
        for name in sorted(classes[here] - classes[there])
    ]
    if problems:
        raise BadInput(f"{problems[0]}; the splits need the same classes", problems[1:])


def _image_candidates(table: Table, label: str) -> list[str]:
    """Returns the columns of encoded pictures, else those with a name that paths of pictures have."""
    columns = {name: values for name, values in table.columns.items() if name != label}
    encoded = [
        name
        for name, values in columns.items()
        if not isinstance(values, list) and pa.types.is_struct(values.type)
        if values.type.get_field_index("bytes") >= 0
    ]
    return encoded or [name for name in columns if name.casefold() in NAMES]


PICTURE = Content("image", _image_candidates)


def _of_parts(splits: Splits, found: dict[str, Pictures]) -> dict[str, Pictures]:
    """Picks each split's pictures: validation may have been cut off train, and rows may be left out."""
    pictures = {}
    for split, part in splits.parts.items():
        own = split if split in found else "train"
        checked = found[own]
        pictures[split] = checked.take(np.searchsorted(checked.rows, part.rows))
    return pictures
