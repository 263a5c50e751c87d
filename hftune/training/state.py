"""What the steps of a training change: written to checkpoints, and put back where a run goes on."""

import dataclasses
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel

from hftune.errors import BadInput
from hftune.storage.checkpoint import (
    Checkpoint,
    Tensors,
    clean_temporary,
    latest_valid,
    load_checkpoint,
    rotate,
    save_checkpoint,
    tensor_digest,
)
from hftune.storage.optimizer_state import optimizer_tensors, restore_optimizer
from hftune.storage.run_dir import change_record
from hftune.training.context import Run
from hftune.training.ema import WeightAverage
from hftune.training.loop import Progress
from hftune.training.optim import names_in_groups
from hftune.training.precision import device_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that a checkpoint holds besides the counters of `Progress`.

    Args:
        model: Bare: of no wrapper of accelerate or torch.
        optimizer: Bare likewise.
        lr_scheduler: The course of the learning rate.
        average: The mean of `--model_ema`; None without it.
        accelerator: Has fp16's scaler.
        fingerprint: That of the data.
        left_out: Names of the weights that no checkpoint holds, as every start has them from the base model:
            those beside which LoRA trains its adapters.
    """

    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    lr_scheduler: LRScheduler
    average: WeightAverage | None
    accelerator: Accelerator
    fingerprint: str
    left_out: frozenset[str] = frozenset()

    @cached_property
    def base(self) -> str | None:
        """The digest of the weights that are left out, since a checkpoint is of use with these alone."""
        return tensor_digest(self._left_out_tensors()) if self.left_out else None

    def save(self, run: Run, progress: Progress) -> None:
        """Writes a checkpoint on the main process, removes those that are no longer kept, and notes it."""
        if self.accelerator.is_main_process:
            names = names_in_groups(self.model, self.optimizer.param_groups)
            optimizer, optimizer_state = optimizer_tensors(self.optimizer, names)
            scaler = self.accelerator.scaler
            state: dict[str, Any] = {
                "progress": dataclasses.asdict(progress),
                "optimizer": optimizer_state,
                "schedule": self.lr_scheduler.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "threads": torch.get_num_threads(),
                "precision": self.accelerator.mixed_precision,
                "device": device_name(self.accelerator.device),
                "data_fingerprint": self.fingerprint,
                "base": self.base,
            }
            tensors = {"model": self._kept(self.model.state_dict()), "optimizer": optimizer}
            if self.average:
                tensors["average"] = self._kept(self.average.state_dict())
            save_checkpoint(run.run_dir, progress.step, tensors, state)
            best = progress.best_step if run.settings.load_best_model_at_end else None
            rotate(run.run_dir, run.settings.save_total_limit, protect={best} if best else set())
            change_record(run.run_dir, best_step=progress.best_step, last_step=progress.step)
        self.accelerator.wait_for_everyone()

    def restore(self, checkpoint: Checkpoint) -> Progress:
        """Puts a checkpoint's weights, optimizer, learning rate and scaler back; returns its counters.

        Raises:
            BadInput: If the checkpoint belongs to another model, optimizer or data set.
        """
        noted, path = checkpoint.state, checkpoint.path
        if noted["data_fingerprint"] != self.fingerprint:
            raise BadInput(f"{path} was trained on other data; choose another --output_dir")
        precision = self.accelerator.mixed_precision
        begun = noted.get("precision", precision)  # what an earlier hftune did not note
        if begun != precision:
            raise BadInput(f"{path} was trained in precision {begun}, and this run is in {precision}")
        if noted.get("base") != self.base:
            raise BadInput(f"{path} was trained beside other base weights; choose another --output_dir")
        load_weights(self.model, checkpoint, "model", self._left_out_tensors())
        if self.average:
            if "average" not in checkpoint.tensors:
                raise BadInput(f"{path} holds no averaged weights; go on from it without --model_ema")
            average = self._left_out_tensors() | checkpoint.tensors["average"]
            self.average.load_state_dict(average, checkpoint.step)
        restore_optimizer(self.optimizer, checkpoint.tensors["optimizer"], noted["optimizer"])
        self.lr_scheduler.load_state_dict(noted["schedule"])
        if self.accelerator.scaler and noted["scaler"]:
            self.accelerator.scaler.load_state_dict(noted["scaler"])
        if (threads := noted["threads"]) != (now := torch.get_num_threads()):
            log.warning(
                "this run had %d threads, now it has %d: the last bits will differ (set OMP_NUM_THREADS=%d)",
                threads,
                now,
                threads,
            )
        here = device_name(self.accelerator.device)
        if (device := noted.get("device", here)) != here:
            log.warning("this run was on %s, now it is on %s: the last bits will differ", device, here)
        return Progress(**noted["progress"])

    def take_result(self, run: Run, progress: Progress) -> None:
        """Gives the model the weights that are the run's result: the best so far, the average or the last."""
        if run.settings.load_best_model_at_end and progress.best_step:
            best = load_checkpoint(run.run_dir / f"checkpoint-{progress.best_step}")
            self.take(best)
            run.console.print(f"best: step {progress.best_step:,}; scoring it")
        elif self.average:
            self.model.load_state_dict(self.average.state_dict())

    def take(self, checkpoint: Checkpoint) -> None:
        """Gives the model the weights of a checkpoint that are scored: the average's where there is one."""
        which = "average" if self.average else "model"
        load_weights(self.model, checkpoint, which, self._left_out_tensors())

    def _left_out_tensors(self) -> Tensors:
        return {name: tensor for name, tensor in self.model.state_dict().items() if name in self.left_out}

    def _kept(self, tensors: Tensors) -> Tensors:
        return {name: tensor for name, tensor in tensors.items() if name not in self.left_out}


def load_weights(
    model: PreTrainedModel, checkpoint: Checkpoint, which: str, left_out: Tensors | None = None
) -> None:
    """Copies a checkpoint's weights into a model: "model", or their "average".

    Args:
        model: Gets them.
        checkpoint: Holds them.
        which: See above.
        left_out: The weights that the checkpoint does not hold, see `State`.

    Raises:
        BadInput: If names or shapes differ; the message names the first.
    """
    try:
        model.load_state_dict((left_out or {}) | checkpoint.tensors[which])
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise BadInput(f"{checkpoint.path} holds another model", lines[1:]) from None


def find_checkpoint(run: Run) -> Checkpoint | None:
    """Returns the checkpoint to go on from: the one that was asked for, else the newest whole one."""
    if asked := run.settings.resume_from_checkpoint:
        place = Path(asked)
        newest = None if (place / "manifest.json").exists() else latest_valid(place)[0]  # of a run directory
        checkpoint = load_checkpoint(newest or place)
        log.info("resuming from %s, as asked", checkpoint.path)
        return checkpoint
    if run.is_main:
        clean_temporary(run.run_dir)  # which may put a checkpoint in its place
    run.accelerator.wait_for_everyone()
    path, skipped = latest_valid(run.run_dir)
    for line in skipped:
        log.warning("%s", line)
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    log.info("resuming from %s", path)
    return checkpoint
