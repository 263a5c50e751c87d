"""What the model card says of single labels: their names, and how well each is recognised."""

import math
from collections.abc import Sequence

from hftune.report.markdown import score, table, text
from hftune.tasks.metric import LabelScores

MOST_LABELS = 20  # named in the first sentence
MOST_ROWS = 40  # of the table, one for each label; of more, the weakest are shown
WEAKEST = 20
FEW_ROWS = 30  # of a label: its own scores then swing by more than a tenth


def named_labels(labels: Sequence[str]) -> str:
    """Returns the names of the first labels, and how many more there are."""
    named = ", ".join(f"**{text(label)}**" for label in labels[:MOST_LABELS])
    more = len(labels) - MOST_LABELS
    return named + (f" and {more:,} more, all listed in `config.json`" if more > 0 else "")


def label_section(scores: Sequence[LabelScores], units: str = "rows") -> str:
    """Returns the scores of each label under a title of their own, "" where nothing has one.

    Args:
        scores: Those of each label.
        units: What is given a label: "rows".
    """
    if not any(row.rows for row in scores):
        return ""
    few = sum(row.rows < FEW_ROWS for row in scores)
    lines = [
        f"Precision: how many of the {units} given this class have it.",
        f"Recall: how many of the {units} that have it were given it.",
        f"{units.capitalize()}: in the test set.",
    ]
    if few:
        lines.append(f"Classes with fewer than {FEW_ROWS} {units} ({few:,} here) are hard to judge.")
    if never := [row.label for row in scores if row.rows and math.isnan(row.precision)]:
        lines.append(f"Never given: {named_labels(never)}.")
    shown = list(scores)
    if len(shown) > MOST_ROWS:
        shown = sorted(shown, key=lambda row: (math.isnan(row.f1), row.f1))[:WEAKEST]
        lines.append(f"These are the {WEAKEST} classes of {len(scores):,} with the lowest F1.")
    tuned = any(row.threshold is not None for row in scores)
    if tuned:
        lines.append("Threshold: the probability above which a row gets it, chosen on the validation rows.")
    cells = [
        [
            text(row.label),
            *map(score, (row.precision, row.recall, row.f1)),
            f"{row.rows:,}",
            *([f"{row.threshold:.4g}"] if tuned else []),
        ]
        for row in shown
    ]
    scored = table(["class", "precision", "recall", "F1", units, *(["threshold"] if tuned else [])], cells)
    return f"## Class by class\n\n{' '.join(lines)}\n\n{scored}"
