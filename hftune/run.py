"""From a recipe and its settings to a trained, scored and saved model."""

import contextlib
import dataclasses
import logging
import sys
from functools import partial
from pathlib import Path

import accelerate
import datasets
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from rich.console import Console
from transformers import PreTrainedConfig, PreTrainedModel

import hftune.training.finish as finish
from hftune.data.base_model import check_embeddings
from hftune.data.dataset import Data
from hftune.errors import BadInput
from hftune.hub.push import Target, prepare, push
from hftune.recipe import Recipe
from hftune.report.advice import what_to_try
from hftune.report.model_use import use_line
from hftune.report.summary import draw_curve, print_summary
from hftune.runtime.device import computes_on_cpu, join_group
from hftune.runtime.exit import leave_at_once
from hftune.runtime.heartbeat import Heartbeat
from hftune.runtime.isolated_run import standing_alone
from hftune.runtime.signals import Stop
from hftune.seed import seed_torch
from hftune.settings.base import Settings
from hftune.storage.checkpoint import Checkpoint, clean_temporary, keep_best, load_checkpoint, newest_whole
from hftune.storage.files import read_json, write_json
from hftune.storage.model_files import hash_model
from hftune.storage.run_dir import RunRecord, change_record, lock_run_dir, package_versions
from hftune.storage.user_files import claim, hash_files, refuse_foreign_files, remove_run
from hftune.tasks.metrics import check_metrics
from hftune.training.ema import WeightAverage
from hftune.training.freezing import rows_needed
from hftune.training.log import Bar, ConsoleHandler, RunConsole, read_log
from hftune.training.loop import Progress, fit
from hftune.training.precision import choose_precision, device_name
from hftune.training.same_run import (
    OTHERWISE,
    fingerprints,
    has_other_identities,
    hash_sources,
    identify_model,
    identify_parts,
    refuse_other_data,
    refuse_other_parts,
    refuse_other_settings,
    refuse_other_sources,
    with_seed_of,
)
from hftune.training.setup import (
    assemble,
    build_plan,
    check_choice,
    evaluation_metrics,
    load_weights,
    prepare_model,
    restore,
    trains_another,
)

log = logging.getLogger(__name__)


def run(recipe: Recipe, settings: Settings, run_dir: Path, stop: Stop) -> dict[str, float]:
    """Runs a recipe to its end, or continues it where an earlier start of the same command stopped.

    Args:
        recipe: What to load, build and measure.
        settings: The recipe's settings with the user's changes.
        run_dir: The run's folder.
        stop: Receives SIGINT and SIGTERM.

    Returns:
        The content of `all_results.json`.

    Raises:
        HftuneError: Any ending that has an exit code of its own.
    """
    check_metrics(evaluation_metrics(recipe, settings))
    refuse_foreign_files(run_dir, settings)
    with standing_alone():
        precision, reason = choose_precision(settings, join_group(), begun_precision(settings, run_dir))
        accelerator = make_accelerator(settings, precision, run_dir)
        console = RunConsole(quiet=not accelerator.is_main_process)
        speak_through(console)
        log.info("precision: %s on %s, because %s; float32 weights", precision, accelerator.device, reason)
        with Heartbeat(partial(leave_at_once, run_dir)):
            results = run_on(accelerator, recipe, settings, run_dir, stop, console)
            accelerator.wait_for_everyone()
        accelerator.free_memory()  # DistributedDataParallel holds the group, whose threads end first
        for tracker in accelerator.trackers:
            tracker.finish()
    return results


