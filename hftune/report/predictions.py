"""Predictions as a table: one row for each row of the data, with what leads back to it."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hftune.data.dataset import Places
from hftune.storage.files import write_text


def write_predictions(
    path: Path, predictions: Sequence[tuple[str, Sequence[Any]]], places: Places | None = None
) -> None:
    """Writes one line per row in the data's order.

    Args:
        path: The file: .csv, or .jsonl with an object a line, which can hold lists.
        predictions: The last columns, what `Task.columns` returned.
        places: Where the rows stand in the user's data; None: `row` is the number within the set.
    """
    every = range(len(predictions[0][1]))
    columns: list[tuple[str, Iterable[Any]]] = [("row", every if places is None else places.rows.tolist())]
    if places is not None:
        columns.append(("place", map(places.place, every)))
        columns += [(name, map(content, every)) for name, content in places.contents.items()]
    columns += predictions
    write_text(path, as_json_lines(columns) if path.suffix == ".jsonl" else as_csv(columns))


def as_json_lines(columns: Sequence[tuple[str, Iterable[Any]]]) -> str:
    """Returns columns of equal length as lines of JSON, an object for each row."""
    names = [name for name, _ in columns]
    rows = zip(*(values for _, values in columns), strict=True)
    return "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def as_csv(columns: Sequence[tuple[str, Iterable[Any]]], separator: str = ",") -> str:
    """Returns columns of equal length, each with its name, as a csv document."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, delimiter=separator)
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(values for _, values in columns), strict=True))
    return page.getvalue()
