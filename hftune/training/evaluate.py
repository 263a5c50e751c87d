"""A model's predictions of a split, row by row in the data's order, and the scores they come to."""

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object

from hftune.data.batches import by_length
from hftune.data.dataset import Rows
from hftune.data.loader import batch_loader
from hftune.tasks.base import Task
from hftune.tasks.intervals import intervals, paired_difference, wilson
from hftune.tasks.metric import LabelScores, Predictions

LABELS_WITH_RESULTS = 100  # of more, the scores of each would make all_results.json unreadable


def predict(
    task: Task,
    model: torch.nn.Module,
    rows: Rows,
    collate: Callable,
    accelerator: Accelerator,
    *,
    rows_per_batch: int,
    workers: int = 0,
    tick: Callable[[int], None] | None = None,
) -> Predictions:
    """Returns what the task keeps of the model's output for every row, in the data's order.

    Every process has all of it, and the same bits on any number of processes.

    Args:
        task: Says what is kept.
        model: What the task's `predict` takes.
        rows: The set.
        collate: Makes a batch of rows.
        accelerator: Says which share is this process's, and where the model lives.
        rows_per_batch: Rows in a batch.
        workers: Processes that load data.
        tick: Called with the number of rows that this process has just predicted.
    """
    if not len(rows):
        return task.nothing()
    parts = []
    for ids, predictions in _share(task, model, rows, collate, accelerator, rows_per_batch, workers):
        parts.append((ids, predictions))
        if tick:
            tick(len(ids))
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    order = np.argsort(np.concatenate([ids for ids, _ in parts]))
    return {name: np.concatenate([part[name] for _, part in parts])[order] for name in parts[0][1]}


def _share(
    task: Task,
    model: torch.nn.Module,
    rows: Rows,
    collate: Callable,
    accelerator: Accelerator,
    rows_per_batch: int,
    workers: int,
) -> Iterator[tuple[np.ndarray, Predictions]]:
    """Yields row ids and predictions of this process's share of the batches.

    The batches are cut before they are shared out, so a row meets the same neighbours, and gets the
    same bits, on any number of processes.
    """
    batches = by_length(rows.lengths, rows_per_batch)[accelerator.process_index :: accelerator.num_processes]
    # Bare: DistributedDataParallel's forward waits for all processes, which have unequal shares here.
    model = accelerator.unwrap_model(model)
    _take_buffers_of_main(model)
    model.eval()
    row_ids = (ids.tolist() for ids in batches)
    loader = batch_loader(
        rows, row_ids, collate, workers=workers, device=accelerator.device, on_host=["labels"]
    )
    for ids, batch in zip(batches, loader, strict=True):
        with torch.inference_mode():
            yield ids, task.predict_rows(model, batch, rows.targets[ids])


def _take_buffers_of_main(model: torch.nn.Module) -> None:
    """Gives every process the buffers that the main one saves.

    Each has updated BatchNorm's statistics with rows of its own since DistributedDataParallel last
    shared them, and the mean of `--model_ema` is made of those.
    """
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer.contiguous()))


def result_key(task: Task, prefix: str, metric: str) -> str:
    """Returns the name of a score in `all_results.json`; the metric of `Task.loss_name` is the loss there."""
    return f"{prefix}_{'loss' if metric == task.loss_name else metric}"


def score(
    task: Task, prefix: str, predictions: Predictions, targets: np.ndarray, names: Collection[str]
) -> dict[str, float]:
    """Scores predictions under the names of `all_results.json`; no rows give nan.

    Args:
        task: Has the metrics.
        prefix: The split's name there, such as "eval".
        predictions: What `predict` returned.
        targets: Those of the rows.
        names: Metrics of the task.

    Raises:
        BadInput: A name or a target is unknown.
        NonFiniteError: A prediction is NaN or infinite.
    """
    metrics = {name: task.metric(name) for name in names}
    rows = task.scored(predictions, targets, names)
    nan = float("nan")
    return {
        result_key(task, prefix, name): metric.compute(rows, targets) if len(targets) else nan
        for name, metric in metrics.items()
    }


