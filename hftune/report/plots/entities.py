"""What became of the entities of each type: found, or how they were missed, and what was made up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure

from hftune import seed
from hftune.report.plots.canvas import BLUE, GREEN, GREY, LINES, ORANGE, PALE, RED, TITLE, VIOLET, save
from hftune.report.plots.names import class_names

DRAWS = 1000
MOST_TYPES = 40  # of more, those with most entities are drawn
COLOURS = {"found": GREEN, "other type": VIOLET, "other words": ORANGE, "missed": PALE}


class Entities(Protocol):
    """Arrays of E entities, int64 (E,)."""

    @property
    def start(self) -> np.ndarray:
        """The first word of each."""

    @property
    def end(self) -> np.ndarray:
        """The word behind its last."""

    @property
    def type(self) -> np.ndarray:
        """Its type."""

    @property
    def row(self) -> np.ndarray:
        """The row that it stands in."""


def draw_entities(
    given: Entities, true: Entities, right: np.ndarray, types: Sequence[str], path: Path
) -> None:
    """Draws F1 of each type with its 95 % interval, and beside it what became of its entities.

    Args:
        given: The predicted entities, in the order of their words.
        true: Those that are there, likewise.
        right: Which of the predicted are right, bool (E,).
        types: The names of the types.
        path: The PNG.
    """
    there = np.bincount(true.type, minlength=len(types))
    shown = np.argsort(-there, kind="stable")[:MOST_TYPES]
    names = class_names([types[kind] for kind in shown])
    names = [f"{name} ({there[kind]:,})" for name, kind in zip(names, shown, strict=True)]
    fates = _fates(given, true)
    low, value, high = _f1(given, true, right, len(types))
    made_up = np.bincount(given.type[~right & ~_touches(given, true)], minlength=len(types))
    figure = Figure(figsize=(13, 1.8 + 0.55 * len(shown)), dpi=100, layout="constrained")
    scores, parts = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(shown))
    scores.barh(places, np.nan_to_num(value[shown]), color=BLUE, height=0.6)
    error = np.nan_to_num(np.stack([(value - low)[shown], (high - value)[shown]]))
    scores.errorbar(np.nan_to_num(value[shown]), places, xerr=error, fmt="none", ecolor="black", capsize=4)
    for place, kind in zip(places, shown, strict=True):
        text = "-" if np.isnan(value[kind]) else f"{value[kind]:.2f}"
        scores.text(min(0.93, np.nan_to_num(high[kind]) + 0.02), place, text, va="center", fontsize=11)
    scores.set_xlim(0, 1)
    scores.set_title("F1 and its 95 % interval", **TITLE)
    scores.set_yticks(places, names, fontsize=12)
    scores.invert_yaxis()
    left = np.zeros(len(shown))
    for fate, colour in COLOURS.items():
        count = np.bincount(true.type[fates == fate], minlength=len(types))[shown]
        parts.barh(places, count, left=left, color=colour, height=0.6, label=fate)
        left = left + count
    parts.barh(places, -made_up[shown], color=RED, height=0.6, label="made up (where no entity is)")
    parts.axvline(0, color="black", linewidth=0.8)
    parts.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    parts.set_title("What became of the entities", **TITLE)
    figure.legend(
        *parts.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=11
    )
    for panel in (scores, parts):
        panel.grid(axis="x", color=LINES)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=GREY, labelcolor="black")
    save(figure, path)


def _overlaps(these: Entities, those: Entities) -> tuple[np.ndarray, np.ndarray]:
    """Returns of each of these the first of those that shares a word with it, and whether there is one."""
    place = np.searchsorted(those.end, these.start, side="right")
    inside = place < len(those.start)
    place = np.minimum(place, max(0, len(those.start) - 1))
    return place, inside & (those.start[place] < these.end) if len(those.start) else inside


def _touches(these: Entities, those: Entities) -> np.ndarray:
    return _overlaps(these, those)[1]


def _fates(given: Entities, true: Entities) -> np.ndarray:
    """Returns what became of each true entity, a key of `COLOURS`."""
    place, touched = _overlaps(true, given)
    fates = np.full(len(true.start), "missed", dtype="<U11")
    if len(given.start):
        same = touched & (given.start[place] == true.start) & (given.end[place] == true.end)
        alike = given.type[place] == true.type
        fates[touched] = "other words"
        fates[same & ~alike] = "other type"
        fates[same & alike] = "found"
    return fates


def _f1(given: Entities, true: Entities, right: np.ndarray, types: int) -> tuple[np.ndarray, ...]:
    """Returns F1 of each type with the limits of its bootstrap over rows, each (types,)."""
    rows = int(max([*given.row[-1:], *true.row[-1:]], default=-1)) + 1

    def table(these: Entities, which: np.ndarray) -> np.ndarray:
        flat = np.bincount(these.row[which] * types + these.type[which], minlength=rows * types)
        return flat.reshape(rows, types)

    hits = 2 * table(given, right)
    both = table(given, np.ones_like(right)) + table(true, np.ones(len(true.row), bool))

    def score(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ hits) / (weights @ both)

    random = seed.generator("interval", "types")
    weights = (
        random.multinomial(rows, np.full(rows, 1 / max(1, rows)), size=DRAWS) if rows else np.zeros((1, 0))
    )
    value = score(np.ones((1, rows)))[0]
    draws = score(weights)
    low, high = np.quantile(np.where(np.isnan(draws), value, draws), [0.025, 0.975], axis=0)
    return np.fmin(low, value), value, np.fmax(high, value)
