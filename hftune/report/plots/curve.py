"""The course of one run: losses, learning rate and validation scores over its steps."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from hftune.report.plots.canvas import BLUE, GREY, LINES, ORANGE, save
from hftune.tasks.base import Task

COLOURS = ["#2e8b57", "#8a4fbf", "#c2255c", "#0f9fb5", "#7a6a00", "#e377c2", "#444444", "#5b3a1d"]


def draw_curve(
    log_lines: Sequence[Mapping[str, Any]],
    path: Path,
    task: Task,
    metric_for_best_model: str,
    loss_apart: bool = False,
) -> None:
    """Draws losses, learning rate and validation scores over the steps: a PNG of 1200 x 500 pixels.

    Args:
        log_lines: Records of `log.jsonl`: `step` with `loss` and `learning_rate`, or with `eval_*`.
        path: The image.
        task: Names the scores.
        metric_for_best_model: The score that says which step is best; where it was not logged, the loss.
        loss_apart: Whether the training minimised another loss than the validation's log loss, so that
            each has a panel of its own.
    """
    logged = dict.fromkeys(key for line in log_lines for key in line if key.startswith("eval_"))
    # Errors lie near 0, scores near 1: one axis shows only one kind well.
    metrics = [key for key in logged if _rises(task, key)]
    best = f"eval_{metric_for_best_model}"
    best = best if best in logged else "eval_loss"
    error = best if loss_apart and not _rises(task, best) else "eval_loss"
    figure = Figure(figsize=(12, 5), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    grid = figure.add_gridspec(3, 2 if metrics else 1, height_ratios=[2, 2, 1])
    if loss_apart:
        losses = figure.add_subplot(grid[0, 0], title="Training loss (another than validation's)")
        validation = figure.add_subplot(grid[1, 0], sharex=losses, title=f"Validation {_title(task, error)}")
        validation.tick_params(labelbottom=False)
    else:
        losses = validation = figure.add_subplot(grid[:2, 0], title="Loss", ylabel="loss")
    rate = figure.add_subplot(grid[2, 0], sharex=losses, xlabel="optimizer step", ylabel="learning\nrate")
    _draw_line(losses, log_lines, "loss", "training", BLUE)
    _draw_line(validation, log_lines, error, "validation", ORANGE, marker="o")
    _draw_line(rate, log_lines, "learning_rate", "", GREY)
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.set_ylim(bottom=0)
    losses.tick_params(labelbottom=False)
    if best == error:
        _mark_best(validation, log_lines, best, task)
    panels = list(dict.fromkeys([losses, validation, rate]))
    if metrics:
        scores = figure.add_subplot(grid[:, 1], sharex=losses, title="Validation scores", ylabel="score")
        scores.set_xlabel("optimizer step")
        for place, key in enumerate(metrics):
            _draw_line(scores, log_lines, key, _title(task, key), COLOURS[place % len(COLOURS)], marker="o")
        if best != error:
            _mark_best(scores, log_lines, best, task)
        panels.append(scores)
    for panel in panels:
        _tidy(panel)
    if metrics:  # beside the panel: many lines leave no corner free
        scores.legend(fontsize=11, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save(figure, path)


def _draw_line(
    panel: Axes, log_lines: Sequence[Mapping[str, Any]], key: str, label: str, colour: str, marker: str = ""
) -> None:
    """Draws one logged value over the steps; nothing where it was never logged."""
    points = [(line["step"], line[key]) for line in log_lines if key in line]
    if len(points) == 1:
        marker = "o"  # one point has no line to be seen by
    if points:
        panel.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker)


def _mark_best(panel: Axes, log_lines: Sequence[Mapping[str, Any]], key: str, task: Task) -> None:
    """Rings the best value, the first of equal ones, and names its step."""
    sign = 1 if _rises(task, key) else -1
    points = [(line["step"], line[key]) for line in log_lines if key in line and math.isfinite(line[key])]
    if not points:
        return
    step, value = max(points, key=lambda point: (sign * point[1], -point[0]))
    panel.axvline(step, color=GREY, linewidth=1, linestyle=":")
    label = f"best: {_title(task, key)} {task.figure(value)} at step {step:,}"
    panel.plot(
        step,
        value,
        marker="o",
        markersize=13,
        fillstyle="none",
        markeredgewidth=2,
        color="black",
        linestyle="",
        label=label,
    )


def _title(task: Task, key: str) -> str:
    return task.title(key.removeprefix("eval_"))


def _rises(task: Task, key: str) -> bool:
    """Returns whether more of a logged score is better."""
    return task.metric(key.removeprefix("eval_")).greater_is_better


def _tidy(panel: Axes) -> None:
    """Gives a panel readable text, whole steps and a legend where there is something to tell apart."""
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.grid(color=LINES)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.title.set(fontsize=14, fontweight="bold")
    for text in (panel.xaxis.label, panel.yaxis.label):
        text.set_fontsize(12)
    panel.tick_params(labelsize=11)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize=11, framealpha=0.9)
