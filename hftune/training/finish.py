"""After training: the best weights, the test set once, the floor beside it, and the files of the run."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data
from hftune.report.model_card import Card, write_card
from hftune.report.model_use import task_of
from hftune.report.plots import draw_confusion, draw_mistakes
from hftune.report.predictions import write_predictions
from hftune.settings.base import Settings
from hftune.storage.files import explain_write_errors, sync_folder
from hftune.storage.run_dir import package_versions
from hftune.tasks.intervals import paired_difference
from hftune.tasks.metrics import ClassificationCounts, class_results, note_only_answer, positive_class
from hftune.training.evaluate import named, predict, score, with_intervals
from hftune.training.loop import Progress
from hftune.training.tta import mirrored

log = logging.getLogger(__name__)


def score_result(
    model: torch.nn.Module,
    data: Data,
    accelerator: Accelerator,
    settings: Settings,
    metrics: list[str],
    run_dir: Path,
    workers: int,
) -> tuple[dict[str, float], np.ndarray | None]:
    """Scores the model on validation and test; the main process also writes predictions and pictures.

    Returns:
        Flat results `eval_*` and `test_*`, each test score also with `_low` and `_high`, its 95 %
        interval; each class's as `test_class_NAME_*`; the floor's scores as `test_majority_*` and
        `test_tfidf_*` or `test_thumbnails_*`, without a test set `eval_majority_*`; with
        `--test_time_augmentation` also `test_mirrored_*`; `validation_only_answer` and `test_only_answer`
        where all rows got one class. And on the main process the test rows by label
        and prediction, int64 (C, C); None without a test set.
    """
    options: dict[str, Any] = {
        "num_labels": len(data.labels),
        "rows_per_batch": settings.per_device_eval_batch_size,
        "workers": workers,
    }
    positive = positive_class(data.labels, settings.pos_label)
    counts = score(
        model, data.validation, data.collate, accelerator, names=metrics, positive=positive, **options
    )
    results = named("eval", counts.compute(metrics)) | note_only_answer("validation", counts.confusion)
    if data.test is None:
        return results | (score_majority(data, metrics, positive) if settings.floor else {}), None
    logits = predict(model, data.test, data.collate, accelerator, **options)
    if getattr(settings, "test_time_augmentation", False):
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


def describe_model(
    data: Data,
    settings: Settings,
    name: str,
    results: dict[str, float],
    confusion: np.ndarray | None,
    run_dir: Path,
) -> None:
    """Writes the model card beside the saved model."""
    card = Card(
        name=name,
        task=task_of(run_dir),
        settings=settings,
        labels=data.labels,
        results=results,
        versions=package_versions(),
        confusion=confusion,
        data_origin=data.origin,
        dataset_commit=data.dataset_commit,
        hub_id=settings.hub_model_id,
    )
    write_card(run_dir, card)


def save_model(model: PreTrainedModel, data: Data, run_dir: Path) -> None:
    """Puts the model at the root of the run as Hugging Face saves it, each file whole or not at all.

    Raises:
        ResourceError: The disk has no room or fails; the checkpoints are as they were.
    """
    temporary = run_dir / f".tmp-model-{os.getpid()}"
    needed = sum(tensor.nbytes for tensor in model.state_dict().values())
    with explain_write_errors(run_dir / "model.safetensors", needed):
        try:
            temporary.mkdir(exist_ok=True)
            probe = temporary / ".mode"
            probe.touch()
            usual = probe.stat().st_mode  # what the umask leaves
            probe.unlink()
            model.save_pretrained(temporary)
            data.processor.save_pretrained(temporary)
            for path in sorted(temporary.iterdir()):
                if path.is_file():
                    path.chmod(usual)  # safetensors gives its files to their owner alone
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                os.replace(path, run_dir / path.name)
            sync_folder(run_dir)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def reload(
    model: PreTrainedModel, settings: Settings, accelerator: Accelerator, run_dir: Path
) -> torch.nn.Module:
    """Reads the saved model back, so that what is scored is what others will load.

    Args:
        model: The one that was saved; its class is read.
        settings: The run's.
        accelerator: Puts the model on its device and gives it the run's precision.
        run_dir: Holds the saved files.
    """
    saved = type(model).from_pretrained(run_dir, use_safetensors=True, dtype=torch.float32)
    if getattr(settings, "channels_last", False):
        torch.nn.Module.to(saved, memory_format=torch.channels_last)
    return accelerator.prepare_model(saved, evaluation_mode=True)


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
