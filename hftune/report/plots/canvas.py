"""What all plots share: colours, figures that are laid out in inches, and how they are saved."""

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hftune.storage.files import write_bytes

RED, GREEN, BLUE, GREY, PALE = "#b42318", "#1b7f3b", "#1f5fa8", "#6b7280", "#b6bcc6"
ORANGE, VIOLET = "#d9730d", "#8a4fbf"
LINES = "#e5e7eb"  # of a grid
TITLE: dict[str, Any] = {"fontsize": 14, "fontweight": "bold"}


def new_figure() -> Figure:
    """Returns a figure of one square inch, whose panels are placed in inches; `save_whole` takes in all."""
    return Figure(figsize=(1, 1), dpi=100)


def add_panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds a panel at a place in inches; what is written around it has no share in its size."""
    return figure.add_axes((left, bottom, width, height))


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Writes a figure in the format of the path's suffix, PNG where it has none; whole, or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:] or "png", **options)
    write_bytes(path, buffer.getvalue())


def save_whole(figure: Figure, path: Path) -> None:
    """Writes a figure that was laid out by `add_panel`, with all that stands around its panels."""
    save(figure, path, bbox_inches="tight", pad_inches=0.15)
