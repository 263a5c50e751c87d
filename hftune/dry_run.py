"""Rehearses a run in a temporary folder: what could fail hours later fails within a minute or so.

The parts are the run's own, in its order: data, model, the loop, scores, files. Only the plan of the steps
is another one, and the validation and test rows are few.
"""

import dataclasses
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from torch.utils.data import Dataset
from transformers import PreTrainedModel

import hftune.training.finish as finish
from hftune.data.base_model import check_embeddings
from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data, Rows
from hftune.errors import BadInput, StoppedBySignal, first_line
from hftune.hub.files import files_of
from hftune.inference.isolated import load_elsewhere
from hftune.launcher import explain
from hftune.recipe import Recipe
from hftune.report.summary import draw_curve
from hftune.run import (
    begun_precision,
    check_trackers,
    make_accelerator,
    new_record,
    push_target,
    speak_through,
)
from hftune.runtime.device import join_group
from hftune.runtime.signals import Stop
from hftune.seed import seed_torch
from hftune.settings.base import Settings
from hftune.storage.checkpoint import load_checkpoint
from hftune.storage.files import nearest_existing
from hftune.storage.run_dir import RunRecord
from hftune.storage.user_files import refuse_foreign_files
from hftune.tasks.metrics import check_metrics
from hftune.training.estimate import (
    LONGEST,
    USUAL,
    Forecast,
    RehearsalPlan,
    bytes_of,
    disk_words,
    peak_memory,
    scoring_seconds,
    size,
    some_batches,
    step_seconds,
)
from hftune.training.freezing import rows_needed
from hftune.training.log import Bar, read_log
from hftune.training.loop import Progress, Training, fit
from hftune.training.precision import choose_precision
from hftune.training.same_run import identify_parts, refuse_other_parts, refuse_other_settings, with_seed_of
from hftune.training.setup import (
    assemble,
    build_plan,
    check_choice,
    evaluation_metrics,
    load_weights,
    marks,
    prepare_model,
    refuse_two_owners,
    total_steps,
    trains_another,
)

STAGES = ("settings", "data", "model", "training", "result", "loading", "disk", "time", "memory")
OF_THE_MODEL = ("training", "result", "loading")  # stages in which the model runs


class Check(NamedTuple):
    """What came out for one part of a run.

    Args:
        name: The part.
        ready: None where it was not tried, because something before it is not ready.
        words: What there is, or what to do.
    """

    name: str
    ready: bool | None
    words: str


