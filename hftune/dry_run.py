"""Makes a dry run in a temporary folder: what could fail hours later fails within a minute or so.

The parts are the run's own, in its order: data, model, the loop, scores, files. Only the plan of the steps
is another one, and the validation and test rows are few.
"""

import contextlib
import dataclasses
import tempfile
import time
import traceback
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.errors import BadInput, StoppedBySignal, first_line
from hftune.hub.files import files_of
from hftune.inference.isolated import check_loads_without_hftune
from hftune.recipe import Recipe
from hftune.run import build, load, prepare, push_target
from hftune.runtime.exit import explain
from hftune.runtime.signals import Stop
from hftune.settings.base import Settings
from hftune.storage.checkpoint import load_checkpoint
from hftune.storage.files import can_write_in
from hftune.storage.run_dir import RunRecord
from hftune.storage.user_files import refuse_foreign_files
from hftune.training import rules
from hftune.training.accelerator import check_trackers, log_to
from hftune.training.estimate import (
    LONGEST,
    USUAL,
    DryRunPlan,
    Estimate,
    bytes_of,
    checkpoints_kept,
    disk_words,
    peak_memory,
    scoring_times,
    size,
    step_seconds,
)
from hftune.training.excerpt import excerpt
from hftune.training.freezing import rows_needed
from hftune.training.linear_probe import rows_to_probe
from hftune.training.log import Bar
from hftune.training.loop import Progress, Training, fit
from hftune.training.result import describe_result, score_result, training_results
from hftune.training.same_run import (
    as_begun,
    begun_precision,
    identify_parts,
    new_record,
    refuse_other_parts,
    refuse_other_settings,
)
from hftune.training.saved_model import read_back, save_model
from hftune.training.schedule import Schedule
from hftune.training.setup import (
    build_plan,
    check_choice,
    check_recipe_flags,
    prepare_model,
    refuse_unknown_metric,
    set_up,
)
from hftune.training.tune import merge_adapter, tune

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


class Stopwatch(Bar):
    """A progress bar that keeps how long each step and the last evaluation took, in seconds."""

    def __init__(self, console: Console, total: int):
        super().__init__(console, total, 0)
        self.steps: list[float] = []
        self.evaluation = 0.0
        self._last = time.monotonic()

    def advance(self, step: int, rows: int, loss: float) -> None:
        """Notes that a step ended."""
        self.steps.append(self._since_last())
        super().advance(step, rows, loss)

    def say(self, line: str) -> None:
        """Notes that an evaluation ended: the loop says its scores."""
        self.evaluation = self._since_last()
        super().say(line)

    def _since_last(self) -> float:
        before, self._last = self._last, time.monotonic()
        return self._last - before


