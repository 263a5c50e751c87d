"""From settings, data and a model to everything that the loop needs."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data
from hftune.data.loader import worker_count
from hftune.errors import BadInput
from hftune.models.cls_only import keep_first_token
from hftune.recipe import Recipe
from hftune.runtime.signals import Stop
from hftune.settings.base import Settings
from hftune.storage.checkpoint import Checkpoint, rotate, save_checkpoint
from hftune.storage.optimizer_state import optimizer_tensors, restore_optimizer
from hftune.storage.run_dir import RunRecord, change_record
from hftune.tasks.metrics import greater_is_better, only_answer, positive_class
from hftune.training import optim
from hftune.training.ema import WeightAverage
from hftune.training.evaluate import named, score
from hftune.training.freezing import check_unfreezing, freeze, gradual_unfreezing, keep_statistics
from hftune.training.log import RunLog
from hftune.training.loop import Progress, Training
from hftune.training.losses import Loss, build_loss
from hftune.training.precision import device_name, suit

log = logging.getLogger(__name__)

AfterStep = Callable[[int, torch.nn.Module], None]


def prepare_model(model: PreTrainedModel, settings: Settings, accelerator: Accelerator) -> None:
    """Makes weights float32, and freezes what the settings say.

    Raises:
        BadInput: If the settings do not suit the model.
    """
    suit(model, accelerator.mixed_precision, accelerator.device)
    keep_statistics(model, everywhere=getattr(settings, "freeze_batch_norm", False))
    if settings.freeze:
        log.info("frozen: %d tensors match %s", freeze(model, settings.freeze), settings.freeze)
    if settings.gradual_unfreezing:
        check_unfreezing(model)


def check_choice(settings: Settings, data: Data) -> None:
    """Looks whether the validation rows have the classes that `--metric_for_best_model` needs.

    Raises:
        BadInput: If without one of them it is no number.
    """
    metric = settings.metric_for_best_model.removeprefix("eval_")
    present = set(data.validation.labels.tolist())
    absent = [name for number, name in enumerate(data.labels) if number not in present]
    if settings.eval_strategy == "no" or not absent:
        return
    said = ", ".join(absent[:5]) + (f", ... ({len(absent)})" if len(absent) > 5 else "")
    problem = f"--metric_for_best_model {metric}: no validation row has the label {said}"
    if metric == "roc_auc":
        raise BadInput(f"{problem}, so it is not defined; choose another, such as loss, or other rows")
    never_positive = len(data.labels) == 2 and absent == [data.labels[1]]
    if (metric == "mcc" and len(present) == 1) or (
        metric in ("precision", "recall", "f1") and never_positive
    ):
        log.warning("%s, so it is always 0, and the loss alone chooses the best model", problem)


def build_plan(
    settings: Settings, data: Data, processes: int, micro_batches_per_step: int, least_rows: int = 1
) -> BatchPlan:
    """Decides the order of the training rows.

    Args:
        settings: Size and kind of the batches.
        data: Has the training rows.
        processes: How many share a step.
        micro_batches_per_step: Over all of them.
        least_rows: What `rows_needed` says of the model.

    Raises:
        BadInput: If a batch cannot have as many rows as the model needs, or the number of processes does not
            divide the micro-batches of a step, as can happen when a run is resumed on another number.
    """
    if micro_batches_per_step % processes:
        raise BadInput(
            f"{processes} processes cannot share the {micro_batches_per_step} micro-batches per step with "
            f"which this run began; the number of processes must divide {micro_batches_per_step}"
        )
    strategy = getattr(settings, "train_sampling_strategy", "random")  # rows of text alone have lengths
    return BatchPlan(
        lengths=data.train.lengths,
        rows_per_batch=settings.per_device_train_batch_size,
        tokens_per_batch=getattr(settings, "tokens_per_batch", None),
        micro_batches_per_step=micro_batches_per_step,
        processes=processes,
        group_by_length=strategy == "group_by_length",
        seed=settings.seed,
        least_rows=least_rows,
    )


def total_steps(settings: Settings, plan: BatchPlan) -> int:
    """Returns the optimizer steps of the whole run.

    Raises:
        BadInput: If `warmup_steps` are not fewer.
    """
    total = settings.max_steps if settings.max_steps > 0 else plan.epoch_ends(settings.num_train_epochs)[-1]
    if settings.warmup_steps >= max(1, total):
        raise BadInput(f"--warmup_steps {settings.warmup_steps:g}: must be below the run's {total:,} steps")
    return total


def marks(strategy: str, every: float | None, plan: BatchPlan, total: int) -> frozenset[int]:
    """Returns the numbers of steps done at which to evaluate, or to save."""
    if strategy == "steps" and every:
        step = max(1, round(every * total) if every < 1 else int(every))
        return frozenset(range(step, total + 1, step)) | {total}
    if strategy == "epoch":
        epochs = math.ceil(total / len(plan.epoch(0))) + 1
        return frozenset(end for end in plan.epoch_ends(epochs) if end <= total) | {total}
    return frozenset()


def log_every(logging_steps: float, total: int) -> int:
    """Returns the steps between two log records; below 1 they are given as a share of all steps."""
    return max(1, round(logging_steps * total) if logging_steps < 1 else int(logging_steps))


def assemble(
    recipe: Recipe,
    settings: Settings,
    data: Data,
    model: PreTrainedModel,
    accelerator: Accelerator,
    *,
    plan: BatchPlan,
    record: RunRecord,
    run_dir: Path,
    first_step: int,
    stop: Stop,
) -> tuple[Training, WeightAverage | None]:
    """Builds optimizer, schedule, loss, the functions that evaluate and save, and `--model_ema`'s mean.

    The model has been through `prepare_model`.
    """
    total = total_steps(settings, plan)
    groups = optim.parameter_groups(model, settings)
    log.info("learns: %s", optim.describe_groups(groups))
    metric = settings.metric_for_best_model.removeprefix("eval_")
    upwards = greater_is_better(metric) if settings.greater_is_better is None else settings.greater_is_better
    optimizer = optim.build_optimizer(groups, settings)
    schedule = optim.build_schedule(optimizer, settings, total, greater_is_better=upwards)
    refuse_two_owners(recipe, settings)
    if not recipe.loss:  # which might read the states of the other tokens
        keep_first_token(model)
    if settings.gradient_checkpointing:
        recompute_activations(model)
    if settings.torch_compile:
        model.compile()
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    average = WeightAverage(model, settings.model_ema) if settings.model_ema else None
    after_steps = [recipe.after_step, average.after_step if average else None]
    if settings.gradual_unfreezing:
        after_steps.append(gradual_unfreezing(settings.gradual_unfreezing, len(plan.epoch(0))))
    scored = average.module if average else prepared
    workers = worker_count(settings.dataloader_num_workers, accelerator.device, accelerator.num_processes)
    training = Training(
        accelerator=accelerator,
        model=prepared,
        optimizer=prepared_optimizer,
        schedule=schedule,
        plan=plan,
        rows=data.train,
        collate=data.collate,
        workers=workers,
        loss=recipe.loss or choose_loss(settings, data),
        after_step=in_turn(after_steps),
        evaluate=_evaluation(recipe, settings, data, scored, accelerator, workers),
        save=lambda progress: None,
        log=RunLog(run_dir / "log.jsonl", accelerator, first_step),
        stop=stop,
        seed=settings.seed,
        max_grad_norm=settings.max_grad_norm,
        total_steps=total,
        log_every=log_every(settings.logging_steps, total),
        eval_at=marks(settings.eval_strategy, settings.eval_steps, plan, total),
        save_at=marks(settings.save_strategy, settings.save_steps, plan, total),
        metric_for_best_model=next(iter(named("eval", {metric: 0.0}))),
        greater_is_better=upwards,
        keep_best=settings.load_best_model_at_end,
        early_stopping_patience=settings.early_stopping_patience,
    )
    training.save = _saving(training, model, average, settings, record, run_dir)
    return training, average


def recompute_activations(model: PreTrainedModel) -> None:
    """Lets a model compute its activations again in the backward pass, which takes less memory.

    Raises:
        BadInput: If its architecture cannot.
    """
    try:
        model.activation_checkpointing_enable()
    except ValueError:  # what transformers raises for it
        raise BadInput(
            f"--gradient_checkpointing: {type(model).__name__} cannot recompute its activations; leave it out"
        ) from None


def in_turn(functions: Iterable[AfterStep | None]) -> AfterStep | None:
    """Returns one `after_step` that calls several, None if there are none."""
    given = [function for function in functions if function]

    def after_step(steps: int, model: torch.nn.Module) -> None:
        for function in given:
            function(steps, model)

    return after_step if given else None


def choose_loss(settings: Settings, data: Data) -> Loss:
    """Returns the loss that the settings ask for."""
    if getattr(settings, "mixup", 0) or getattr(settings, "cutmix", 0):
        from hftune.training.mixup import mixing_loss

        return mixing_loss(settings, len(data.labels))  # type: ignore[arg-type]
    return build_loss(settings, data.train.labels, data.labels)


def trains_another(recipe: Recipe, settings: Settings) -> bool:
    """Returns whether the training minimises another loss than the log loss that validation shows."""
    flags = ("class_weight", "label_smoothing_factor", "mixup", "cutmix")
    return bool(recipe.loss or any(getattr(settings, flag, None) for flag in flags))


def refuse_two_owners(recipe: Recipe, settings: Settings) -> None:
    """Raises `BadInput` if a flag asks for what the recipe's own `loss` or `after_step` would drop."""
    for flag in ("class_weight", "label_smoothing_factor", "mixup", "cutmix"):
        if recipe.loss and getattr(settings, flag, None):
            raise BadInput(
                f"--{flag}: the recipe {recipe.name} has a loss of its own, which does not know it"
            )
    if recipe.after_step and settings.gradual_unfreezing:
        raise BadInput(f"--gradual_unfreezing: the recipe {recipe.name} has an after_step of its own")


