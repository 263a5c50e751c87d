"""Images of what a classifier of images does: confusions, mistakes, augmented views, heat maps.

Every one is a PNG, drawn without pyplot, so that no window is needed and no figure stays open.
"""

import io
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from hftune.data.dataset import Places
from hftune.storage.files import write_bytes
from hftune.tasks.base import LabelScores

WITH_NUMBERS = 20  # classes: with more, numbers in the cells of a confusion matrix are too small to read
MOST_CLASSES = 120  # drawn one by one; of more, those of WORST and the rest in one: names must stay readable
WORST = 60  # classes
PAIRS = 25  # most confused pairs, listed beside a large matrix
TILE = 2.4  # inches, longer side of an image
PIXELS = 256  # to which a large image is scaled down first
# matplotlib's own font has Latin, Greek, Cyrillic, Arabic and more; these have the rest, where installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)
RED, GREEN, BLUE, GREY, PALE = "#b42318", "#1b7f3b", "#1f5fa8", "#6b7280", "#b6bcc6"
TITLE: dict[str, Any] = {"fontsize": 14, "fontweight": "bold"}


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
    figure = _figure()
    matrix = _place(figure, 0, 0, side, side)
    # Most confusions are a small share: with many classes only a root of it shows beside the diagonal.
    image = matrix.imshow(shares, cmap="Blues", norm=PowerNorm(1 if with_numbers else 0.5, 0, 1))
    matrix.set_title(title, pad=12, **TITLE)
    _name_cells(matrix, names, totals, size=11 if with_numbers else min(cell * 72 * 0.75, 11))
    bar = figure.colorbar(image, cax=_place(figure, side + 0.2, 0, 0.18, side), format="{x:.0%}")
    bar.set_label("share of the label's rows", fontsize=10)
    if with_numbers:
        _write_numbers(matrix, counts, shares)
    else:
        _list_pairs(figure, side, pairs)
    _save(figure, path)


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
            f"{_shortened(names[label])} → {_shortened(names[said])}",
            int(wrong[label, said]),
            shares[label, said],
        )
        for label, said in (divmod(place, len(names)) for place in order)
        if wrong[label, said]
    ]


def _name_cells(panel: Axes, names: Sequence[str], totals: np.ndarray, size: float) -> None:
    """Names rows, with their numbers of rows, and columns of a confusion matrix."""
    places = range(len(names))
    short = [_shortened(name) for name in names]
    rows = [f"{name} ({total:,})" for name, total in zip(short, totals, strict=True)]
    turned: dict[str, Any] = {}
    if len(names) > WITH_NUMBERS:
        turned = {"rotation": 90}
    elif max(map(len, short)) > 7:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    panel.set_xticks(places, short, **_text(size), **turned)
    panel.set_yticks(places, rows, **_text(size))
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
    panel = _place(figure, side + 1.4 + words, side - height, 3, height)
    panel.set_title("Most confused" if pairs else "No confusion", pad=12, **TITLE)
    panel.spines[:].set_visible(False)
    panel.set_xticks([])
    panel.set_yticks(range(len(pairs)), written, **_text(10))
    panel.tick_params(length=0)
    if pairs:
        bars = panel.barh(range(len(pairs)), [rows for _, rows, _ in pairs], color=BLUE, height=0.65)
        written = [f"{rows:,} ({share:.0%})" for _, rows, share in pairs]
        panel.bar_label(bars, written, padding=4, fontsize=10)
        panel.set_ylim(len(pairs) - 0.5, -0.5)  # the first on top
        panel.set_xlabel("label → prediction: rows (share of the label's)", fontsize=10, color=GREY)


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
    rows = [f"{_shortened(names[number])} ({scores[number].rows:,})" for number in shown]
    figure, heights = _figure(), range(len(shown))
    panel = _place(figure, 0, 0, 6, 0.27 * max(len(shown), 1))
    title = f"F1 of each label, {np.mean(f1[known]) if known else 0:.3f} on average"
    title += f"\n{WORST} of {len(known)} labels, the weakest" if len(shown) < len(known) else ""
    panel.set_title(title, pad=12, **TITLE)
    panel.barh(heights, f1[shown], color=BLUE, height=0.65)
    low, high = limits[shown].T
    panel.hlines(heights, low, high, color="black", linewidth=1)
    for height, number in zip(heights, shown, strict=True):
        said = ("never given", RED) if number in never else (f"{f1[number]:.2f}", "black")
        panel.text(1.01, height, said[0], color=said[1], va="center", fontsize=10)
    panel.set_yticks(heights, rows, **_text(10))
    panel.set_ylim(len(shown) - 0.4, -0.6)
    panel.set_xlim(0, 1)
    panel.grid(axis="x", color="#e5e7eb")
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel(
        "F1, line: 95 % interval; in brackets: test rows that have the label", fontsize=10, color=GREY
    )
    _save(figure, path)


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
    shown = [_shortened(name, 17) for name in class_names(names)]
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
            panel.set_xlabel(_end_of(drawable(places.place(row))), color=GREY, labelpad=2, **_text(8))
    _save(figure, path)


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
        _write_above(panel, (_shortened(shown[label]), "black"))
    panels[0].set_ylabel("original", fontsize=12)
    panels[len(originals)].set_ylabel("views in training", fontsize=12)
    _save(figure, path)


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
        _write_above(plain, (drawable(_shortened(title, 40)), "black"), left=True)
    _save(figure, path)


