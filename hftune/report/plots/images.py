"""Images of what a classifier of images does: mistakes, augmented views, heat maps."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hftune.data.dataset import Places
from hftune.report.plots.canvas import GREEN, GREY, RED, add_panel, new_figure, save_whole
from hftune.report.plots.names import class_names, drawable, end_of, name_style, shortened

TILE = 2.4  # inches, longer side of an image
PIXELS = 256  # to which a large image is scaled down first


def draw_mistakes(
    image: Callable[[int], np.ndarray],
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    path: Path,
    most: int = 24,
    places: Places | None = None,
) -> None:
    """Draws the wrong answers of which the model was most sure: hard images and wrong labels.

    Args:
        image: Returns a row's image, uint8 (H, W, 3).
        logits: Answers, float of shape (N, C).
        labels: Class numbers, int64 of shape (N,).
        names: The C class names.
        path: The PNG.
        most: Images to show at most.
        places: Where the rows stand in the user's data, written under each; None: their numbers alone.
    """
    odds = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    probabilities = odds / odds.sum(axis=1, keepdims=True)  # (N, C)
    answers = logits.argmax(axis=1)
    sure = probabilities[np.arange(len(answers)), answers]
    wrong = np.flatnonzero(answers != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:most].tolist()
    shown = [shortened(name, 17) for name in class_names(names)]
    title = f"{len(wrong):,} of {len(labels):,} wrong" if chosen else f"No mistakes in {len(labels):,} images"
    if len(chosen) < len(wrong):
        title += f": the {len(chosen)} of which the model was most sure"
    lines = [
        ((f"is: {shown[labels[row]]}", GREEN), (f"said: {shown[answers[row]]} {sure[row]:.0%}", RED))
        for row in chosen
    ]
    draw_rows(image, chosen, lines, path, title, places)


def draw_rows(
    image: Callable[[int], np.ndarray],
    rows: Sequence[int],
    lines: Sequence[tuple[tuple[str, str], tuple[str, str]]],
    path: Path,
    title: str,
    places: Places | None = None,
) -> None:
    """Draws some rows of a set: above each image its number and two lines.

    Args:
        image: Returns a row's image, uint8 (H, W, 3).
        rows: Which.
        lines: Of each, with their colours.
        path: The PNG.
        title: Written on top.
        places: Where the rows stand in the user's data, written under each; None: their numbers alone.
    """
    figure, panels = _tiles(len(rows), 6, title, lines_of_text=3 + (places is not None))
    for panel, row, written in zip(panels, rows, lines, strict=True):
        _show(panel, image(row))
        _write_above(panel, (f"row {row if places is None else places.rows[row]:,}", GREY), *written)
        if places is not None:
            panel.set_xlabel(end_of(drawable(places.place(row))), color=GREY, labelpad=2, **name_style(8))
    save_whole(figure, path)


def draw_views(
    originals: Sequence[np.ndarray],
    views: Sequence[Sequence[np.ndarray]],
    labels: np.ndarray,
    names: Sequence[str],
    path: Path,
    title: str,
) -> None:
    """Draws images, and under each of them its augmented views.

    Args:
        originals: Images, uint8 (H, W, 3) of any sizes.
        views: For each image its views, uint8 (S, S, 3), equally many.
        labels: The class number of each image, int64.
        names: The C class names.
        path: The PNG.
        title: Written on top, may have several lines.
    """
    images = [*originals, *(each[depth] for depth in range(len(views[0])) for each in views)]
    figure, panels = _tiles(len(images), len(originals), title, lines_of_text=1)
    for panel, image in zip(panels, images, strict=True):
        _show(panel, image)
    shown = class_names(names)
    for panel, label in zip(panels, labels, strict=False):
        _write_above(panel, (shortened(shown[label]), "black"))
    panels[0].set_ylabel("original", fontsize=12)
    panels[len(originals)].set_ylabel("views in training", fontsize=12)
    save_whole(figure, path)


def draw_overlays(
    images: Sequence[np.ndarray], heatmaps: Sequence[np.ndarray], titles: Sequence[str], path: Path
) -> None:
    """Draws each image and, beside it, the image under its heat map: red is where the class was seen.

    Args:
        images: uint8 (H, W, 3).
        heatmaps: For each image a map over all of it, float (h, w) from 0 to 1.
        titles: For each image a line to write above it.
        path: The PNG.
    """
    figure, panels = _tiles(2 * len(images), 2 if len(images) < 4 else 6, "", lines_of_text=1)
    for place, (image, heat, title) in enumerate(zip(images, heatmaps, titles, strict=True)):
        plain, overlaid = panels[2 * place : 2 * place + 2]
        _show(plain, image)
        height, width = _show(overlaid, image)
        across = (-0.5, width - 0.5, height - 0.5, -0.5)
        # Where it is cold, the image stays as it is.
        overlaid.imshow(
            heat,
            cmap="turbo",
            vmin=0,
            vmax=1,
            alpha=0.6 * np.sqrt(heat),
            extent=across,
            interpolation="bilinear",
        )
        _write_above(plain, (drawable(shortened(title, 40)), "black"), left=True)
    save_whole(figure, path)


def _tiles(count: int, columns: int, title: str, lines_of_text: int) -> tuple[Figure, list[Axes]]:
    """Places squares for images line by line, under a title, with room for lines of text above each."""
    figure = new_figure()
    columns = max(min(count, columns), 1)
    across, down = TILE + 0.12, TILE + 0.12 + 0.2 * lines_of_text
    panels = [
        add_panel(figure, place % columns * across, -(place // columns) * down, TILE, TILE)
        for place in range(count)
    ]
    for panel in panels:
        panel.set_anchor("N")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    figure.text(
        columns * across / 2 - 0.06,
        down + 0.08,
        drawable(title),
        ha="center",
        va="bottom",
        fontweight="bold",
        **name_style(14),
    )
    return figure, panels


def _show(panel: Axes, image: np.ndarray) -> tuple[int, int]:
    """Shows an image, pixels of a small one as squares; returns its height and width as shown."""
    shown = Image.fromarray(image)
    shown.thumbnail((PIXELS, PIXELS))  # a figure of photographs would need gigabytes
    panel.imshow(np.asarray(shown), interpolation="nearest" if max(shown.size) <= 64 else "antialiased")
    return shown.height, shown.width


def _write_above(panel: Axes, *lines: tuple[str, str], left: bool = False) -> None:
    """Writes lines, each in its colour, above an image."""
    for place, (text, colour) in enumerate(reversed(lines)):
        panel.annotate(
            text,
            (0 if left else 0.5, 1),
            (0, 3 + 14 * place),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="left" if left else "center",
            color=colour,
            **name_style(10),
        )
