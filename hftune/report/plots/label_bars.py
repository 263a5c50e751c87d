"""How well each of several labels is recognised."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hftune.report.plots.canvas import BLUE, GREY, LINES, RED, TITLE, add_panel, new_figure, save_whole
from hftune.report.plots.names import class_names, name_style, shortened
from hftune.tasks.metric import LabelScores

WORST = 60  # labels that are drawn, of more


def draw_label_bars(scores: Sequence[LabelScores], limits: np.ndarray, path: Path) -> None:
    """Draws the F1 of each label, the highest on top, with its interval.

    Labels that no row has are left out, as their F1 says nothing. Of more than 60 the weakest are drawn.

    Args:
        scores: Of each label.
        limits: The low and the high limit of each F1, float (C, 2).
        path: The PNG.
    """
    known = [number for number, one in enumerate(scores) if one.rows]
    f1 = np.nan_to_num([one.f1 for one in scores])
    never = [number for number in known if math.isnan(scores[number].precision)]
    shown = sorted(known, key=lambda number: (-f1[number], number))[-WORST:]
    names = class_names([one.label for one in scores])
    rows = [f"{shortened(names[number])} ({scores[number].rows:,})" for number in shown]
    figure, heights = new_figure(), range(len(shown))
    panel = add_panel(figure, 0, 0, 6, 0.27 * max(len(shown), 1))
    title = f"F1 of each label, {np.mean(f1[known]) if known else 0:.3f} on average"
    title += f"\n{WORST} of {len(known)} labels, the weakest" if len(shown) < len(known) else ""
    panel.set_title(title, pad=12, **TITLE)
    panel.barh(heights, f1[shown], color=BLUE, height=0.65)
    low, high = limits[shown].T
    panel.hlines(heights, low, high, color="black", linewidth=1)
    for height, number in zip(heights, shown, strict=True):
        said = ("never given", RED) if number in never else (f"{f1[number]:.2f}", "black")
        panel.text(1.01, height, said[0], color=said[1], va="center", fontsize=10)
    panel.set_yticks(heights, rows, **name_style(10))
    panel.set_ylim(len(shown) - 0.4, -0.6)
    panel.set_xlim(0, 1)
    panel.grid(axis="x", color=LINES)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel(
        "F1, line: 95 % interval; in brackets: test rows that have the label", fontsize=10, color=GREY
    )
    save_whole(figure, path)
