"""From settings, data and a model to everything that the loop needs."""

import logging
from collections.abc import Callable, Iterable
from functools import partial

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data
from hftune.data.loader import worker_count
from hftune.errors import BadInput
from hftune.models.cls_only import keep_first_token
from hftune.recipe import Recipe
from hftune.settings.base import Settings
from hftune.tasks.metrics import greater_is_better, only_answer, positive_class
from hftune.training import optim
from hftune.training.context import Run
from hftune.training.ema import WeightAverage
from hftune.training.evaluate import named, result_key, score
from hftune.training.freezing import check_unfreezing, freeze, gradual_unfreezing, keep_statistics
from hftune.training.log import RunLog
from hftune.training.loop import Training
from hftune.training.losses import Loss, build_loss
from hftune.training.precision import suit
from hftune.training.schedule import Schedule
from hftune.training.state import State

log = logging.getLogger(__name__)

OF_THE_LOSS = ("class_weight", "label_smoothing_factor", "mixup", "cutmix")  # flags
AfterStep = Callable[[int, torch.nn.Module], None]


def prepare_model(model: PreTrainedModel, settings: Settings, accelerator: Accelerator) -> None:
    """Makes weights float32, and freezes what the settings say.

    Raises:
        BadInput: If the settings do not suit the model.
    """
    suit(model, accelerator.mixed_precision, accelerator.device)
    keep_statistics(model, everywhere=settings.freeze_batch_norm)
    if settings.freeze:
        log.info("frozen: %d tensors match %s", freeze(model, settings.freeze), settings.freeze)
    if settings.gradual_unfreezing:
        check_unfreezing(model)


def check_choice(settings: Settings, data: Data) -> None:
    """Looks whether the validation rows have the classes that `--metric_for_best_model` needs.

    Raises:
        BadInput: If without one of them it is no number.
    """
    metric = settings.metric_for_best_model
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
    return BatchPlan(
        lengths=data.train.lengths,
        rows_per_batch=settings.per_device_train_batch_size,
        tokens_per_batch=settings.tokens_per_batch,
        micro_batches_per_step=micro_batches_per_step,
        processes=processes,
        group_by_length=settings.train_sampling_strategy == "group_by_length",
        seed=settings.seed,
        least_rows=least_rows,
    )


def set_up(
    run: Run,
    data: Data,
    model: PreTrainedModel,
    plan: BatchPlan,
    schedule: Schedule,
    first_step: int = 0,
) -> tuple[Training, State]:
    """Builds what the loop needs, and what its checkpoints hold.

    Args:
        run: The run.
        data: Its rows.
        model: Has been through `prepare_model`.
        plan: Order of the training rows.
        schedule: Which steps evaluate, save and log.
        first_step: Steps that are done: later lines of `log.jsonl` are made again.
    """
    recipe, settings, accelerator = run.recipe, run.settings, run.accelerator
    refuse_two_owners(recipe, settings)
    groups = optim.parameter_groups(model, settings)
    log.info("learns: %s", optim.describe_groups(groups))
    upwards = scores_go_up(settings)
    optimizer = optim.build_optimizer(groups, settings)
    lr_scheduler = optim.build_schedule(optimizer, settings, schedule.lr_steps, greater_is_better=upwards)
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
    state = State(
        model=model,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        average=average,
        accelerator=accelerator,
        fingerprint=data.fingerprint,
    )
    training = Training(
        accelerator=accelerator,
        model=prepared,
        optimizer=prepared_optimizer,
        lr_scheduler=lr_scheduler,
        plan=plan,
        schedule=schedule,
        rows=data.train,
        collate=data.collate,
        workers=run.workers,
        loss=recipe.loss or choose_loss(settings, data),
        after_step=in_turn(after_steps),
        evaluate=_evaluation(run, data, average.module if average else prepared),
        save=partial(state.save, run),
        log=RunLog(run.run_dir / "log.jsonl", accelerator, first_step),
        stop=run.stop,
        seed=settings.seed,
        max_grad_norm=settings.max_grad_norm,
        metric_for_best_model=result_key("eval", settings.metric_for_best_model),
        greater_is_better=upwards,
        keep_best=settings.load_best_model_at_end,
        early_stopping_patience=settings.early_stopping_patience,
    )
    return training, state


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


def scores_go_up(settings: Settings) -> bool:
    """Returns whether the score that chooses the best model is better the greater it is."""
    given = settings.greater_is_better
    return greater_is_better(settings.metric_for_best_model) if given is None else given


def choose_loss(settings: Settings, data: Data) -> Loss:
    """Returns the loss that the settings ask for."""
    if settings.mixup or settings.cutmix:
        from hftune.training.mixup import mixing_loss

        return mixing_loss(settings, len(data.labels))  # type: ignore[arg-type]
    return build_loss(settings, data.train.labels, data.labels)


def trains_another(recipe: Recipe, settings: Settings) -> bool:
    """Returns whether the training minimises another loss than the log loss that validation shows."""
    return bool(recipe.loss or any(getattr(settings, flag) for flag in OF_THE_LOSS))


def refuse_two_owners(recipe: Recipe, settings: Settings) -> None:
    """Raises `BadInput` if a flag asks for what the recipe's own `loss` or `after_step` would drop."""
    for flag in OF_THE_LOSS:
        if recipe.loss and getattr(settings, flag):
            raise BadInput(
                f"--{flag}: the recipe {recipe.name} has a loss of its own, which does not know it"
            )
    if recipe.after_step and settings.gradual_unfreezing:
        raise BadInput(f"--gradual_unfreezing: the recipe {recipe.name} has an after_step of its own")


def _evaluation(run: Run, data: Data, model: torch.nn.Module) -> Callable[[], dict[str, float]]:
    names = evaluation_metrics(run.recipe, run.settings)
    positive = positive_class(data.labels, run.settings.pos_label)

    def evaluate() -> dict[str, float]:
        counts = score(
            model,
            data.validation,
            data.collate,
            run.accelerator,
            num_labels=len(data.labels),
            rows_per_batch=run.settings.per_device_eval_batch_size,
            workers=run.workers,
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
    chosen = settings.metric_for_best_model
    return list(dict.fromkeys(["log_loss", *recipe.metrics, "log_loss" if chosen == "loss" else chosen]))
