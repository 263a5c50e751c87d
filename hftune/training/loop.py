"""The loop: from batches to weights. It knows neither text nor images.

It gets a module, a plan of batches and a few functions. What goes on in a step is decided by two
seams, `loss(model, batch)` and `after_step(steps, model)`; what fits neither is a recipe of its own.
A *step* is an optimizer step, a *micro-batch* what passes the model at once.
"""

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from signal import SIGINT, SIGTERM

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from transformers.optimization import GreedyLR

from hftune.data.batches import BatchPlan, MicroBatch, Step
from hftune.data.dataset import Rows
from hftune.data.loader import batch_loader, log_data_wait
from hftune.errors import BadInput, StoppedBySignal
from hftune.runtime.signals import Stop
from hftune.seed import seed_torch
from hftune.tasks.base import Loss
from hftune.training.log import Bar, RunLog
from hftune.training.nonfinite import non_finite
from hftune.training.schedule import Schedule


@dataclass
class Progress:
    """Where a run stands. All of it is in every checkpoint, so that nothing restarts at zero."""

    step: int = 0  # optimizer steps done
    rows: int = 0  # rows trained on, with repetition
    loss_sum: float = 0.0  # since the last log record
    loss_steps: int = 0
    total_loss: float = 0.0  # over all steps
    best_score: float | None = None
    best_loss: float | None = None  # of validation, at that evaluation
    best_step: int | None = None
    evaluations_without_gain: int = 0
    finished: bool = False
    seconds: float = 0.0  # spent in training, over all starts
    skipped: int = 0  # steps whose gradients overflowed fp16, so that they changed no weight

    def update_best(self, score: float, loss: float, greater_is_better: bool, patience: int) -> bool:
        """Notes an evaluation; returns whether it is the best so far.

        Of equal scores the one with the lower validation loss is the better one, but early stopping waits
        for a better score.
        """
        gain = self.best_score is None or beats(score, self.best_score, greater_is_better)
        worse = self.best_score is not None and beats(self.best_score, score, greater_is_better)
        # Checkpoints of an earlier hftune do not know the loss of the best: it stays the best.
        better = gain or (not worse and self.best_loss is not None and loss < self.best_loss)
        if better:
            self.best_score, self.best_loss, self.best_step = score, loss, self.step
        self.evaluations_without_gain = 0 if gain else self.evaluations_without_gain + 1
        self.finished = 0 < patience <= self.evaluations_without_gain
        return better


def beats(score: float, other: float, greater_is_better: bool) -> bool:
    """Returns whether a score is better than another; what is no number is worse than every number."""
    if math.isnan(score) or math.isnan(other):
        return math.isnan(other) and not math.isnan(score)
    return score > other if greater_is_better else score < other


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything the loop needs; nothing of it is built by the loop."""

    accelerator: Accelerator
    model: torch.nn.Module
    optimizer: AcceleratedOptimizer
    lr_scheduler: LRScheduler
    plan: BatchPlan
    rows: Rows
    collate: Callable
    workers: int
    loss: Loss
    after_step: Callable[[int, torch.nn.Module], None] | None
    evaluate: Callable[[], dict[str, float]]
    save: Callable[[Progress], None]
    log: RunLog
    stop: Stop
    seed: int
    max_grad_norm: float  # 0: no clipping
    schedule: Schedule
    metric_for_best_model: str  # a key of what `evaluate` returns
    greater_is_better: bool
    keep_best: bool
    early_stopping_patience: int

    def local_micro_batches(self, step: Step) -> list[MicroBatch]:
        """Returns this process's micro-batches of a step."""
        return step.micro_batches[self.accelerator.process_index :: self.accelerator.num_processes]

    def batches(self, first_step: int) -> Generator[dict[str, torch.Tensor], None, None]:
        """Yields this process's batches from a step on, to the end of the run."""
        steps = self.plan.steps(first_step, self.schedule.total_steps)
        row_ids = (micro.visits(step.epoch) for step in steps for micro in self.local_micro_batches(step))
        loader = batch_loader(
            self.rows, row_ids, self.collate, workers=self.workers, device=self.accelerator.device
        )
        return log_data_wait(loader, self.workers)


def fit(training: Training, progress: Progress, bar: Bar) -> None:
    """Trains from `progress.step` to the end, evaluating and saving on the way.

    Raises:
        BadInput: Before the first step, if the loss depends on nothing that trains.
        NonFiniteError: In the step whose loss or gradient is not finite, before it changes a weight.
        StoppedBySignal: After the step in which SIGINT or SIGTERM arrived, with a checkpoint written.
    """
    schedule = training.schedule
    # Closed whatever happens: workers that live on to the exit are taken for failed ones there.
    with contextlib.closing(training.batches(progress.step)) as batches:
        if training.after_step:
            training.after_step(progress.step, training.accelerator.unwrap_model(training.model))
        for step in training.plan.steps(progress.step, schedule.total_steps):
            if progress.finished:
                break
            began = time.monotonic()
            training.model.train()
            loss, norm, signum = update(training, step, batches)
            progress.step += 1
            progress.rows += step.rows
            progress.loss_sum += loss
            progress.loss_steps += 1
            progress.total_loss += loss
            progress.skipped += not math.isfinite(norm)
            if training.after_step:
                training.after_step(progress.step, training.accelerator.unwrap_model(training.model))
            bar.advance(progress.step, step.rows, loss)
            if progress.step % schedule.log_every == 0 or progress.step == schedule.total_steps:
                log_training(training, progress, step, norm)
            improved = progress.step in schedule.eval_at and evaluate(training, progress, step, bar)
            progress.seconds += time.monotonic() - began
            last = progress.finished or progress.step == schedule.total_steps
            if last or signum or progress.step in schedule.save_at or (improved and training.keep_best):
                training.save(progress)
            if signum:
                raise StoppedBySignal(
                    signum, f"step {progress.step:,} is saved; the same command goes on from there"
                )


