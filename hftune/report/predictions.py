"""Answers as a table: one row for each row of the data, with what leads back to it."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftune.data.dataset import Places
from hftune.storage.files import write_text


def write_predictions(
    path: Path,
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    places: Places | None = None,
) -> None:
    """Writes a csv file of one line per row in the data's order; the classes' probabilities come last.

    Args:
        path: The file.
        logits: Answers, float (N, C).
        labels: Class numbers, int64 (N,).
        names: The C class names.
        places: Where the rows stand in the user's data; None: `row` is the number within the set.
    """
    rows: Sequence[int] = range(len(labels)) if places is None else places.rows.tolist()
    columns: list[tuple[str, Iterable[Any]]] = [("row", rows)]
    if places is not None:
        every = range(len(labels))
        columns += [("place", map(places.place, every)), (places.noun, map(places.content, every))]
    chances = probabilities(logits)
    columns += [
        ("label", (names[label] for label in labels)),
        ("prediction", (names[number] for number in chances.argmax(-1))),
        *((name, (f"{p:.6f}" for p in chances[:, number])) for number, name in enumerate(names)),
    ]
    write_text(path, as_csv(columns))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of (N, C) logits, in their own precision."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def as_csv(columns: Sequence[tuple[str, Iterable[Any]]], separator: str = ",") -> str:
    """Returns columns of equal length, each with its name, as a csv document."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, delimiter=separator)
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(values for _, values in columns), strict=True))
    return page.getvalue()
