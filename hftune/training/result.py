"""What a training came to: its scores on validation and test, the floor beside them, curve and card."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
import torch

from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data
from hftune.report.model_card import Card, write_card
from hftune.report.model_use import task_of
from hftune.report.plots import draw_confusion, draw_mistakes
from hftune.report.predictions import write_predictions
from hftune.report.summary import draw_curve
from hftune.storage.run_dir import package_versions
from hftune.tasks.intervals import paired_difference
from hftune.tasks.metrics import ClassificationCounts, class_results, note_only_answer, positive_class
from hftune.training.context import Run
from hftune.training.evaluate import named, predict, score, with_intervals
from hftune.training.log import read_log
from hftune.training.loop import Progress
from hftune.training.setup import evaluation_metrics, trains_another
from hftune.training.tta import mirrored

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


def score_result(run: Run, data: Data, model: torch.nn.Module) -> tuple[dict[str, float], np.ndarray | None]:
    """Scores the model on validation and test; the main process also writes predictions and pictures.

    Returns:
        Flat results `eval_*` and `test_*`, each test score also with `_low` and `_high`, its 95 %
        interval; each class's as `test_class_NAME_*`; the floor's scores as `test_majority_*` and
        `test_tfidf_*` or `test_thumbnails_*`, without a test set `eval_majority_*`; with
        `--test_time_augmentation` also `test_mirrored_*`; `validation_only_answer` and `test_only_answer`
        where all rows got one class. And on the main process the test rows by label
        and prediction, int64 (C, C); None without a test set.
    """
    settings, accelerator, run_dir = run.settings, run.accelerator, run.run_dir
    metrics = evaluation_metrics(run.recipe, settings)
    options: dict[str, Any] = {
        "num_labels": len(data.labels),
        "rows_per_batch": settings.per_device_eval_batch_size,
        "workers": run.workers,
    }
    positive = positive_class(data.labels, settings.pos_label)
    counts = score(
        model, data.validation, data.collate, accelerator, names=metrics, positive=positive, **options
    )
    results = named("eval", counts.compute(metrics)) | note_only_answer("validation", counts.confusion)
    if data.test is None:
        return results | (score_majority(data, metrics, positive) if settings.floor else {}), None
    logits = predict(model, data.test, data.collate, accelerator, **options)
    if settings.test_time_augmentation:
        both = mirrored(accelerator.unwrap_model(model))
        answers = predict(both, data.test, data.collate, accelerator, **options)
        results |= with_intervals("test_mirrored", answers, data.test.labels, metrics, positive)
    if not accelerator.is_main_process:
        return results, None
    results |= with_intervals("test", logits, data.test.labels, metrics, positive)
    write_predictions(run_dir / "test_predictions.csv", logits, data.test.labels, data.labels, data.places)
    confusion = sklearn.metrics.confusion_matrix(
        data.test.labels, logits.argmax(-1), labels=range(len(data.labels))
    )
    results |= class_results("test", confusion, data.labels) | note_only_answer("test", confusion)
    draw_confusion(confusion, data.labels, run_dir / "confusion.png")
    if data.picture:
        draw_mistakes(
            data.picture, logits, data.test.labels, data.labels, run_dir / "mistakes.png", places=data.places
        )
    if settings.floor and data.floor:
        results |= score_floor(data.floor, logits, data.test.labels, metrics, positive)
    return results, confusion


def score_majority(data: Data, metrics: list[str], positive: int) -> dict[str, float]:
    """Scores the commonest class of train on the validation rows: what there is where nothing is tested."""
    from hftune.data.baselines import majority_log_probabilities

    labels, rows = data.train.labels, data.validation
    counts = ClassificationCounts(len(data.labels), metrics, positive)
    counts.update(majority_log_probabilities(labels, len(data.labels), len(rows)), rows.labels)
    return named("eval_majority", counts.compute(metrics))


def score_floor(
    floor: Callable[[], dict[str, np.ndarray]],
    logits: np.ndarray,
    labels: np.ndarray,
    metrics: list[str],
    positive: int,
) -> dict[str, float]:
    """Scores the simple models on the same rows, and the difference in accuracy, row by row."""
    results: dict[str, float] = {}
    for name, log_probabilities in floor().items():
        results |= with_intervals(f"test_{name}", log_probabilities, labels, metrics, positive)
        difference, low, high = paired_difference(
            logits.argmax(-1) == labels, log_probabilities.argmax(-1) == labels
        )
        key = f"test_accuracy_over_{name}"
        results |= {key: difference, f"{key}_low": low, f"{key}_high": high}
    return results


def describe_result(
    run: Run, data: Data, results: dict[str, float], confusion: np.ndarray | None, hub_id: str | None
) -> None:
    """Draws the curve of the training, and writes the model card beside the saved model.

    Args:
        run: The run.
        data: Its rows.
        results: The content of `all_results.json`.
        confusion: What `score_result` returned.
        hub_id: OWNER/NAME under which the model will be published, if it is.
    """
    settings, folder = run.settings, run.run_dir
    apart = trains_another(run.recipe, settings)
    draw_curve(read_log(folder / "log.jsonl"), folder / "curve.png", settings.metric_for_best_model, apart)
    card = Card(
        name=run.recipe.name,
        task=task_of(folder),
        settings=settings,
        labels=data.labels,
        results=results,
        versions=package_versions(),
        confusion=confusion,
        data_origin=data.origin,
        dataset_commit=data.dataset_commit,
        hub_id=hub_id,
    )
    write_card(folder, card)