def _evaluation(
    recipe: Recipe,
    settings: Settings,
    data: Data,
    model: torch.nn.Module,
    accelerator: Accelerator,
    workers: int,
) -> Callable[[], dict[str, float]]:
    names = evaluation_metrics(recipe, settings)
    positive = positive_class(data.labels, settings.pos_label)

    def evaluate() -> dict[str, float]:
        counts = score(
            model,
            data.validation,
            data.collate,
            accelerator,
            num_labels=len(data.labels),
            rows_per_batch=settings.per_device_eval_batch_size,
            workers=workers,
            names=names,
            positive=positive,
        )
        if (answer := only_answer(counts.confusion)) is not None:
            log.info(
                "all %s validation rows are answered %r", f"{len(data.validation):,}", data.labels[answer]
            )
        return named("eval", counts.compute(names))

    return evaluate


def evaluation_metrics(recipe: Recipe, settings: Settings) -> list[str]:
    """Returns the loss, the recipe's metrics, and the one that chooses the best model."""
    chosen = settings.metric_for_best_model.removeprefix("eval_")
    return list(dict.fromkeys(["log_loss", *recipe.metrics, "log_loss" if chosen == "loss" else chosen]))


def _saving(
    training: Training,
    model: PreTrainedModel,
    average: WeightAverage | None,
    settings: Settings,
    record: RunRecord,
    run_dir: Path,
) -> Callable[[Progress], None]:
    accelerator = training.accelerator
    names = optim.names_in_groups(model, training.optimizer.param_groups)

    def save(progress: Progress) -> None:
        if accelerator.is_main_process:
            optimizer, optimizer_state = optimizer_tensors(training.optimizer.optimizer, names)
            state: dict[str, Any] = {
                "progress": dataclasses.asdict(progress),
                "optimizer": optimizer_state,
                "schedule": training.schedule.state_dict(),
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
                "threads": torch.get_num_threads(),
                "precision": accelerator.mixed_precision,
                "device": device_name(accelerator.device),
                "data_fingerprint": record.data_fingerprints["data"],
            }
            tensors = {"model": model.state_dict(), "optimizer": optimizer}
            if average:
                tensors["average"] = average.state_dict()
            save_checkpoint(run_dir, progress.step, tensors, state)
            best = {progress.best_step} if settings.load_best_model_at_end and progress.best_step else set()
            rotate(run_dir, settings.save_total_limit, protect=best)
            change_record(run_dir, best_step=progress.best_step, last_step=progress.step)
        accelerator.wait_for_everyone()

    return save