def _figure() -> Figure:
    """Returns a figure of one square inch: panels are placed in inches, and `_save` takes in all of them."""
    return Figure(figsize=(1, 1), dpi=100)


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds a panel at a place in inches; what is written around it has no share in its size."""
    return figure.add_axes((left, bottom, width, height))


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:] or "png", bbox_inches="tight", pad_inches=0.15)
    write_bytes(path, buffer.getvalue())


def _tiles(count: int, columns: int, title: str, lines_of_text: int) -> tuple[Figure, list[Axes]]:
    """Places squares for images line by line, under a title, with room for lines of text above each."""
    figure = _figure()
    columns = max(min(count, columns), 1)
    across, down = TILE + 0.12, TILE + 0.12 + 0.2 * lines_of_text
    panels = [
        _place(figure, place % columns * across, -(place // columns) * down, TILE, TILE)
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
        **_text(14),
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
            **_text(10),
        )


def _text(size: float) -> dict[str, Any]:
    """Returns how names are written: in fonts that have their characters, and `$` is a dollar."""
    return {"fontsize": size, "fontfamily": [name for name, _ in _fonts()], "parse_math": False}


@cache
def _fonts() -> tuple[tuple[str, Any], ...]:
    """Returns the installed fonts by name: those of `FONTS` in that order, then Noto's of other scripts."""
    installed = set(font_manager.get_font_names())
    others = sorted(name for name in installed - {*FONTS} if name.startswith("Noto Sans "))
    return tuple(
        (name, font_manager.get_font(font_manager.findfont(name)))
        for name in (*FONTS, *others)
        if name in installed
    )


def drawable(text: str) -> str:
    """Returns a text with codes such as <U+732B> for the characters that no installed font has."""

    def known(letter: str) -> bool:
        return letter.isspace() or any(font.get_char_index(ord(letter)) for _, font in _fonts())

    return "".join(letter if known(letter) else f"<U+{ord(letter):04X}>" for letter in text)


def class_names(names: Sequence[str]) -> list[str]:
    """Returns the names, with those that no installed font can write as `class N`, N their number."""
    return [drawable_or(name, f"class {number}") for number, name in enumerate(names)]


def drawable_or(text: str, otherwise: str) -> str:
    """Returns a text, or another where no installed font has all of its characters."""
    return text if drawable(text) == text else otherwise


def _end_of(place: str, most: int = 36) -> str:
    """Cuts a long place at its start: what tells it from others is its file and line."""
    return place if len(place) <= most else f"…{place[1 - most :]}"


def _shortened(name: str, most: int = 24) -> str:
    """Cuts the middle out of a long name: both ends may tell it from others."""
    name = " ".join(name.split())
    keep = most - 1
    return name if len(name) <= most else f"{name[: keep - keep // 3]}…{name[-(keep // 3) :]}"
