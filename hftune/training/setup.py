"""From settings, data and a model to everything that the loop needs."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data, Rows
from hftune.errors import BadInput
from hftune.models import lora
from hftune.models.cls_only import compute_cls_only
from hftune.recipe import Recipe
from hftune.settings.base import Settings
from hftune.tasks import TASKS, USUAL, find_task
from hftune.tasks.base import OF_THE_LOSS, Task
from hftune.tasks.metric import Predictions
from hftune.training import optim
from hftune.training.context import Run
from hftune.training.ema import WeightAverage
from hftune.training.evaluate import predict, result_key, score
from hftune.training.freezing import check_unfreezing, freeze, freeze_statistics, gradual_unfreezing
from hftune.training.log import RunLog
from hftune.training.loop import Training
from hftune.training.precision import suit
from hftune.training.schedule import Schedule
from hftune.training.state import State

log = logging.getLogger(__name__)

AfterStep = Callable[[int, torch.nn.Module], None]


def prepare_model(model: PreTrainedModel, settings: Settings, accelerator: Accelerator, data: Data) -> None:
    """Makes weights float32, freezes what the settings say, and puts the adapters of LoRA beside it.

    Raises:
        BadInput: If the settings do not suit the model.
    """
    suit(model, accelerator.mixed_precision, accelerator.device)
    freeze_statistics(model, everywhere=settings.freeze_batch_norm)
    if settings.freeze:
        log.info("frozen: %d tensors match %s", freeze(model, settings.freeze), settings.freeze)
    if settings.lora_r:
        # A training row may have more than the model reads, such as a teacher's answer.
        lora.inject(model, settings, data.collate([data.validation[0]]))
    if settings.gradual_unfreezing:
        check_unfreezing(model)


def check_choice(settings: Settings, data: Data) -> None:
    """Looks whether the validation rows have the labels that `--metric_for_best_model` needs.

    Raises:
        BadInput: If without one of them it is no number.
    """
    if settings.eval_strategy != "no":
        metric = best_metric(data.task, settings)
        _known_metric([data.task], metric)
        if not settings.metric_for_best_model:
            log.info("best model: chosen by %s", metric)
        if warning := data.task.check_metric(metric, data.validation.targets):
            log.warning("%s", warning)


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
        lengths=data.learned.lengths,
        rows_per_batch=settings.per_device_train_batch_size,
        tokens_per_batch=settings.tokens_per_batch,
        micro_batches_per_step=micro_batches_per_step,
        processes=processes,
        group_by_length=settings.train_sampling_strategy == "group_by_length",
        seed=settings.seed,
        least_rows=least_rows,
        weights=data.learned.weights,
        order=data.order,
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
    groups = optim.parameter_groups(model, settings)
    log.info("learns: %s", optim.describe_groups(groups))
    metric, upwards = best_metric(data.task, settings), settings.greater_is_better
    if upwards is None:
        upwards = data.task.metric(metric).greater_is_better
    if not recipe.loss:  # which might read the states of the other tokens
        compute_cls_only(model)
    if settings.gradient_checkpointing:
        recompute_activations(model)
    if settings.torch_compile:
        model.compile()
    prepared = accelerator.prepare(model)
    # Of weights that are on the device, it makes its state where it belongs: moved there later, a counter
    # on the device would be waited for at every step.
    optimizer = optim.build_optimizer(groups, settings)
    prepared_optimizer = accelerator.prepare_optimizer(optimizer, device_placement=False)
    lr_scheduler = optim.build_schedule(optimizer, settings, schedule.lr_steps, greater_is_better=upwards)
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
        left_out=frozenset(lora.frozen_names(model) if settings.lora_r else ()),
    )
    training = Training(
        accelerator=accelerator,
        model=prepared,
        optimizer=prepared_optimizer,
        lr_scheduler=lr_scheduler,
        plan=plan,
        schedule=schedule,
        rows=data.learned,
        collate=data.collate,
        workers=run.workers,
        loss=data.task.scaled(recipe.loss or data.task.loss(settings, data.train.targets)),
        after_step=chain(after_steps),
        evaluate=_evaluation(run, data, average.module if average else prepared),
        save=partial(state.save, run),
        log=RunLog(run.run_dir / "log.jsonl", accelerator, first_step),
        stop=run.stop,
        seed=settings.seed,
        max_grad_norm=settings.max_grad_norm,
        metric_for_best_model=result_key(data.task, "eval", metric),
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


def chain(functions: Iterable[AfterStep | None]) -> AfterStep | None:
    """Returns one `after_step` that calls several, None if there are none."""
    given = [function for function in functions if function]

    def after_step(steps: int, model: torch.nn.Module) -> None:
        for function in given:
            function(steps, model)

    return after_step if given else None


def trains_another(recipe: Recipe, settings: Settings, task: Task) -> bool:
    """Returns whether the training minimises another loss, or on another scale, than validation shows."""
    return bool(recipe.loss or task.loss_is_scaled or any(getattr(settings, flag) for flag in OF_THE_LOSS))


def check_recipe_flags(recipe: Recipe, settings: Settings) -> None:
    """Raises `BadInput` if a flag asks for what the recipe's own `loss` or `after_step` would drop."""
    for flag in OF_THE_LOSS:
        if recipe.loss and getattr(settings, flag):
            raise BadInput(
                f"--{flag}: the recipe {recipe.name} has a loss of its own, which does not know it"
            )
    if recipe.after_step and settings.gradual_unfreezing:
        raise BadInput(f"--gradual_unfreezing: the recipe {recipe.name} has an after_step of its own")