class Excerpt(Dataset):
    """Some rows of a set.

    Args:
        rows: The set.
        ids: Which, int64 (M,).
    """

    def __init__(self, rows: Rows, ids: np.ndarray):
        self.rows, self.ids = rows, ids
        self.lengths, self.labels = rows.lengths[ids], rows.labels[ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Any:
        return self.rows[int(self.ids[row])]


class Stopwatch(Bar):
    """A progress bar that keeps how long each step took, in seconds."""

    def __init__(self, console: Console, total: int):
        super().__init__(console, total, 0)
        self.seconds: list[float] = []
        self._last = time.monotonic()

    def advance(self, step: int, rows: int, loss: float) -> None:
        """Notes that a step ended."""
        now = time.monotonic()
        self.seconds.append(now - self._last)
        self._last = now
        super().advance(step, rows, loss)


def rehearse(recipe: Recipe, settings: Settings, run_dir: Path, console: Console) -> list[Check]:
    """Tries every part of a run once; nothing is left in its run directory.

    Args:
        recipe: What is to be run.
        settings: Its settings with the user's changes.
        run_dir: Where the run would be.
        console: Where the parts say what they find.

    Returns:
        A check for each part, in the order in which they are needed.

    Raises:
        StoppedBySignal: SIGINT or SIGTERM arrived.
    """
    speak_through(console)
    checks = [attempt("run directory", partial(inspect, recipe, run_dir, settings))]
    if settings.push_to_hub:
        checks.append(attempt("Hub", partial(permission, recipe, settings)))
    with tempfile.TemporaryDirectory(prefix="hftune-rehearsal-") as folder, Stop() as stop:
        course = play(recipe, settings, run_dir, Path(folder), console, stop)
        going = True
        for name in STAGES:
            checks.append(attempt(name, partial(next, course)) if going else Check(name, None, ""))
            going = bool(checks[-1].ready)
        course.close()
    return checks


def attempt(name: str, part: Callable[[], str]) -> Check:
    """Tries a part; what hftune can explain, or what the model raises, becomes a check that is not ready.

    A bug in the recipe's own functions stays a bug, with its traceback.
    """
    try:
        return Check(name, True, part())
    except Exception as error:
        explained = explain(error)
        if isinstance(explained, StoppedBySignal) or (explained is None and name not in OF_THE_MODEL):
            raise
        return Check(name, False, str(explained or of_model(error)))


def of_model(error: Exception) -> str:
    """Says what was raised while the model ran, and where."""
    *_, place = traceback.extract_tb(error.__traceback__)
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"the model fails: {type(error).__name__}: {first_line(error)} ({where})"


def inspect(recipe: Recipe, run_dir: Path, settings: Settings) -> str:
    """Says what the run would find in its folder.

    Raises:
        BadInput: Another run, files that no run wrote, a folder that cannot be written, or a broken
            checkpoint that `--resume_from_checkpoint` names.
    """
    place = nearest_existing(run_dir)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise BadInput(f"--output_dir {run_dir} cannot be written; choose another")
    if settings.resume_from_checkpoint:
        load_checkpoint(Path(settings.resume_from_checkpoint))
    refuse_foreign_files(run_dir, settings)
    record = RunRecord.read(run_dir)
    if record is None:
        return f"{run_dir}, free"
    if settings.overwrite_output_dir:
        return f"{run_dir} holds a run, which is removed when this one begins"
    refuse_other_settings(run_dir, record, with_seed_of(record, settings))
    refuse_other_parts(run_dir, record, identify_parts(recipe))
    if record.finished:
        return f"{run_dir} holds this run, finished: the command would train nothing"
    return f"{run_dir} holds this run, which goes on from its newest checkpoint"


def permission(recipe: Recipe, settings: Settings) -> str:
    """Says where the result will be pushed, after asking the Hub; see `hftune.hub.push.prepare`."""
    target = push_target(recipe, settings)
    assert target is not None
    branch = f", branch {target.revision}" if target.revision else ""
    return f"{target.repo_id}{branch} can be written"


def play(
    recipe: Recipe, settings: Settings, run_dir: Path, folder: Path, console: Console, stop: Stop
) -> Generator[str, None, None]:
    """Goes through a run part by part, and says of each of STAGES what there is.

    Raises:
        HftuneError: A part is not ready; those behind it cannot be tried.
    """
    metrics = evaluation_metrics(recipe, settings)
    check_metrics(metrics)
    check_trackers(settings)
    refuse_two_owners(recipe, settings)
    precision, reason = choose_precision(settings, join_group(), begun_precision(settings, run_dir))
    # Trackers would begin a run of their own somewhere.
    accelerator = make_accelerator(settings.replace(report_to="none"), precision, folder)
    yield f"precision {precision} on {accelerator.device}, because {reason}"
    began = time.monotonic()
    data = recipe.load_data(settings)
    loading = time.monotonic() - began
    yield describe(data)
    seed_torch("init", settings.seed)
    model = recipe.build_model(settings, data)
    check_embeddings(model, data.processor, settings.model_name_or_path or type(model).__name__)
    yield f"{type(model).__name__}, {model.num_parameters():,} parameters"
    check_choice(settings, data)
    prepare_model(model, settings, accelerator)
    least = rows_needed(model, data)
    plan = build_plan(settings, data, 1, settings.gradient_accumulation_steps, least)
    few = excerpt(data, settings.per_device_eval_batch_size)
    training, average = assemble(
        recipe,
        settings.replace(gradual_unfreezing=0.0),  # with everything thawed memory is at its worst
        few,
        model,
        accelerator,
        plan=plan,
        record=new_record(settings, data, accelerator, parts={}),
        run_dir=folder,
        first_step=0,
        stop=stop,
    )
    progress, steps, evaluation = make_steps(training, plan, console)
    checkpoint = load_checkpoint(folder / f"checkpoint-{progress.step}")
    checkpoint_size = bytes_of(checkpoint.path)
    yield f"{describe_steps(data)}, an evaluation; a checkpoint of {size(checkpoint_size)} read back"
    load_weights(model, checkpoint, "average" if average else "model")
    finish_off(recipe, settings, few, model, training, progress, metrics, folder)
    published = f"; {len(files_of(folder)):,} files to push" if settings.push_to_hub else ""
    yield f"scores, card and model written{published}"
    yield load_elsewhere(bare(model, training), few, folder)
    kept = checkpoints_kept(settings, plan)
    weights = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    yield disk_words(run_dir, checkpoint_size, kept, weights)
    yield foretell(settings, data, few, plan, loading, steps, evaluation).words()
    yield f"{peak_memory(accelerator.device)} at most"


def describe(data: Data) -> str:
    """Says how many rows there are, and of what classes."""
    sets = {"train": data.train, "validation": data.validation, "test": data.test}
    rows = ", ".join(f"{len(part):,} {name}" for name, part in sets.items() if part is not None)
    shown = ", ".join(data.labels[:5]) + (f", ... ({len(data.labels)})" if len(data.labels) > 5 else "")
    return f"{rows}; labels {shown}"


def describe_steps(data: Data) -> str:
    """Says which steps a rehearsal makes."""
    longest = int(data.train.lengths.max())
    which = f"{LONGEST} steps of the longest rows, {longest:,} tokens, {USUAL} others"
    return which if longest > 1 else f"{LONGEST + USUAL} steps"


def excerpt(data: Data, rows_per_batch: int) -> Data:
    """Keeps a few batches of the validation and the test rows, the longest among them."""
    validation = Excerpt(data.validation, some_batches(data.validation.lengths, rows_per_batch))
    if data.test is None:
        return dataclasses.replace(data, validation=validation)
    test = Excerpt(data.test, some_batches(data.test.lengths, rows_per_batch))
    picture = data.picture
    shown = None if picture is None else lambda row: picture(int(test.ids[row]))
    places = data.places and data.places.take(test.ids)
    return dataclasses.replace(data, validation=validation, test=test, picture=shown, places=places)


def make_steps(training: Training, plan: BatchPlan, console: Console) -> tuple[Progress, list[float], float]:
    """Makes the steps of a `RehearsalPlan`, the costliest first, and evaluates and saves after the last.

    Returns:
        Where the training stands, the seconds of each step, and those of the evaluation.
    """
    training.plan = RehearsalPlan(**vars(plan))
    training.total_steps = LONGEST + USUAL
    training.eval_at, training.save_at = frozenset({training.total_steps}), frozenset()
    evaluate, took = training.evaluate, []

    def timed() -> dict[str, float]:
        began = time.monotonic()
        scores = evaluate()
        took.append(time.monotonic() - began)
        return scores

    training.evaluate = timed
    progress = Progress()
    watch = Stopwatch(console, training.total_steps)
    with watch:
        fit(training, progress, watch)
    training.log.close()
    return progress, watch.seconds, took[0]


def finish_off(
    recipe: Recipe,
    settings: Settings,
    data: Data,
    model: PreTrainedModel,
    training: Training,
    progress: Progress,
    metrics: list[str],
    folder: Path,
) -> None:
    """Writes all that a run leaves; its simple models to beat are left out, since they take a while."""
    results = finish.training_results(progress, training.plan) | data.facts
    finish.save_model(model, data, folder)
    saved = finish.reload(model, settings, training.accelerator, folder)
    scores, confusion = finish.score_result(
        saved, data, training.accelerator, settings.replace(floor=False), metrics, folder, training.workers
    )
    metric = settings.metric_for_best_model.removeprefix("eval_")
    apart = trains_another(recipe, settings)
    draw_curve(read_log(folder / "log.jsonl"), folder / "curve.png", metric, apart)
    finish.describe_model(data, settings, recipe.name, results | scores, confusion, folder)


def bare(model: PreTrainedModel, training: Training) -> PreTrainedModel:
    """Returns the model as it was saved: on the CPU, without autocast."""
    training.accelerator.unwrap_model(training.model, keep_fp32_wrapper=False)
    return model.to("cpu").eval()  # type: ignore[arg-type]


def checkpoints_kept(settings: Settings, plan: BatchPlan) -> int:
    """Returns the most checkpoints that a run has at a time, the one that is being written included."""
    total = total_steps(settings, plan)
    written = marks(settings.save_strategy, settings.save_steps, plan, total) | {total}
    if settings.load_best_model_at_end:
        written |= marks(settings.eval_strategy, settings.eval_steps, plan, total)
    if settings.save_total_limit is None:
        return len(written)
    kept = max(settings.save_total_limit, 2 if settings.load_best_model_at_end else 1)
    return min(len(written), kept + 1)


def foretell(
    settings: Settings,
    data: Data,
    few: Data,
    plan: BatchPlan,
    loading: float,
    steps: list[float],
    evaluation: float,
) -> Forecast:
    """Foretells the time of the whole run from that of a few steps and rows, in seconds."""
    total = total_steps(settings, plan)
    rows = settings.per_device_eval_batch_size
    scoring = partial(scoring_seconds, evaluation, few.validation.lengths, rows_per_batch=rows)
    views = 3 if getattr(settings, "test_time_augmentation", False) else 1  # once, and in two views
    return Forecast(
        loading=loading,
        steps=total,
        step=step_seconds(steps, plan),
        evaluations=len(marks(settings.eval_strategy, settings.eval_steps, plan, total)),
        evaluation=scoring(lengths=data.validation.lengths),
        test=0.0 if data.test is None else views * scoring(lengths=data.test.lengths),
    )