def run_on(
    accelerator: Accelerator,
    recipe: Recipe,
    settings: Settings,
    run_dir: Path,
    stop: Stop,
    console: Console,
) -> dict[str, float]:
    """Runs a recipe on the devices at hand, holding its run directory; shows a run that is finished."""
    with lock_run_dir(run_dir) if accelerator.is_main_process else contextlib.nullcontext():
        record = RunRecord.read(run_dir)
        parts = identify_parts(recipe)
        if record and not settings.overwrite_output_dir:  # before the data are read
            settings = with_seed_of(record, settings)
            refuse_other_settings(run_dir, record, settings)
            refuse_other_parts(run_dir, record, parts)
        target = push_target(recipe, settings) if accelerator.is_main_process else None
        with accelerator.main_process_first():
            data = recipe.load_data(settings)
        if record and has_other_identities(record):
            log.warning("%s: begun by another hftune, so its recipe's code cannot be compared", run_dir)
        old = record
        if record and starts_again(run_dir, record, settings, parts, data):
            record = None
        if record and record.finished:
            results = show_finished(recipe, settings, run_dir, console)
            publish(run_dir, target, console)
            return results
        seed_torch("init", settings.seed)
        model = recipe.build_model(settings, data)
        check_embeddings(model, data.processor, settings.model_name_or_path or type(model).__name__)
        log.info("model: %s, %s parameters", type(model).__name__, f"{model.num_parameters():,}")
        parts |= identify_model(model)
        if record:
            refuse_other_parts(run_dir, record, parts)
            record = dataclasses.replace(record, parts=parts)
        else:
            if old and accelerator.is_main_process:
                remove_run(run_dir, old)
            accelerator.wait_for_everyone()
            record = new_record(settings, data, accelerator, parts)
        if target:
            settings = settings.replace(hub_model_id=target.repo_id)  # what the model card names
        results = train_and_score(recipe, settings, data, model, accelerator, record, run_dir, stop, console)
        publish(run_dir, target, console)
        return results


def starts_again(
    run_dir: Path, record: RunRecord, settings: Settings, parts: dict[str, str], data: Data
) -> bool:
    """Returns whether the run that a folder holds is to be removed, so that this one begins from nothing.

    One that was begun by the same command with `--overwrite_output_dir` and was interrupted goes on: a
    batch system that repeats commands would otherwise lose it again and again.

    Raises:
        BadInput: It is another run, and `--overwrite_output_dir` was not given.
    """
    try:
        refuse_other_settings(run_dir, record, settings)
        refuse_other_parts(run_dir, record, parts)
        refuse_other_data(run_dir, record, data)
        refuse_other_sources(run_dir, record, hash_sources(settings))
    except BadInput:
        if settings.overwrite_output_dir:
            return True
        raise
    begun_so = record.settings.get("overwrite_output_dir", False)
    return settings.overwrite_output_dir and (record.finished or not begun_so)


def show_finished(recipe: Recipe, settings: Settings, run_dir: Path, console: Console) -> dict[str, float]:
    """Prints and returns the results of a run that is finished."""
    console.print(f"{run_dir} holds this run, finished; to train again, {OTHERWISE}")
    stored = read_json(run_dir / "all_results.json")  # JSON has null in the place of nan
    results = {name: float("nan") if value is None else value for name, value in stored.items()}
    show_result(console, recipe, settings, results, run_dir)
    return results


def push_target(recipe: Recipe, settings: Settings) -> Target | None:
    """Makes sure that the result can be pushed, before anything is trained; None if it need not be."""
    if not settings.push_to_hub:
        return None
    private, revision = settings.hub_private_repo, settings.hub_revision
    return prepare(settings.hub_model_id, recipe.name, private=private, revision=revision)


def publish(run_dir: Path, target: Target | None, console: Console) -> None:
    """Pushes a finished run, if it is to be pushed; the run itself is complete before.

    Raises:
        PushFailed: The Hub did not take it; the message has the command that tries again.
    """
    if target:
        console.print(f"pushed: {push(run_dir, target)}")