def dry_run(recipe: Recipe, settings: Settings, run_dir: Path, console: Console) -> list[Check]:
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
    log_to(console)
    checks = [attempt("run directory", partial(inspect, recipe, run_dir, settings))]
    if settings.push_to_hub:
        checks.append(attempt("Hub", partial(permission, recipe, settings)))
    with tempfile.TemporaryDirectory(prefix="hftune-dry-run-") as folder, Stop() as stop:
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
    if not can_write_in(run_dir):
        raise BadInput(f"--output_dir {run_dir} cannot be written; choose another")
    if settings.resume_from_checkpoint:
        load_checkpoint(Path(settings.resume_from_checkpoint))
    refuse_foreign_files(run_dir, settings)
    record = RunRecord.read(run_dir)
    if record is None:
        return f"{run_dir}, free"
    if settings.overwrite_output_dir:
        return f"{run_dir} holds a run, which is removed when this one begins"
    refuse_other_settings(run_dir, record, as_begun(record, settings))
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
    refuse_unknown_metric(recipe, settings)
    check_trackers(settings)
    check_recipe_flags(recipe, settings)
    # Trackers would begin a run of their own somewhere, the simple models to beat take a while, and with
    # nothing frozen the memory is at its worst.
    tried = settings.replace(report_to="none", baselines=False, gradual_unfreezing=0.0)
    run = prepare(recipe, tried, folder, stop, begun_precision(settings, run_dir), console)
    yield f"precision {run.accelerator.mixed_precision} on {run.accelerator.device}"

    began = time.monotonic()
    run, data = load(run)
    loading, teaching = time.monotonic() - began, 0.0
    if settings.teacher:
        from hftune.inference.teach import teach_few

        data, teaching = teach_few(run, data)
    yield describe(data)

    model = build(run, data)
    yield f"{type(model).__name__}, {model.num_parameters():,} parameters"

    check_choice(settings, data)
    prepare_model(model, settings, run.accelerator, data)
    least = rows_needed(model, data)
    plan = build_plan(settings, data, 1, settings.gradient_accumulation_steps, least)
    rules.tell(settings, model, plan)
    schedule = Schedule.of(settings, plan)
    few = excerpt(data, settings.per_device_eval_batch_size)
    probed = lengths_to_probe(model, settings, data)
    new_record(run, data, parts={}).write(folder)
    few_plan = DryRunPlan(**vars(plan))
    training, state = set_up(run, few, model, few_plan, few_steps(schedule))
    progress, watch = make_steps(training, console)
    checkpoint = load_checkpoint(folder / f"checkpoint-{progress.step}")
    checkpoint_size = bytes_of(checkpoint.path)
    yield f"{describe_steps(data)}, an evaluation; a checkpoint of {size(checkpoint_size)} read back"

    state.take(checkpoint)
    adapter = merge_adapter(run, few, model)
    few = tune(run, few, model)
    save_model(model, few, folder, adapter)
    scores, labels = score_result(run, few, read_back(run, model))
    results = training_results(progress, few_plan) | data.facts | scores | (adapter.facts if adapter else {})
    describe_result(run, few, results, labels, settings.hub_model_id)
    published = f"; {len(files_of(folder)):,} files to push" if settings.push_to_hub else ""
    yield f"scores, card and model written{published}"

    yield check_loads_without_hftune(as_saved(model, training), few, folder)

    weights = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    yield disk_words(run_dir, checkpoint_size, checkpoints_kept(settings, schedule), weights)

    yield Estimate(
        loading=loading,
        steps=schedule.total_steps,
        step=step_seconds(watch.steps, plan),
        evaluations=len(schedule.eval_at),
        **scoring_times(settings, data, few, watch.evaluation, probed),
        teaching=teaching,
    ).words()

    yield f"{peak_memory(run.accelerator.device)} at most"


def describe(data: Data) -> str:
    """Says how many rows there are, and what is asked of them."""
    sets = {"train": data.train, "validation": data.validation, "test": data.test}
    rows = ", ".join(f"{len(part):,} {name}" for name, part in sets.items() if part is not None)
    return f"{rows}; {data.task.about()}"


def describe_steps(data: Data) -> str:
    """Says which steps a dry run makes."""
    longest = int(data.learned.lengths.max())
    which = f"{LONGEST} steps of the longest rows, {longest:,} tokens, {USUAL} others"
    return which if longest > 1 else f"{LONGEST + USUAL} steps"


def lengths_to_probe(model: PreTrainedModel, settings: Settings, data: Data) -> np.ndarray:
    """Returns the lengths of the rows that linear probing will read, int64 (M,); none where it reads none."""
    if settings.linear_probing:
        with contextlib.suppress(BadInput):
            return rows_to_probe(model, data, settings.seed).lengths
    return np.empty(0, np.int64)


def few_steps(schedule: Schedule) -> Schedule:
    """Returns the steps of a `DryRunPlan`; after the last one it evaluates and saves."""
    total = LONGEST + USUAL
    return dataclasses.replace(
        schedule, total_steps=total, eval_at=frozenset({total}), save_at=frozenset({total})
    )


def make_steps(training: Training, console: Console) -> tuple[Progress, Stopwatch]:
    """Trains; returns where the training stands, and how long its parts took."""
    progress = Progress()
    with Stopwatch(console, training.schedule.total_steps) as watch:
        fit(training, progress, watch)
    training.log.close()
    return progress, watch


def as_saved(model: PreTrainedModel, training: Training) -> PreTrainedModel:
    """Returns the model as it was saved: on the CPU, without autocast."""
    training.accelerator.unwrap_model(training.model, keep_fp32_wrapper=False)
    return model.to("cpu").eval()  # type: ignore[arg-type]
