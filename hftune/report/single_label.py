"""What the model card says of a task that gives a row one of C classes; nothing else of the card knows it."""

import math
from collections.abc import Sequence

import numpy as np

from hftune.report.markdown import score, table, text
from hftune.tasks.metrics import per_class, positive_class

MOST_LABELS = 20  # named in the first sentence
MOST_CLASSES = 40  # with a row each in the table; of more, the weakest are shown
WEAKEST = 20
FEW_ROWS = 30  # of a class: its own scores then swing by more than a tenth


def task_section(
    labels: Sequence[str], pos_label: str | None, inputs: str, confusion: np.ndarray | None
) -> dict[str, str]:
    """Says what a classifier does, and how good it is class by class.

    Args:
        labels: The C class names in the order of the class ids.
        pos_label: Of two classes, the one that precision, recall and F1 are of; None: the last.
        inputs: What it sorts, such as "texts".
        confusion: Test rows per label and prediction, int64 (C, C); None without a test set.

    Returns:
        `opening`, the first sentence; `averaged`, what precision, recall and F1 are of; `section`, the scores
        of each class under a title of their own, "" without a test set; `limit`, what the model cannot do.
    """
    named = ", ".join(f"**{text(label)}**" for label in labels[:MOST_LABELS])
    more = len(labels) - MOST_LABELS
    rest = f" and {more:,} more, all listed in `config.json`" if more > 0 else ""
    positive = f"of the class **{text(labels[positive_class(labels, pos_label)])}**"
    return {
        "opening": f"It sorts {inputs} into {len(labels):,} classes: {named}{rest}.",
        "averaged": positive if len(labels) == 2 else "means over the classes",
        "section": _classes(labels, confusion) if confusion is not None and confusion.any() else "",
        "limit": "It always answers with one of its classes, also where none fits.",
    }


def _classes(labels: Sequence[str], confusion: np.ndarray) -> str:
    """Returns the section with the scores of each class; `confusion` is int64 (C, C), not all zero."""
    scores = per_class(confusion, labels)
    few = sum(row.rows < FEW_ROWS for row in scores)
    lines = [
        "Precision: how many of the rows given this class have it.",
        "Recall: how many of the rows that have it were given it.",
        "Rows: in the test set.",
    ]
    if few:
        lines.append(f"Classes with fewer than {FEW_ROWS} rows ({few:,} here) are hard to judge.")
    if len(scores) > MOST_CLASSES:
        scores = sorted(scores, key=lambda row: (math.isnan(row.f1), row.f1))[:WEAKEST]
        lines.append(f"These are the {WEAKEST} classes of {len(labels):,} with the lowest F1.")
    cells = [[text(row.label), *map(score, row[1:4]), f"{row.rows:,}"] for row in scores]
    scored = table(["class", "precision", "recall", "F1", "rows"], cells)
    return f"## Class by class\n\n{' '.join(lines)}\n\n{scored}"