def _evaluation(run: Run, data: Data, model: torch.nn.Module) -> Callable[[], dict[str, float]]:
    task, rows = data.task, data.validation
    names = evaluation_metrics(run.recipe, task, run.settings)

    def evaluate() -> dict[str, float]:
        predictions = predict_split(run, data, model, rows)
        if (answer := task.only_answer(predictions)) is not None:
            log.info("all %s validation rows are answered %s", f"{len(rows):,}", task.shown_answer(answer))
        return score(task.tune(predictions, rows.targets), "eval", predictions, rows.targets, names)

    return evaluate


def predict_split(run: Run, data: Data, model: torch.nn.Module, rows: Rows) -> Predictions:
    """Returns a model's predictions of some rows of the data, in their order."""
    return predict(
        data.task,
        model,
        rows,
        data.collate,
        run.accelerator,
        rows_per_batch=run.settings.per_device_eval_batch_size,
        workers=run.workers,
    )


def best_metric(task: Task, settings: Settings) -> str:
    """Returns the metric that chooses the best model: the setting's, else the task's first."""
    return settings.metric_for_best_model or next(iter(task.metrics))


def evaluation_metrics(recipe: Recipe, task: Task, settings: Settings) -> list[str]:
    """Returns the loss, the recipe's metrics, and the one that chooses the best model.

    A recipe whose task is changed by a flag names scores of another one: then all of the task's are returned.

    Raises:
        BadInput: The task has no metric of such a name; the nearest is named.
    """
    own = [name for name, metric in task.metrics.items() if not metric.only_tested]
    named = recipe.metrics if settings.task == (recipe.settings.task or USUAL) else own
    chosen = best_metric(task, settings)
    names = list(dict.fromkeys([task.loss_name, *named, task.loss_name if chosen == "loss" else chosen]))
    for name in names:
        task.metric(name)
    return names


def refuse_unknown_metric(recipe: Recipe, settings: Settings) -> None:
    """Raises `BadInput`, before any data are read, for a metric to choose by that nobody knows.

    The recipe's names are believed: which metrics a task of its own has is known when its data are loaded.
    """
    tasks = [find_task(name)() for name in ([settings.task] if settings.task else TASKS)]
    chosen = settings.metric_for_best_model
    if chosen and (settings.task != recipe.settings.task or chosen not in recipe.metrics):
        _known_metric(tasks, chosen)


def _known_metric(tasks: Sequence[Task], name: str) -> None:
    """Raises `BadInput` for a metric that none of several tasks has, with what one of them says of it."""
    problems = []
    for task in tasks:
        try:
            task.metric(name)
            return
        except BadInput as problem:
            problems.append(problem.message)
    raise BadInput(f"--metric_for_best_model: {problems[0]}")
