"""From a user's folders, lists or Hub id to clean splits of images."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hftune.data.columns import Content, choose_columns
from hftune.data.image.folders import read_class_folders
from hftune.data.image.images import Images, locate_and_check, memory_budget
from hftune.data.image.sample import load_shapes
from hftune.data.image.split_folders import check_class_folders, image_splits
from hftune.data.sources import Source, find_source, naming_columns
from hftune.data.splits import Splits, UsableContent, make_splits
from hftune.data.tables.read import SUFFIXES as TABLE_SUFFIXES
from hftune.data.tables.read import Table, read_table
from hftune.errors import BadInput
from hftune.settings.image import ImageSettings
from hftune.tasks import label_names
from hftune.tasks.base import Task

NAMES = (  # of columns of images or their paths, without "_", "-" and blanks; the first group that occurs
    ("image", "img", "picture", "photo", "filename", "file", "path", "imagepath"),
    (
        *("images", "filenames", "files", "paths", "filepath", "filepaths", "fname", "imagepaths"),
        *("imagefile", "imagefilename", "imagefilepath", "imagename", "imgpath", "imgname", "imgfile"),
    ),
    ("imageid", "imgid", "photoid", "pictureid"),
    ("id",),
)


class ImageSplits(NamedTuple):
    """Checked splits, the images of each in the order of its rows, and the sum of their facts."""

    splits: Splits
    images: dict[str, Images]
    facts: dict[str, int]


def load_image_splits(settings: ImageSettings, task: Task | None = None) -> ImageSplits:
    """Loads, checks and splits the images that the settings name; every image is decoded once.

    Args:
        settings: What `find_images` and `make_splits` read of them, and `image_column_name` and
            `label_column_name` (None: inferred), `image_dir`, `skip_bad_images`, `transparent_background`.
        task: What is asked of a row; None: the settings' task.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    source = find_images(settings, task)
    named = settings.image_column_name, settings.label_column_name
    column, label = choose_columns(source.train, PICTURE, *named, label_names(settings))
    found: dict[str, Images] = {}
    facts: Counter[str] = Counter()
    room = memory_budget()

    def check(split: str, table: Table) -> UsableContent:
        nonlocal room
        checked = locate_and_check(
            table,
            column,
            image_dir=settings.image_dir,
            dataset_name=settings.dataset_name,
            split=split,
            skip_bad=settings.skip_bad_images,
            room=room,
            background=settings.transparent_background,
            trains=True,
        )
        room -= checked.bytes_held
        found[split] = checked.images
        facts.update(checked.facts)
        return UsableContent(checked.digests, checked.rows, checked.warnings, checked.looks)

    if not os.path.isdir(source.train.name):  # class folders have no columns
        source = naming_columns(source, PICTURE, column, label)
    splits = make_splits(
        source, settings, content=(column,), label=label, check=check, noun="image", task=task
    )
    return ImageSplits(splits, _of_parts(splits, found), dict(facts))


def find_images(settings: ImageSettings, task: Task | None = None) -> Source:
    """Decides between class folders, lists, the sample and the Hub; returns the tables.

    Raises:
        BadInput: The data cannot be had; the message names the folder, the file or the Hub id.
    """
    folders: dict[str, str] = {}
    warnings: list[str] = []
    name = settings.dataset_name
    if settings.train_dir:
        given = {split: getattr(settings, f"{split}_dir") for split in ("train", "validation", "test")}
        folders = {split: folder for split, folder in given.items() if folder}
    elif name and Path(name).expanduser().is_dir() and not settings.dataset_config_name:
        folders, warnings = image_splits(name)
        lists = {split: path for split, path in folders.items() if path.endswith(TABLE_SUFFIXES)}
        if lists and len(lists) < len(folders):
            raise BadInput(
                f"{name}: some splits are lists ({', '.join(lists.values())}), others class folders "
                f"({', '.join(folders[split] for split in folders if split not in lists)}); make them alike"
            )
        if "train" in lists:
            files = {f"{split}_file": path for split, path in lists.items()}
            source = find_source(settings.replace(dataset_name=None, **files), load_shapes, task)
            return replace(source, warnings=(*warnings, *source.warnings))
        if lists:
            tables = {split: read_table(path) for split, path in lists.items()}
            return Source(tables, name, files=True, warnings=tuple(warnings))
    if not folders:
        return find_source(settings, load_shapes, task)
    if "train" in folders:
        warnings += check_class_folders(folders["train"])
    tables = {}
    for split, folder in folders.items():
        tables[split], told = read_class_folders(folder, skip_bad=settings.skip_bad_images)
        warnings += told
    origin = name or ", ".join(folders.values())
    if "train" in tables:
        tables = _spelt_as_in_train(tables)
        _refuse_unknown_classes(tables, folders)
    validation = folders.get("validation", "")
    return Source(tables, origin, files=True, validation=validation, warnings=tuple(warnings))


def _spelt_as_in_train(tables: dict[str, Table]) -> dict[str, Table]:
    """Gives a class one name where the letters of its folders are coded in several ways (NFC, NFD)."""
    names = {unicodedata.normalize("NFC", name): name for name in _labels(tables["train"])}

    def spelt(table: Table) -> Table:
        labels = [names.get(unicodedata.normalize("NFC", label), label) for label in _labels(table)]
        return replace(table, columns={**table.columns, "label": pa.chunked_array([pa.array(labels)])})

    return {split: table if split == "train" else spelt(table) for split, table in tables.items()}


def _labels(table: Table) -> list[str]:
    return table.columns["label"].to_pylist()  # type: ignore[union-attr]


def _refuse_unknown_classes(tables: dict[str, Table], folders: dict[str, str]) -> None:
    """Raises `BadInput` for class folders of which train has no images."""
    train = set(_labels(tables["train"]))
    for split, table in tables.items():
        if unknown := sorted(set(_labels(table)) - train):
            raise BadInput(
                f"{folders['train']} has no images of the class {unknown[0]!r}, which {folders[split]} has; "
                "a class cannot be learned without",
                [f"{folders[split]}: class {label!r}" for label in unknown[1:]],
            )


def _image_candidates(table: Table, label: str) -> list[str]:
    """Returns the columns of encoded images, else those with a name that paths of images have."""
    columns = {name: values for name, values in table.columns.items() if name != label}
    encoded = [
        name
        for name, values in columns.items()
        if not isinstance(values, list) and pa.types.is_struct(values.type)
        if values.type.get_field_index("bytes") >= 0
    ]
    if encoded:
        return encoded
    for group in NAMES:
        if named := [name for name in columns if re.sub(r"[\s_-]", "", name.casefold()) in group]:
            return named
    return []


PICTURE = Content("image", _image_candidates)


def _of_parts(splits: Splits, found: dict[str, Images]) -> dict[str, Images]:
    """Picks each split's images: validation may have been cut off train, and rows may be left out."""
    images = {}
    for split, part in splits.parts.items():
        own = split if split in found else "train"
        checked = found[own]
        images[split] = checked.take(np.searchsorted(checked.rows, part.rows))
    return images