def score_with_intervals(
    task: Task, prefix: str, predictions: Predictions, targets: np.ndarray, names: Collection[str]
) -> dict[str, float]:
    """Scores predictions as `score` does, each score also with `_low` and `_high`, its 95 % interval."""
    results = score(task, prefix, predictions, targets, names)
    metrics = {name: task.metric(name) for name in names}
    values = {name: results[result_key(task, prefix, name)] for name in names}
    limits = intervals(metrics, task.scored(predictions, targets, names), targets, values)
    for name, (low, high) in limits.items():
        key = result_key(task, prefix, name)
        results |= {f"{key}_low": low, f"{key}_high": high}
    return results


def compare(
    task: Task,
    baseline: str,
    predictions: Predictions,
    others: Predictions,
    targets: np.ndarray,
    tuned: Task | None = None,
) -> dict[str, float]:
    """Returns how much greater the model's first metric is than a baseline's on the same test rows.

    Args:
        task: As tuned to the model.
        baseline: Its name.
        predictions: The model's.
        others: The baseline's.
        targets: Those of the rows.
        tuned: The task as tuned to the baseline; None: it tunes nothing.
    """
    name, metric = next(iter(task.metrics.items()))
    first = task.scored(predictions, targets, [name])
    second = (tuned or task).scored(others, targets, [name])
    difference, low, high = paired_difference(metric, first, second, targets)
    key = f"test_{name}_over_{baseline}"
    return {key: difference, f"{key}_low": low, f"{key}_high": high}


def swap_results(task: Task, predictions: Predictions, swapped: Predictions) -> dict[str, float]:
    """Returns how far the answers to the test pairs stay where their two texts change places.

    Args:
        task: Compares them.
        predictions: Of the test rows.
        swapped: Of the same rows, their texts in changed places.

    Returns:
        `test_swap_consistency`, the share of rows with the same answer, with `_low` and `_high`; of numbers
        `test_swap_change`, the mean absolute change.
    """
    changed = task.differ(predictions, swapped)
    if not len(changed):
        return {}
    if changed.dtype != bool:
        return {"test_swap_change": float(np.abs(changed).mean())}
    return share_of_same("test_swap_consistency", changed)


def teacher_results(
    task: Task, predictions: Predictions, teacher: Predictions, targets: np.ndarray, names: Collection[str]
) -> dict[str, float]:
    """Returns a teacher's own scores of the test rows, and how a model that learned from it compares.

    Args:
        task: Compares their answers.
        predictions: The model's, of the test rows.
        teacher: The teacher's, of the same rows.
        targets: Those of the rows.
        names: Metrics of the task.

    Returns:
        `test_teacher_METRIC`; `test_METRIC_over_teacher` of the task's first metric; and
        `test_teacher_agreement`, the share of rows with the same answer; each with `_low` and `_high`.
    """
    results = score_with_intervals(task, "test_teacher", teacher, targets, names)
    results |= compare(task, "teacher", predictions, teacher, targets)
    return results | share_of_same("test_teacher_agreement", task.differ(predictions, teacher))


def share_of_same(key: str, changed: np.ndarray) -> dict[str, float]:
    """Returns the share of rows that are answered as before, bool (N,) False, with its 95 % interval."""
    same = int((~changed).sum())
    low, high = wilson(same, len(changed))
    return {key: same / len(changed), f"{key}_low": low, f"{key}_high": high}


def label_results(prefix: str, scores: list[LabelScores]) -> dict[str, float]:
    """Returns each label's scores as `all_results.json` has them; nothing of more than 100 labels.

    The score's name stands behind the label's, so that no label, whatever it is called, makes the key
    of another label or of an interval.

    Args:
        prefix: The split's name there, such as "test".
        scores: What `Task.label_scores` returned.

    Returns:
        `PREFIX_class_NAME_precision`, `_recall`, `_f1` and `_support`, the rows that have the label. One
        with rows that is never predicted has precision 0, as in the scores over all labels.
    """
    if len(scores) > LABELS_WITH_RESULTS or not any(one.rows for one in scores):
        return {}
    results: dict[str, float] = {}
    for one in scores:
        key = f"{prefix}_class_{one.label}"
        never = one.rows > 0 and np.isnan(one.precision)
        results |= {f"{key}_precision": 0.0 if never else one.precision, f"{key}_recall": one.recall}
        results |= {f"{key}_f1": one.f1, f"{key}_support": one.rows}
    return results


def note_only_answer(task: Task, split: str, predictions: Predictions) -> dict[str, float]:
    """Returns `SPLIT_only_answer`, the label's id or the number that all rows were answered with, if any."""
    answer = task.only_answer(predictions)
    return {} if answer is None else {f"{split}_only_answer": float(answer)}