def train_and_score(
    recipe: Recipe,
    settings: Settings,
    data: Data,
    model: PreTrainedModel,
    accelerator: Accelerator,
    record: RunRecord,
    run_dir: Path,
    stop: Stop,
    console: Console,
) -> dict[str, float]:
    """Trains from the newest whole checkpoint on, then scores and saves the best model."""
    checkpoint = find_checkpoint(settings, run_dir, accelerator)
    check_choice(settings, data)
    prepare_model(model, settings, accelerator)
    least = rows_needed(model, data)
    plan = build_plan(settings, data, accelerator.num_processes, record.micro_batches_per_step, least)
    padding = plan.padding_share()
    padded = f", {100 * padding:.1f} % padding" if data.train.lengths.max() > 1 else ""
    log.info("batches: %d steps per epoch of %s%s", len(plan.epoch(0)), plan.describe(), padded)
    training, average = assemble(
        recipe,
        settings,
        data,
        model,
        accelerator,
        plan=plan,
        record=record,
        run_dir=run_dir,
        first_step=checkpoint.step if checkpoint else 0,
        stop=stop,
    )
    progress = restore(training, model, average, checkpoint, data.fingerprint) if checkpoint else Progress()
    if checkpoint and settings.load_best_model_at_end:
        keep_best(checkpoint, run_dir, copies=accelerator.is_main_process)
        accelerator.wait_for_everyone()  # the others may need it at once, where no step is left
    if accelerator.is_main_process:
        record.write(run_dir)
    with stop.hold(), Bar(console, training.total_steps, progress.step) as bar:
        fit(training, progress, bar)
    training.log.close()
    take_result(model, average, progress, settings, run_dir, console)
    results = finish.training_results(progress, plan) | data.facts | {"padding_share": padding}
    metrics = evaluation_metrics(recipe, settings)
    if accelerator.is_main_process:
        claim(run_dir)
        finish.save_model(model, data, run_dir)
        record = change_record(run_dir, weights=hash_model(run_dir))
    accelerator.wait_for_everyone()
    saved = finish.reload(model, settings, accelerator, run_dir)
    scores, confusion = finish.score_result(
        saved, data, accelerator, settings, metrics, run_dir, training.workers
    )
    results |= scores
    if accelerator.is_main_process:
        write_json(run_dir / "all_results.json", results)
        metric = settings.metric_for_best_model.removeprefix("eval_")
        apart = trains_another(recipe, settings)
        draw_curve(read_log(run_dir / "log.jsonl"), run_dir / "curve.png", metric, apart)
        finish.describe_model(data, settings, recipe.name, results, confusion, run_dir)
        change_record(run_dir, files=hash_files(run_dir, record.weights), finished=True)
        show_result(console, recipe, settings, results, run_dir)
    return results


def show_result(
    console: Console, recipe: Recipe, settings: Settings, results: dict[str, float], run_dir: Path
) -> None:
    """Prints what a finished run came to, the same when it ends and whenever it is asked for again."""
    print_summary(
        console,
        recipe.name,
        results,
        run_dir,
        next_steps(run_dir),
        labels=saved_labels(run_dir),
        pos_label=settings.pos_label,
        advice=what_to_try(results, read_log(run_dir / "log.jsonl"), settings),
    )


def take_result(
    model: PreTrainedModel,
    average: WeightAverage | None,
    progress: Progress,
    settings: Settings,
    run_dir: Path,
    console: Console,
) -> None:
    """Gives the model the weights that are the run's result: the best so far, the average or the last."""
    if settings.load_best_model_at_end and progress.best_step:
        best = load_checkpoint(run_dir / f"checkpoint-{progress.best_step}")
        load_weights(model, best, "average" if average else "model")
        console.print(f"best: step {progress.best_step:,}; scoring it")
    elif average:
        model.load_state_dict(average.state_dict())


def make_accelerator(settings: Settings, precision: str, run_dir: Path) -> Accelerator:
    """Builds accelerate's entrance to device, precision, processes and trackers.

    Raises:
        BadInput: If a tracker of `--report_to` is unknown or not installed.
    """
    trackers = check_trackers(settings)
    handlers = (
        [DistributedDataParallelKwargs(find_unused_parameters=True)] if settings.gradual_unfreezing else []
    )
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=computes_on_cpu(),
        # The loop accumulates by itself: of accelerate's own setting it would divide each loss once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=trackers or None,
        project_dir=str(run_dir),
        kwargs_handlers=handlers,
    )
    if trackers:
        plain = {
            name: value if isinstance(value, int | float | str | bool) else str(value)
            for name, value in dataclasses.asdict(settings).items()
        }
        accelerator.init_trackers(run_dir.name, config=plain)
    return accelerator


