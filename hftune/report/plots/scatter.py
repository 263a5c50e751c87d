"""Images of predicted numbers: beside the true ones, and the images whose number is furthest off."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from hftune.data.dataset import Places
from hftune.report.plots.canvas import BLUE, GREEN, GREY, LINES, RED, TITLE, save
from hftune.report.plots.images import draw_rows
from hftune.report.plots.names import drawable

NAMED = 5  # points, the furthest off
MOST = 24  # images
MANY = 2000  # points: of more, single ones are hardly seen
ROOM = 0.04  # of the range, beside the outermost points


def draw_scatter(
    numbers: np.ndarray,
    targets: np.ndarray,
    name: str,
    radius: float | None,
    figure_of: Callable[[float], str],
    path: Path,
    places: Places | None = None,
) -> None:
    """Draws each predicted number above the true one, and the band in which nine of ten are to be.

    Args:
        numbers: The answers, float64 (N,).
        targets: The true numbers.
        name: What the number is called.
        radius: Half the height of the band; None: there is none.
        figure_of: Writes a number.
        path: The PNG.
        places: Where the rows stand in the user's data, for the numbers of those furthest off.
    """
    figure = Figure(figsize=(8, 7), dpi=100, layout="constrained")
    panel = figure.add_subplot()
    ends = _ends(targets)
    panel.plot(ends, ends, color=GREY, linewidth=1, label="right")
    if radius is not None:
        low, high = ends - radius, ends + radius
        panel.fill_between(ends, low, high, color=BLUE, alpha=0.1, linewidth=0, label="90 % interval")
    few = len(numbers) <= MANY
    alpha, size = (0.5, 14) if few else (max(0.03, 0.5 * MANY / len(numbers)), 5)
    panel.scatter(targets, numbers, s=size, color=BLUE, alpha=alpha, linewidths=0)
    errors = np.abs(numbers - targets)
    for row in np.argsort(-errors, kind="stable")[:NAMED].tolist():
        if errors[row] > 0:
            at = (float(targets[row]), float(numbers[row]))
            panel.scatter(*at, s=30, facecolors="none", edgecolors=RED, linewidths=1)
            written = f"row {row if places is None else places.rows[row]:,}"
            panel.annotate(written, at, (5, 3), textcoords="offset points", fontsize=9, color=RED)
    error = float(np.sqrt(np.square(errors).mean())) if len(errors) else 0.0
    panel.set_title(f"{len(numbers):,} test rows, RMSE {figure_of(error)}", **TITLE)
    panel.set_xlabel(f"true {drawable(name)}", fontsize=12, parse_math=False)
    panel.set_ylabel("prediction", fontsize=12)
    panel.set_xlim(*ends)
    panel.grid(color=LINES)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=11)
    if np.abs(ends).max() >= 10_000:
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.legend(fontsize=11, loc="upper left", framealpha=0.9)
    save(figure, path)


def _ends(targets: np.ndarray) -> np.ndarray:
    """Returns where the axis of the true numbers begins and ends."""
    least, most = (float(targets.min()), float(targets.max())) if len(targets) else (0.0, 1.0)
    room = ROOM * (most - least) or ROOM * abs(most) or ROOM
    return np.array([least - room, most + room])


def draw_furthest(
    image: Callable[[int], np.ndarray],
    numbers: np.ndarray,
    targets: np.ndarray,
    figure_of: Callable[[float], str],
    path: Path,
    places: Places | None = None,
) -> None:
    """Draws the images whose predicted number is furthest off: hard images and wrong numbers.

    Args:
        image: Returns a row's image, uint8 (H, W, 3).
        numbers: The answers, float64 (N,).
        targets: The true numbers.
        figure_of: Writes a number.
        path: The PNG.
        places: Where the rows stand in the user's data, written under each; None: their numbers alone.
    """
    chosen = np.argsort(-np.abs(numbers - targets), kind="stable")[:MOST].tolist()
    lines = [
        ((f"is: {figure_of(targets[row])}", GREEN), (f"said: {figure_of(numbers[row])}", RED))
        for row in chosen
    ]
    title = f"The {len(chosen)} of {len(targets):,} images that are furthest off"
    draw_rows(image, chosen, lines, path, title, places)