def update(training: Training, step: Step, batches: Iterator[dict]) -> tuple[float, float, int]:
    """Makes one optimizer step.

    Every micro-batch counts by its rows, so that 8 x 1 row, 1 x 8 rows and two processes with four
    rows each give the same gradient, in the shorter last window of an epoch too.

    Returns:
        The mean loss over the step's rows, the gradient's norm before clipping, and the number of a
        signal that any process received (0: none).
    """
    accelerator, model = training.accelerator, training.model
    total = torch.zeros((), device=accelerator.device)
    seen, shares = [], training.local_micro_batches(step)
    for micro in shares:
        batch = next(batches)
        seen.append(batch)
        seed_torch("dropout", training.seed, step.number, micro.index)
        final = micro is shares[-1]
        with contextlib.nullcontext() if final else accelerator.no_sync(model):
            loss = training.loss(model, batch)
            if not loss.requires_grad:
                raise BadInput("nothing trains that the loss depends on; freeze less, see --freeze")
            # Times the processes: DistributedDataParallel averages over them.
            accelerator.backward(loss * (micro.share * accelerator.num_processes))
        total += loss.detach() * micro.share
    gradient_norm = accelerator.clip_grad_norm_(model.parameters(), training.max_grad_norm or math.inf)
    # One exchange, since every process must know of the others' trouble; then the one wait for the device.
    sums = accelerator.reduce(torch.stack([total, *training.stop.flags(total.device)]), reduction="sum")
    mean_loss, interrupted, terminated, norm = torch.stack([*sums, gradient_norm]).tolist()
    # fp16's scaler meets infinite gradients as a matter of course: it skips the step and halves its scale.
    # A scale that has come down to 1 cannot be what makes them infinite.
    overflow = accelerator.scaler is not None and not math.isfinite(norm)
    excused = overflow and accelerator.scaler.get_scale() > 1
    if not math.isfinite(mean_loss) or not (math.isfinite(norm) or excused):
        elsewhere = not math.isfinite(mean_loss) and bool(torch.isfinite(total))
        raise non_finite(
            accelerator.unwrap_model(model),
            training.loss,
            seen,
            step=step.number + 1,
            values={
                "loss": mean_loss,
                "gradient norm": norm,
                "learning rate": float(training.lr_scheduler.get_last_lr()[0]),
            },
            rows=[] if elsewhere else [int(row) for micro in shares if micro.share for row in micro.rows],
        )
    training.optimizer.step()
    waits_for_score = isinstance(training.lr_scheduler, ReduceLROnPlateau | GreedyLR)
    if not (overflow or waits_for_score):  # accelerate does not see a fused optimizer skip
        training.lr_scheduler.step()
    training.optimizer.zero_grad()
    return mean_loss, norm, SIGTERM if terminated else SIGINT if interrupted else 0


def log_training(training: Training, progress: Progress, step: Step, norm: float) -> None:
    """Writes the mean loss since the last record, the learning rate and the gradient's norm."""
    training.log.write(
        {
            "step": progress.step,
            "epoch": round(step.epochs_done, 4),
            "loss": progress.loss_sum / progress.loss_steps,
            "learning_rate": training.optimizer.param_groups[0]["lr"],
            "grad_norm": norm,
        }
    )
    progress.loss_sum, progress.loss_steps = 0.0, 0


def evaluate(training: Training, progress: Progress, step: Step, bar: Bar) -> bool:
    """Scores the validation set; returns whether the model is the best so far."""
    scores = training.evaluate()
    score = scores[training.metric_for_best_model]
    if isinstance(training.lr_scheduler, ReduceLROnPlateau | GreedyLR):
        training.lr_scheduler.step(score)
    upwards, patience = training.greater_is_better, training.early_stopping_patience
    improved = progress.update_best(score, scores["eval_loss"], upwards, patience)
    epoch = round(step.epochs_done, 4)
    training.log.write({"step": progress.step, "epoch": epoch, **scores})
    shown = "  ".join(f"{name.removeprefix('eval_')} {value:.4f}" for name, value in scores.items())
    bar.say(f"epoch {epoch:g}  step {progress.step:,}  {shown}{'  (best)' if improved else ''}")
    if progress.finished:
        bar.say(
            f"no better {training.metric_for_best_model} for {progress.evaluations_without_gain} evaluations"
        )
    return improved