def restore(
    training: Training,
    model: PreTrainedModel,
    average: WeightAverage | None,
    checkpoint: Checkpoint,
    fingerprint: str,
) -> Progress:
    """Puts a checkpoint's weights, optimizer, schedule and counters back.

    Raises:
        BadInput: If the checkpoint belongs to another model, optimizer or data set.
    """
    if checkpoint.state["data_fingerprint"] != fingerprint:
        raise BadInput(f"{checkpoint.path} was trained on other data; choose another --output_dir")
    precision = training.accelerator.mixed_precision
    begun = checkpoint.state.get("precision", precision)  # what an earlier hftune did not note
    if begun != precision:
        raise BadInput(f"{checkpoint.path} was trained in precision {begun}, and this run is in {precision}")
    load_weights(model, checkpoint, "model")
    if average:
        if "average" not in checkpoint.tensors:
            raise BadInput(f"{checkpoint.path} holds no averaged weights; go on from it without --model_ema")
        average.load_state_dict(checkpoint.tensors["average"], checkpoint.step)
    restore_optimizer(
        training.optimizer.optimizer, checkpoint.tensors["optimizer"], checkpoint.state["optimizer"]
    )
    training.schedule.load_state_dict(checkpoint.state["schedule"])
    if training.accelerator.scaler and checkpoint.state["scaler"]:
        training.accelerator.scaler.load_state_dict(checkpoint.state["scaler"])
    if (threads := checkpoint.state["threads"]) != torch.get_num_threads():
        log.warning(
            "this run had %d threads, now it has %d: the last bits will differ (set OMP_NUM_THREADS=%d)",
            threads,
            torch.get_num_threads(),
            threads,
        )
    here = device_name(training.accelerator.device)
    if (device := checkpoint.state.get("device", here)) != here:
        log.warning("this run was on %s, now it is on %s: the last bits will differ", device, here)
    return Progress(**checkpoint.state["progress"])


def load_weights(model: PreTrainedModel, checkpoint: Checkpoint, which: str) -> None:
    """Copies a checkpoint's weights into a model: "model", or their "average".

    Raises:
        BadInput: If names or shapes differ; the message names the first.
    """
    try:
        model.load_state_dict(checkpoint.tensors[which])
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise BadInput(f"{checkpoint.path} holds another model", lines[1:]) from None
