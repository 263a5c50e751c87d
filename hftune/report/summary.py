"""What a person sees at the end of a run: a table and a verdict."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hftune.errors import printable
from hftune.report.pairs import PARTS, pair_lines
from hftune.tasks.base import Task


def print_summary(
    console: Console,
    name: str,
    results: Mapping[str, float],
    run_dir: Path,
    next_steps: Sequence[str],
    task: Task,
    *,
    advice: str = "",
) -> None:
    """Prints how a finished run ended.

    Args:
        console: Where to.
        name: The recipe's name.
        results: The content of `all_results.json`.
        run_dir: Where model and results lie.
        next_steps: What a person may do now, one line each.
        task: What the model was asked; it names labels and scores.
        advice: What to try next where the model is no better than a simple one, "" for nothing.
    """
    console.print()
    if metrics_of(results, task):
        table = summary_table(name, results, task)
        console.print(table, soft_wrap=False)  # cells wrap on a narrow terminal
    lines = [
        *answered_alike(results, task),
        verdict(results, task),
        *pair_lines(results, task),
        agreement(results),
        advice,
        _effort(results),
        f"saved in {run_dir}",
        *(f"  {step}" for step in next_steps),
    ]
    for line in filter(None, lines):
        console.print(printable(line), markup=False, emoji=False)


def summary_table(
    name: str,
    results: Mapping[str, float],
    task: Task,
    split: str = "test",
) -> Table:
    """Lays out the scores, one metric a row; a column without any score is left out.

    Args:
        name: The table's title.
        results: Flat scores: `eval_METRIC`, `test_METRIC` with `_low` and `_high`, its 95 % interval, and the
            scores beside them, such as `test_tfidf_METRIC` and `test_majority_METRIC`.
        task: What the model was asked; it names labels and scores.
        split: What to call the split of the `test_` scores.
    """
    columns = {"validation": "eval_", f"{split} [95 % interval]": "test_"}
    # One word a line, so that 80 characters hold all columns and no interval is broken.
    titles = {name: re.sub(r" (?=\w)", "\n", title) for name, title in beside(task).items()}
    columns |= {title: f"test_{name}_" for name, title in titles.items()}
    if f"eval_{task.constant}_loss" in results:  # nothing was tested
        columns[titles[task.constant]] = f"eval_{task.constant}_"
    metrics = task.shown_metrics(metrics_of(results, task))
    table = Table(
        title=Text(printable(name)),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,  # lines between columns would take the place of one
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("metric", no_wrap=True)
    shown = {
        title: prefix for title, prefix in columns.items() if any(prefix + m in results for m in metrics)
    }
    for title, prefix in shown.items():
        table.add_column(
            Text(title), justify="right", style="bold" if prefix == "test_" else "", overflow="fold"
        )
    for metric in metrics:
        cells = [
            _score(results, prefix + metric, task, interval=prefix == "test_") for prefix in shown.values()
        ]
        table.add_row(task.title(metric), *map(Text, cells))
    if caption := task.caption(metrics):
        table.caption = Text(printable(caption))
        table.caption_justify = "left"
    return table


def beside(task: Task) -> dict[str, str]:
    """Returns what has scores of the test rows besides the model's own, by name, and what people read."""
    own = {"mirrored": "with mirror images", "single": "the best one alone", "teacher": "teacher"}
    return {**own, **task.baseline_titles}


def metrics_of(results: Mapping[str, float], task: Task) -> list[str]:
    """Returns the metrics that a run's results hold for its model, the loss last."""
    names = [key.removeprefix("eval_") for key in results if key.startswith("eval_")]
    tested = (key for key in results if key.startswith("test_") and f"{key}_low" in results)
    names += [key.removeprefix("test_") for key in tested]
    others = tuple(f"{name}_" for name in (*beside(task), *PARTS, "swap"))
    names = [name for name in names if "_over_" not in name and not name.startswith(others)]
    return sorted(dict.fromkeys(names), key=lambda name: name == "loss")


def answered_alike(results: Mapping[str, float], task: Task) -> list[str]:
    """Says of each split whose rows all got the same answer that this is so."""
    lines = []
    for split in ("validation", "test"):
        answer = results.get(f"{split}_only_answer")
        if answer is not None and (shown := task.shown_answer(answer)):
            rows = results.get(f"{split}_samples")
            count = f"{rows:,.0f} " if rows else ""
            lines.append(f"all {count}{split} rows are answered {shown}")
    return lines


def agreement(results: Mapping[str, float]) -> str:
    """Says how often a model answers as its teacher does, "" without one."""
    if "test_teacher_agreement" not in results:
        return ""
    share, low, high = (100 * results[f"test_teacher_agreement{end}"] for end in ("", "_low", "_high"))
    return f"{share:.1f} % [{low:.1f}, {high:.1f}] of the test rows get the same answer as from its teacher"


def verdict(results: Mapping[str, float], task: Task) -> str:
    """Says whether the model beats the better of the linear models beside it, "" where none was trained.

    It does when the 95 % interval of the difference in the task's first metric, on the same test rows, lies
    on its side of 0.
    """
    title = task.title(next(iter(task.metrics)))
    names = [name for name in task.baseline_titles if name != task.constant]
    gains = {name: found for name in names if (found := gain(results, task, name))}
    if not gains:
        return ""
    best = min(gains, key=lambda name: gains[name][0])
    other, found = task.baseline_titles[best], gains[best]
    if found[1] > 0:
        better, low, high = map(task.figure, found)
        return f"better than {other} by {better} [{low}, {high}] {title}"
    better, low, high = (f"{'+' * (value >= 0)}{task.figure(value)}" for value in found)
    return f"does not beat {other}: {title} differs by {better} [{low}, {high}]"


def gain(results: Mapping[str, float], task: Task, baseline: str) -> tuple[float, float, float] | None:
    """Returns by how much a model is better than a baseline in the task's first metric; None: not scored.

    Args:
        results: Have the difference and its 95 % interval.
        task: Knows whether more of the metric is better; where less is, the signs are changed.
        baseline: Its name.

    Returns:
        The gain, and its low and high limit.
    """
    name, metric = next(iter(task.metrics.items()))
    key = f"test_{name}_over_{baseline}"
    if key not in results:
        return None
    difference, low, high = (results[f"{key}{end}"] for end in ("", "_low", "_high"))
    return (difference, low, high) if metric.greater_is_better else (-difference, -high, -low)


def _effort(results: Mapping[str, float]) -> str:
    """Says what the training took, "" where the results do not tell."""
    if "train_runtime" not in results:
        return ""
    figures = [f"trained for {results['train_runtime'] / 60:,.1f} minutes"]
    if "train_samples_per_second" in results:
        figures.append(f"{results['train_samples_per_second']:,.0f} rows/s")
    if "train_loss" in results:
        figures.append(f"mean training loss {results['train_loss']:.4f}")
    return ", ".join(figures)


def _score(results: Mapping[str, float], key: str, task: Task, interval: bool) -> str:
    value = results.get(key, math.nan)
    if math.isnan(value):
        return "-"
    low, high = results.get(f"{key}_low", math.nan), results.get(f"{key}_high", math.nan)
    limits = f" [{task.figure(low)}, {task.figure(high)}]"
    return task.figure(value) + (limits if interval and not math.isnan(low + high) else "")