def check_trackers(settings: Settings) -> list[str]:
    """Returns the names in `--report_to`.

    Raises:
        BadInput: If one is unknown or not installed.
    """
    trackers = [name for name in settings.report_to.replace(" ", "").split(",") if name not in ("", "none")]
    known = [str(member.value) for member in accelerate.utils.LoggerType]
    for name in trackers:
        if name not in known:
            raise BadInput(f"--report_to {name}: no such tracker; accelerate knows {', '.join(known)}")
    installed = {str(member.value) for member in accelerate.tracking.get_available_trackers()}
    for name in trackers:
        if name != "all" and name not in installed:
            raise BadInput(f"--report_to {name}: pip install {name}, it is not there")
    return trackers


def speak_through(console: Console) -> None:
    """Sends what hftune logs to the console, and keeps other libraries to their warnings."""
    ours = logging.getLogger("hftune")
    ours.handlers = [ConsoleHandler(console)]
    ours.setLevel(logging.INFO)
    ours.propagate = False
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not console.is_terminal or console.quiet:
        datasets.disable_progress_bars()


def new_record(settings: Settings, data: Data, accelerator: Accelerator, parts: dict[str, str]) -> RunRecord:
    """Notes what a run's numbers depend on; `parts` are those of its recipe."""
    return RunRecord(
        settings=dataclasses.asdict(settings),
        versions=package_versions(),
        data_fingerprints=fingerprints(data),
        threads=torch.get_num_threads(),
        world_size=accelerator.num_processes,
        micro_batches_per_step=settings.gradient_accumulation_steps * accelerator.num_processes,
        parts=parts,
        sources=hash_sources(settings),
        claimed=False,
        precision=accelerator.mixed_precision,
        device=device_name(accelerator.device),
    )


def begun_precision(settings: Settings, run_dir: Path) -> str | None:
    """Returns the precision of the run that is gone on with; None where none is, or it does not say."""
    if asked := settings.resume_from_checkpoint:
        records = [RunRecord.read(place) for place in (Path(asked), Path(asked).parent)]
        return next((record.precision for record in records if record), None)
    record = RunRecord.read(run_dir)
    if record is None or record.finished:
        return None
    removed = settings.overwrite_output_dir and not record.settings.get("overwrite_output_dir")
    return None if removed else record.precision


def find_checkpoint(settings: Settings, run_dir: Path, accelerator: Accelerator) -> Checkpoint | None:
    """Returns the checkpoint to go on from: the one that was asked for, else the newest whole one."""
    if settings.resume_from_checkpoint:
        asked = Path(settings.resume_from_checkpoint)
        newest = None if (asked / "manifest.json").exists() else newest_whole(asked)[0]  # of a run directory
        checkpoint = load_checkpoint(newest or asked)
        log.info("resuming from %s, as asked", checkpoint.path)
        return checkpoint
    if accelerator.is_main_process:
        clean_temporary(run_dir)
    path, skipped = newest_whole(run_dir)
    for line in skipped:
        log.warning("%s", line)
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    log.info("resuming from %s", path)
    return checkpoint


def saved_labels(run_dir: Path) -> list[str]:
    """Returns the class names of a finished run's model, in the order of the class numbers."""
    config = read_json(run_dir / "config.json")
    if "label_names" in config:  # of timm
        return list(config["label_names"])
    names = PreTrainedConfig.from_dict(config).id2label or {}  # also those that transformers leaves out
    return [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]


def next_steps(run_dir: Path) -> list[str]:
    """Returns what a person may want to do with a finished run."""
    config = read_json(run_dir / "config.json")
    pictures = ("curve.png", "confusion.png", "mistakes.png", "test_predictions.csv")
    there = [name for name in pictures if (run_dir / name).exists()]
    task = finish.task_of(run_dir)
    own = "--train_dir FOLDER" if task == "image-classification" else "--train_file FILE.csv"
    steps = [
        f"look at {', '.join(there)} there",
        f"use it: {use_line(run_dir, config)}",
    ]
    if getattr(sys.modules["__main__"], "__file__", None):  # a notebook has none
        steps.append(f"try your own rows: accelerate launch {sys.argv[0]} {own} --output_dir runs/mine")
    return steps
