"""What a training came to: its scores on validation and test, baselines beside them, curve and card."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data
from hftune.report.model_card import Card, write_card
from hftune.report.model_use import modality_of
from hftune.report.plots.curve import draw_curve
from hftune.report.predictions import write_predictions
from hftune.storage.files import read_json
from hftune.storage.run_dir import package_versions
from hftune.tasks.base import SimpleModel, Task
from hftune.tasks.metric import LabelScores, Predictions
from hftune.training.context import Run
from hftune.training.evaluate import (
    compare,
    label_results,
    note_only_answer,
    score,
    score_with_intervals,
    swap_results,
    teacher_results,
)
from hftune.training.frozen_features import frozen_features
from hftune.training.log import read_log
from hftune.training.loop import Progress
from hftune.training.setup import best_metric, evaluation_metrics, predict_split, trains_another
from hftune.training.tta import flip_average

log = logging.getLogger(__name__)


def training_results(progress: Progress, plan: BatchPlan) -> dict[str, float]:
    """Returns the figures of the training itself, named as transformers' example scripts name them."""
    if progress.skipped:
        log.warning("fp16: %d of %d steps overflowed and changed no weight", progress.skipped, progress.step)
    return {
        "epoch": plan.epochs(progress.step),
        "train_steps": progress.step,
        "train_loss": progress.total_loss / max(1, progress.step),
        "train_runtime": progress.seconds,
        "train_samples_per_second": progress.rows / max(progress.seconds, 1e-9),
    }


def score_result(
    run: Run, data: Data, model: torch.nn.Module, teacher: Predictions | None = None
) -> tuple[dict[str, float], list[LabelScores]]:
    """Scores the model on validation and test; the main process also writes predictions and plots.

    Args:
        run: The run.
        data: Its rows.
        model: What was saved.
        teacher: The teacher's predictions of the test rows; None without one.

    Returns:
        Flat results `eval_*` and `test_*`, each test score also with `_low` and `_high`, its 95 %
        interval; each label's as `test_class_NAME_*`; the baselines' scores as `test_majority_*` (of
        numbers `test_mean_*`), `test_tfidf_*` or `test_thumbnails_*`, and of a pretrained model
        `test_frozen_*`, without a test set `eval_majority_*`; with `--test_time_augmentation` also
        `test_mirrored_*`; `validation_only_answer` and `test_only_answer` where all rows got one label or
        number; of pairs of texts also `swap_results`, and scores of simple models of a part of them, such as
        `test_second_only_*`; with a teacher `teacher_results`. And on the main process the scores of each
        label on the test rows.
    """
    task, settings, accelerator = data.task, run.settings, run.accelerator
    metrics = evaluation_metrics(run.recipe, task, settings)
    tested = [*metrics, *(name for name, metric in task.metrics.items() if metric.only_tested)]
    found, targets = predict_split(run, data, model, data.validation), data.validation.targets
    results = score(task, "eval", found, targets, metrics) | note_only_answer(task, "validation", found)
    if data.test is None:
        if settings.baselines:
            rows = len(data.validation)
            simplest = task.baselines(data.train.targets, rows, data.baseline)[task.constant]
            tuned = task.tune(simplest, targets)
            results |= score(tuned, f"eval_{task.constant}", simplest, targets, metrics)
        return results, []
    found, targets = predict_split(run, data, model, data.test), data.test.targets
    if settings.test_time_augmentation:
        both = predict_split(run, data, flip_average(accelerator.unwrap_model(model)), data.test)
        results |= score_with_intervals(task, "test_mirrored", both, targets, tested)
    if data.swapped is not None:
        results |= swap_results(task, found, predict_split(run, data, model, data.swapped))
    if not run.is_main:
        return results, []
    scores, labels = record_test(data, found, tested, run.run_dir)
    results |= scores
    if teacher is not None:
        results |= teacher_results(task, found, teacher, targets, metrics)
    if settings.baselines and data.baseline:
        others = tuned_baselines(data, data.baseline)
        if frozen := frozen_features(run.recipe, settings, data):
            others |= tuned_baselines(data, frozen)
        for name, (tuned, simple) in others.items():
            results |= score_with_intervals(tuned, f"test_{name}", simple, targets, metrics)
            results |= compare(task, name, found, simple, targets, tuned)
        for part in data.part_baselines:
            tuned, simple = tuned_baselines(data, part)[part.name]
            results |= score_with_intervals(tuned, f"test_{part.name}", simple, targets, metrics)
    return results, labels


def record_test(
    data: Data, found: Predictions, metrics: Sequence[str], folder: Path
) -> tuple[dict[str, float], list[LabelScores]]:
    """Scores a model's predictions of the test rows, writes them and draws the test's plots.

    Args:
        data: The test rows, and the task as tuned to the model.
        found: What `predict` returned of them.
        metrics: The task's, by name.
        folder: Where predictions and plots go.

    Returns:
        `test_*` with intervals, and the scores of each label.
    """
    assert data.test is not None
    task, targets = data.task, data.test.targets
    write_predictions(folder / task.predictions_file, task.columns(found, targets), data.places)
    task.draw(found, targets, data, folder)
    labels = task.label_scores(found, targets)
    results = score_with_intervals(task, "test", found, targets, metrics)
    return results | label_results("test", labels) | note_only_answer(task, "test", found), labels


def tuned_baselines(data: Data, simple: SimpleModel) -> dict[str, tuple[Task, Predictions]]:
    """Returns each baseline's predictions of the test rows, and the task as tuned to it.

    What the task chooses on validation rows for the model, it chooses on the same rows for each of them.
    """
    task, targets, rows = data.task, data.train.targets, len(data.test or ())
    if not task.tunes:
        return {name: (task, found) for name, found in task.baselines(targets, rows, simple).items()}
    first, both = len(data.validation), simple.with_validation()
    return {
        name: (
            task.tune({kind: values[:first] for kind, values in found.items()}, data.validation.targets),
            {kind: values[first:] for kind, values in found.items()},
        )
        for name, found in task.baselines(targets, first + rows, both).items()
    }


def describe_result(
    run: Run, data: Data, results: dict[str, float], label_scores: list[LabelScores], hub_id: str | None
) -> None:
    """Draws the curve of the training, and writes the model card beside the saved model.

    Args:
        run: The run.
        data: Its rows.
        results: The content of `all_results.json`.
        label_scores: What `score_result` returned.
        hub_id: OWNER/NAME under which the model will be published, if it is.
    """
    settings, folder = run.settings, run.run_dir
    apart = trains_another(run.recipe, settings, data.task)
    best, curve = best_metric(data.task, settings), folder / "curve.png"
    draw_curve(read_log(folder / "log.jsonl"), curve, data.task, best, apart)
    card = Card(
        name=run.recipe.name,
        modality=modality_of(folder, read_json(folder / "config.json")),
        settings=settings,
        task=data.task,
        results=results,
        versions=package_versions(),
        label_scores=label_scores,
        data_origin=data.origin,
        dataset_commit=data.dataset_commit,
        hub_id=hub_id,
    )
    write_card(folder, card)
