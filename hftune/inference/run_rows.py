"""Some rows of the data that a run was trained for, to try its model on."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hftune.data.columns import TEXT, choose_columns
from hftune.data.image.images import Pictures
from hftune.data.image.paths import locate_images
from hftune.data.image.splits import PICTURE, find_pictures
from hftune.data.sources import SPLIT_NAMES, find_source
from hftune.data.text.sample import load_sample
from hftune.errors import BadInput
from hftune.inference.load import Saved
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.storage.run_dir import RunRecord

DATA = (  # settings that say where the rows are
    *("dataset_name", "dataset_config_name", "dataset_revision"),
    *("train_file", "validation_file", "test_file", "train_dir", "validation_dir", "test_dir"),
    *("split_column_name", "label_column_name", "text_column_name", "image_column_name", "image_dir"),
)


def contents_of_run(saved: Saved, count: int) -> list[Any]:
    """Returns rows of the data that a run was trained for: test rows first, spread over the whole set.

    Nothing but these rows is read, checked or decoded where the data's format allows it.

    Args:
        saved: A model; where it is no run of hftune, there is no data.
        count: How many at most.

    Returns:
        Texts, or pictures uint8 (H, W, 3).

    Raises:
        BadInput: The data cannot be had: it was moved, or the recipe reads it in its own way.
    """
    record = RunRecord.read(Path(saved.name))
    if record is None:
        raise BadInput("it is no run directory of hftune")
    if saved.task == "text-classification":
        settings, source, kind = _text_source(record.settings)
        given = settings.text_column_name
    else:
        settings, source, kind = _picture_source(record.settings)
        given = settings.image_column_name
    column, _ = choose_columns(source.train, kind, given, settings.label_column_name)
    found: list[Any] = []
    for split in ("test", "validation", "train"):
        for name in SPLIT_NAMES[split]:
            if name not in source.tables or len(found) == count:
                continue
            table = source.tables[name]
            if saved.task == "text-classification":
                values = spread(table.columns[column], count - len(found))
                found += [value for value in values if isinstance(value, str)]
            else:
                found += _decoded(table, column, settings, split, count - len(found), saved.background)
    return found


def _text_source(values: dict[str, Any]) -> tuple[Any, Any, Any]:
    settings = TextSettings(**_of_data(values, TextSettings))
    return settings, find_source(settings, load_sample), TEXT


def _picture_source(values: dict[str, Any]) -> tuple[Any, Any, Any]:
    settings = ImageSettings(**_of_data(values, ImageSettings))
    return settings, find_pictures(settings)[0], PICTURE


def _of_data(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Returns the settings that say where the data is, of all that a run was told."""
    known = {field.name for field in fields(kind)} & set(DATA)
    return {name: values[name] for name in known if values.get(name) is not None}


def _decoded(
    table: Any, column: str, settings: ImageSettings, split: str, count: int, background: str | None
) -> list[Any]:
    table, folder, _ = locate_images(
        table,
        column,
        image_dir=settings.image_dir,
        dataset_name=settings.dataset_name,
        split=split,
        skip_bad=None,
    )
    rows = np.arange(len(table.columns[column]))
    pictures = Pictures(table, column, rows, folder, background=background)
    return [pictures[row] for row in _places(len(pictures), count)]


def spread(values: Any, count: int) -> list[Any]:
    """Returns some values of a column or a list, evenly spread: rows of a file are often sorted by class."""
    chosen = [values[place] for place in _places(len(values), count)]
    return [value.as_py() if hasattr(value, "as_py") else value for value in chosen]


def _places(size: int, count: int) -> list[int]:
    return [place * size // count for place in range(count)] if size > count else list(range(size))
