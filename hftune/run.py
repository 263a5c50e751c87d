"""One run from top to bottom: prepare, load, build, train, save, evaluate, publish."""

import contextlib
import dataclasses
import logging
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from transformers import PreTrainedModel

from hftune.data.base_model import check_embeddings
from hftune.data.dataset import Data
from hftune.hub.push import Target, push
from hftune.hub.push import prepare as prepare_push
from hftune.models.lora import Adapter
from hftune.recipe import Recipe
from hftune.report.advice import what_to_try
from hftune.report.next_steps import next_steps
from hftune.report.summary import print_summary
from hftune.runtime.device import join_group
from hftune.runtime.exit import abort
from hftune.runtime.heartbeat import Heartbeat
from hftune.runtime.isolated_run import own_state
from hftune.runtime.kernels import choose_kernels
from hftune.runtime.signals import Stop
from hftune.seed import seed_torch
from hftune.settings.base import Settings
from hftune.storage.checkpoint import keep_best
from hftune.storage.files import read_json, write_json
from hftune.storage.model_files import hash_model
from hftune.storage.run_dir import RunRecord, change_record, lock_run_dir
from hftune.storage.user_files import claim, hash_files, refuse_foreign_files, remove_run
from hftune.tasks import name_of
from hftune.tasks.metric import Predictions
from hftune.training import rules
from hftune.training.accelerator import log_to, make_accelerator
from hftune.training.agreement import refuse_difference, refuse_differences
from hftune.training.context import Run
from hftune.training.freezing import rows_needed
from hftune.training.linear_probe import probe
from hftune.training.log import Bar, RunConsole, read_log
from hftune.training.loop import Progress, fit
from hftune.training.precision import choose_precision
from hftune.training.result import describe_result, score_result, training_results
from hftune.training.same_run import (
    OTHERWISE,
    as_begun,
    begun_precision,
    has_other_identities,
    identify_model,
    identify_parts,
    new_record,
    refuse_other_parts,
    refuse_other_settings,
    starts_again,
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
from hftune.training.state import find_checkpoint
from hftune.training.tune import merge_adapter, tune

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
    refuse_unknown_metric(recipe, settings)
    check_recipe_flags(recipe, settings)
    refuse_foreign_files(run_dir, settings)
    with own_state():
        prepared = prepare(recipe, settings, run_dir, stop, begun_precision(settings, run_dir))
        accelerator = prepared.accelerator
        with Heartbeat(partial(abort, run_dir)):
            with lock_run_dir(run_dir) if prepared.is_main else contextlib.nullcontext():
                results = run_prepared(prepared)
            accelerator.wait_for_everyone()
        accelerator.free_memory()  # DistributedDataParallel holds the group, whose threads end first
        for tracker in accelerator.trackers:
            tracker.finish()
    return results


def run_prepared(run: Run) -> dict[str, float]:
    """Goes from the data to the published model, with the run's folder held; shows a run that is finished."""
    parts = identify_parts(run.recipe)
    refuse_differences(run, parts)
    earlier = find_earlier(run, parts)  # before the data are read
    target = push_target(run.recipe, run.settings) if run.is_main else None
    run, data = load(run)
    record = None if earlier and starts_again(run, earlier, parts, data) else earlier
    if record and has_other_identities(record):
        log.warning(
            "%s: begun by another version of hftune, so its recipe's code cannot be compared", run.run_dir
        )
    if record and record.finished:
        results = show_finished(run, data)
    else:
        data = ask_teacher(run, data)
        model = build(run, data)
        record = begin(run, data, parts | identify_model(model), earlier, record)
        results = train(run, data, model, record)
        if adapter := merge_adapter(run, data, model):
            results |= adapter.facts
        data = tune(run, data, model)
        saved = save(run, data, model, adapter)
        scores, labels = score_result(run, data, saved, ask_on_test(run, data))
        results |= scores
        if run.is_main:
            write_json(run.run_dir / "all_results.json", results)
            describe_result(run, data, results, labels, target.repo_id if target else None)
            finish(run, data, results)
    if target:  # the run itself is complete before
        run.console.print(f"pushed: {push(run.run_dir, target)}")
    return results


def prepare(
    recipe: Recipe,
    settings: Settings,
    run_dir: Path,
    stop: Stop,
    begun: str | None,
    console: Console | None = None,
) -> Run:
    """Joins the other processes, chooses kernels and precision, and opens console and trackers.

    A run that goes on keeps the precision that it was `begun` with. Without a console it gets one that
    outlives a closed pipe.
    """
    record = RunRecord.read(run_dir)
    if record and not settings.overwrite_output_dir:
        settings = as_begun(record, settings)
    choose_kernels(deterministic=settings.full_determinism)
    precision, reason = choose_precision(settings, join_group(), begun)
    accelerator = make_accelerator(settings, precision, run_dir)
    console = console or RunConsole(quiet=not accelerator.is_main_process)
    log_to(console)
    log.info("precision: %s on %s, because %s; float32 weights", precision, accelerator.device, reason)
    return Run(
        recipe=recipe,
        settings=settings,
        run_dir=run_dir,
        accelerator=accelerator,
        console=console,
        stop=stop,
    )


def find_earlier(run: Run, parts: dict[str, str]) -> RunRecord | None:
    """Returns what the folder's run.json says; None where the folder holds no run.

    Raises:
        BadInput: It holds another run, and `--overwrite_output_dir` was not given.
    """
    record = RunRecord.read(run.run_dir)
    if record and not run.settings.overwrite_output_dir:
        refuse_other_settings(run.run_dir, record, run.settings)
        refuse_other_parts(run.run_dir, record, parts)
    return record


def push_target(recipe: Recipe, settings: Settings) -> Target | None:
    """Makes sure that the result can be pushed, before anything is trained; None if it need not be."""
    if not settings.push_to_hub:
        return None
    private, revision = settings.hub_private_repo, settings.hub_revision
    return prepare_push(settings.hub_model_id, recipe.name, private=private, revision=revision)


def load(run: Run) -> tuple[Run, Data]:
    """Loads the data; the main process first, which fills the caches for the others.

    Returns:
        The run, whose settings now say which task its rows were found to be for, and the data.
    """
    with run.accelerator.main_process_first():
        data = run.recipe.load_data(run.settings)
    refuse_difference(
        run.accelerator,
        {"rows": data.fingerprint},
        lambda process, _: (
            f"process {process} reads other rows than process 0; give all machines the same data"
        ),
    )
    if run.settings.task is None:
        run = dataclasses.replace(run, settings=run.settings.replace(task=name_of(data.task)))
    return run, data


def ask_teacher(run: Run, data: Data) -> Data:
    """Lets the teacher of `--teacher` answer the rows that are trained on, before anything is trained."""
    if not run.settings.teacher:
        return data
    from hftune.inference.teach import teach  # which knows saved models of every kind

    return teach(run, data)


def ask_on_test(run: Run, data: Data) -> Predictions | None:
    """Lets it answer the test rows too, once all is trained; None without a teacher or such rows."""
    if not run.settings.teacher:
        return None
    from hftune.inference.teach import answers_on_test

    return answers_on_test(run, data)


def build(run: Run, data: Data) -> PreTrainedModel:
    """Builds the model, the same on every process."""
    seed_torch("init", run.settings.seed)
    model = run.recipe.build_model(run.settings, data)
    check_embeddings(model, data.processor, run.settings.model_name_or_path or type(model).__name__)
    data.task.check_model(model)
    log.info("model: %s, %s parameters", type(model).__name__, f"{model.num_parameters():,}")
    return model


def begin(
    run: Run, data: Data, parts: dict[str, str], earlier: RunRecord | None, record: RunRecord | None
) -> RunRecord:
    """Returns the record of the run that goes on, else a new one, with what an earlier run left removed.

    Args:
        run: The run.
        data: Its rows.
        parts: The identities of the recipe's parts and of the model.
        earlier: The record that was found.
        record: The same where that run goes on; None where this one begins.
    """
    if record:
        refuse_other_parts(run.run_dir, record, parts)
        return dataclasses.replace(record, parts=parts)
    if earlier and run.is_main:
        remove_run(run.run_dir, earlier)
    run.accelerator.wait_for_everyone()
    return new_record(run, data, parts)


def train(run: Run, data: Data, model: PreTrainedModel, record: RunRecord) -> dict[str, float]:
    """Trains from the newest whole checkpoint on, and leaves the best weights in the model.

    Returns:
        The figures of the training for `all_results.json`.
    """
    settings, accelerator = run.settings, run.accelerator
    checkpoint = find_checkpoint(run)
    check_choice(settings, data)
    prepare_model(model, settings, accelerator, data)
    least = rows_needed(model, data)
    plan = build_plan(settings, data, accelerator.num_processes, record.micro_batches_per_step, least)
    padding = plan.padding_share()
    padded = ""
    if padding is not None and data.learned.lengths.max() > 1:
        padded = f", {100 * padding:.1f} % padding"
    log.info("batches: %d steps per epoch of %s%s", len(plan.epoch(0)), plan.describe(), padded)
    first_step = checkpoint.step if checkpoint else 0
    if settings.linear_probing and not checkpoint and run.is_main:  # the others are sent its weights
        probe(model, data, settings.seed)
    rules.tell(settings, model, plan)
    training, state = set_up(run, data, model, plan, Schedule.of(settings, plan), first_step)
    progress = state.restore(checkpoint) if checkpoint else Progress()
    if checkpoint and settings.load_best_model_at_end:
        keep_best(checkpoint, run.run_dir, copies=run.is_main)
        accelerator.wait_for_everyone()  # the others may need it at once, where no step is left
    if run.is_main:
        record.write(run.run_dir)
    with run.stop.hold(), Bar(run.console, training.schedule.total_steps, progress.step) as bar:
        fit(training, progress, bar)
    training.log.close()
    state.take_result(run, progress)
    return (
        training_results(progress, plan)
        | data.facts
        | ({} if padding is None else {"padding_share": padding})
    )


def save(run: Run, data: Data, model: PreTrainedModel, adapter: Adapter | None) -> torch.nn.Module:
    """Saves the model at the root of the run; returns what is read back, which is what others will load."""
    if run.is_main:
        claim(run.run_dir)
        save_model(model, data, run.run_dir, adapter)
        change_record(run.run_dir, weights=hash_model(run.run_dir))
    run.accelerator.wait_for_everyone()
    return read_back(run, model)


def finish(run: Run, data: Data, results: dict[str, float]) -> None:
    """Notes that the run is complete, with what it leaves, and prints what it came to."""
    record = RunRecord.read(run.run_dir)
    files = hash_files(run.run_dir, known=record.weights if record else {})
    change_record(run.run_dir, files=files, finished=True)
    show_result(run, data, results)


def show_finished(run: Run, data: Data) -> dict[str, float]:
    """Prints and returns the results of a run that was finished before."""
    run.console.print(f"{run.run_dir} holds this run, finished; to train again, {OTHERWISE}")
    stored = read_json(run.run_dir / "all_results.json")  # JSON has null in the place of nan
    results = {name: float("nan") if value is None else value for name, value in stored.items()}
    show_result(run, data, results)
    return results


def show_result(run: Run, data: Data, results: dict[str, float]) -> None:
    """Prints what a finished run came to, the same when it ends and when it is asked for again."""
    advice = what_to_try(results, read_log(run.run_dir / "log.jsonl"), run.settings, data.task)
    steps = next_steps(run.run_dir, data.task)
    print_summary(run.console, run.recipe.name, results, run.run_dir, steps, data.task, advice=advice)
