"""The course of several runs in one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from hftune.report.plots.canvas import TITLE, save
from hftune.report.plots.names import drawable


def draw_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, title: str, path: Path) -> None:
    """Draws training loss and validation score of all runs over their steps: a PNG of 1200 x 500 pixels.

    Args:
        logs: The records of each run's `log.jsonl`, by the name that the legend has.
        metric: Which score.
        title: What it is called.
        path: The image.
    """
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for place, (name, lines) in enumerate(logs.items()):
        for panel, key, mark in ((losses, "loss", ""), (scores, f"eval_{metric}", "o")):
            points = [(line["step"], line[key]) for line in lines if key in line]
            if points:
                panel.plot(
                    *zip(*points, strict=True), color=f"C{place % 10}", marker=mark, label=drawable(name)
                )
    for panel, heading in ((losses, "Training loss"), (scores, f"Validation {title}")):
        panel.set_title(heading, **TITLE)
        panel.set_xlabel("optimizer step")
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.grid(alpha=0.3)
    losses.legend(frameon=False)
    save(figure, path)
