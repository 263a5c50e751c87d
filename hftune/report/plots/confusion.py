"""How often each class was taken for each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from hftune.report.plots.canvas import BLUE, GREY, PALE, TITLE, add_panel, new_figure, save_whole
from hftune.report.plots.names import class_names, name_style, shortened

WITH_NUMBERS = 20  # classes: with more, numbers in the cells of a confusion matrix are too small to read
MOST_CLASSES = 120  # drawn one by one; of more, those of WORST and the rest in one: names must stay readable
WORST = 60  # classes
PAIRS = 25  # most confused pairs, listed beside a large matrix


def draw_confusion(counts: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draws how often each class was taken for each other.

    Up to 20 classes each cell has its count and its share of the row; above, the most confused pairs
    are listed beside the matrix. Of more than 120 classes the 60 that are confused most have a row, and
    the others share one. The colour is the share of the row, so that rare classes show too.

    Args:
        counts: int64 of shape (C, C): rows are labels, columns predictions.
        labels: The C class names.
        path: The PNG.
    """
    right, rows, names = int(np.trace(counts)), int(counts.sum()), class_names(labels)
    title = f"{right:,} of {rows:,} right ({right / max(rows, 1):.1%})"
    pairs = _confused_pairs(counts, names)
    if len(names) > MOST_CLASSES:
        counts, names = _most_confused(counts, names)
        title += f"\nthe {WORST} classes confused most, the others summed up"
    classes = len(names)
    with_numbers = classes <= WITH_NUMBERS
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]  # (C, C)
    cell = max(0.66, 2.6 / classes) if with_numbers else max(0.135, 7 / classes)  # inches
    side = cell * classes
    figure = new_figure()
    matrix = add_panel(figure, 0, 0, side, side)
    # Most confusions are a small share: with many classes only a root of it shows beside the diagonal.
    image = matrix.imshow(shares, cmap="Blues", norm=PowerNorm(1 if with_numbers else 0.5, 0, 1))
    matrix.set_title(title, pad=12, **TITLE)
    _name_cells(matrix, names, totals, size=11 if with_numbers else min(cell * 72 * 0.75, 11))
    bar = figure.colorbar(image, cax=add_panel(figure, side + 0.2, 0, 0.18, side), format="{x:.0%}")
    bar.set_label("share of the label's rows", fontsize=10)
    if with_numbers:
        _write_numbers(matrix, counts, shares)
    else:
        _list_pairs(figure, side, pairs)
    save_whole(figure, path)


def _most_confused(counts: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Keeps the classes with the most errors, in their order, and sums the others up in a last one."""
    wrong = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:WORST])
    group = np.full(len(names), WORST)
    group[kept] = np.arange(WORST)
    summed = np.zeros((WORST + 1, WORST + 1), counts.dtype)
    np.add.at(summed, (group[:, None], group[None, :]), counts)
    return summed, [*(names[number] for number in kept), f"{len(names) - WORST:,} others"]


def _confused_pairs(counts: np.ndarray, names: Sequence[str]) -> list[tuple[str, int, float]]:
    """Returns the most confused pairs of classes: their names, the rows, the share of the label's."""
    wrong = counts - np.diag(np.diag(counts))
    shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS].tolist()
    return [
        (
            f"{shortened(names[label])} → {shortened(names[said])}",
            int(wrong[label, said]),
            shares[label, said],
        )
        for label, said in (divmod(place, len(names)) for place in order)
        if wrong[label, said]
    ]


def _name_cells(panel: Axes, names: Sequence[str], totals: np.ndarray, size: float) -> None:
    """Names rows, with their numbers of rows, and columns of a confusion matrix."""
    places = range(len(names))
    short = [shortened(name) for name in names]
    rows = [f"{name} ({total:,})" for name, total in zip(short, totals, strict=True)]
    turned: dict[str, Any] = {}
    if len(names) > WITH_NUMBERS:
        turned = {"rotation": 90}
    elif max(map(len, short)) > 7:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    panel.set_xticks(places, short, **name_style(size), **turned)
    panel.set_yticks(places, rows, **name_style(size))
    panel.set_xlabel("prediction", fontsize=12)
    panel.set_ylabel("label", fontsize=12)
    panel.tick_params(length=0)


def _write_numbers(panel: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Writes count and share into each cell, in a colour that stands out from it; zeros stay pale."""
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.55 else "black" if count else PALE
        cell: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
        bold = "bold" if row == column else "normal"
        written = f"{count:,}" if count < 10**5 else f"{count / 1000:,.0f}k"
        for text, height, style in (
            (written, 5, {"fontsize": 11, "fontweight": bold}),
            (f"{share:.1%}", -9, {"fontsize": 8.5}),
        ):
            if count or height > 0:
                panel.annotate(
                    text,
                    (column, row),
                    (0, height if count else 0),
                    textcoords="offset points",
                    **cell,
                    **style,
                )


def _list_pairs(figure: Figure, side: float, pairs: Sequence[tuple[str, int, float]]) -> None:
    """Draws, beside a matrix of so many inches, a bar for each of the most confused pairs of classes."""
    written = [name for name, _, _ in pairs]
    height = 0.28 * max(len(pairs), 1)
    words = 0.09 * max(map(len, written), default=0)
    panel = add_panel(figure, side + 1.4 + words, side - height, 3, height)
    panel.set_title("Most confused" if pairs else "No confusion", pad=12, **TITLE)
    panel.spines[:].set_visible(False)
    panel.set_xticks([])
    panel.set_yticks(range(len(pairs)), written, **name_style(10))
    panel.tick_params(length=0)
    if pairs:
        bars = panel.barh(range(len(pairs)), [rows for _, rows, _ in pairs], color=BLUE, height=0.65)
        written = [f"{rows:,} ({share:.0%})" for _, rows, share in pairs]
        panel.bar_label(bars, written, padding=4, fontsize=10)
        panel.set_ylim(len(pairs) - 0.5, -0.5)  # the first on top
        panel.set_xlabel("label → prediction: rows (share of the label's)", fontsize=10, color=GREY)
