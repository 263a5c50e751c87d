"""Foretells what a run takes: its time from a few measured steps, its memory, its place on the disk."""

import math
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from hftune.data.batches import BatchPlan, by_length
from hftune.data.dataset import Data
from hftune.errors import BadInput
from hftune.settings.base import Settings
from hftune.storage.files import nearest_existing
from hftune.training.frozen_features import rows_to_read
from hftune.training.schedule import Schedule

LONGEST = 2  # steps of the longest rows: they show the memory, and warm the machine up
USUAL = 4  # steps as the run will have them, which are timed
EVALUATED = 3  # batches of each set that is scored

T = TypeVar("T")


class DryRunPlan(BatchPlan):
    """The plan of a dry run: steps of the longest rows first, then some of the run's own, short to long."""

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Returns the micro-batches of all its steps; every epoch is the same."""
        longest = cycle(self.joined(self._cut(np.argsort(-self.lengths, kind="stable"))))
        first = list(islice(longest, LONGEST * self.micro_batches_per_step))
        return first + self.usual()

    def usual(self) -> list[np.ndarray]:
        """Returns the micro-batches of the steps that are timed, evenly spaced among the first epoch's."""
        by_size = sorted(super().batches(0), key=lambda rows: int(self.lengths[rows].max()) * len(rows))
        return spread(by_size, USUAL * self.micro_batches_per_step)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Returns evenly spaced items, the first and the last among them; some of them twice if there are few."""
    return [items[round(k * (len(items) - 1) / max(1, count - 1))] for k in range(count)]


def padded(batches: Sequence[np.ndarray], lengths: np.ndarray) -> int:
    """Counts the tokens of batches, padding included; rows, where all lengths are one.

    Args:
        batches: Row ids of each, int64 (B,).
        lengths: Tokens of each row, int64 (N,).
    """
    return sum(int(lengths[rows].max()) * len(rows) for rows in batches)


def some_batches(lengths: np.ndarray, rows_per_batch: int) -> np.ndarray:
    """Returns the rows of a few whole batches as scoring cuts them, the longest among them; int64 (M,)."""
    batches = by_length(lengths, rows_per_batch)
    places = dict.fromkeys(spread(range(len(batches)), EVALUATED))
    return np.concatenate([batches[place] for place in places])


def scoring_seconds(seconds: float, some: np.ndarray, lengths: np.ndarray, rows_per_batch: int) -> float:
    """Foretells how long a whole set is scored.

    Args:
        seconds: What the rows of `some_batches` took.
        some: Their lengths, int64 (M,).
        lengths: Those of the set to score, int64 (N,).
        rows_per_batch: Rows in a batch.
    """
    sizes = [padded(by_length(each, rows_per_batch), each) for each in (some, lengths)]
    return seconds * sizes[1] / sizes[0]


def checkpoints_kept(settings: Settings, schedule: Schedule) -> int:
    """Returns the most checkpoints that a run has at a time, the one that is being written included."""
    written = schedule.save_at | {schedule.total_steps}
    if settings.load_best_model_at_end:
        written |= schedule.eval_at
    if settings.save_total_limit is None:
        return len(written)
    kept = max(settings.save_total_limit, 2 if settings.load_best_model_at_end else 1)
    return min(len(written), kept + 1)


def scoring_times(
    settings: Settings, data: Data, few: Data, seconds: float, probed: np.ndarray
) -> dict[str, float]:
    """Foretells the seconds of one `evaluation` of all validation rows, of the `test` and of `probing`.

    The baseline on frozen features reads its rows then; it takes about as long as scoring them.

    Args:
        settings: The run's.
        data: Its rows.
        few: The rows of `excerpt`.
        seconds: What the evaluation of their validation rows took.
        probed: Lengths of the rows that linear probing reads, int64 (M,).
    """
    rows = settings.per_device_eval_batch_size
    scoring = partial(scoring_seconds, seconds, few.validation.lengths, rows_per_batch=rows)
    views = 3 if settings.test_time_augmentation else 1  # once, and in two views
    views += data.swapped is not None
    test = 0.0 if data.test is None else views * scoring(lengths=data.test.lengths)
    frozen = rows_to_read(settings, data) if settings.baselines else {}
    test += sum(scoring(lengths=split.lengths) for split in frozen.values())
    probing = scoring(lengths=probed) if len(probed) else 0.0
    return {"evaluation": scoring(lengths=data.validation.lengths), "test": test, "probing": probing}


def step_seconds(seconds: Sequence[float], plan: BatchPlan) -> float:
    """Foretells the mean time of a step.

    Args:
        seconds: What each step of a `DryRunPlan` took.
        plan: The run's own plan.
    """
    timed = seconds[LONGEST:]
    epoch = plan.epoch(0)
    of_epoch = padded(plan.batches(0), plan.lengths) / len(epoch)
    of_timed = padded(DryRunPlan(**vars(plan)).usual(), plan.lengths) / len(timed)
    return sum(timed) / len(timed) * of_epoch / of_timed


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The parts of a run's time, in seconds.

    Args:
        loading: Until the data are there.
        steps: Optimizer steps.
        step: One of them.
        evaluations: How often the validation rows are scored while it trains.
        evaluation: Once.
        test: The scores of the test rows and their baselines, at the end; 0 without any.
        teaching: A teacher's answers to all rows; 0 without one.
        probing: Reading the rows that the last layer is fitted to first; 0 where it is not.
    """

    loading: float
    steps: int
    step: float
    evaluations: int
    evaluation: float
    test: float
    teaching: float = 0.0
    probing: float = 0.0

    def total(self) -> float:
        """Returns the seconds of the whole run; the best model is scored on the validation rows once more."""
        before = self.loading + self.teaching + self.probing
        return before + self.steps * self.step + (self.evaluations + 1) * self.evaluation + self.test

    def words(self) -> str:
        """Says how long a run takes, and what of it."""
        parts = [
            f"{counted(self.steps, 'step')} of {self.step:.2g} s",
            f"{counted(self.evaluations, 'evaluation')} of {duration(self.evaluation)}",
            *([f"the test rows {duration(self.test)}"] if self.test else []),
            *([f"the teacher's answers {duration(self.teaching)}"] if self.teaching else []),
            *([f"linear probing {duration(self.probing)}"] if self.probing else []),
        ]
        return f"about {duration(self.total())}: {', '.join(parts)}"


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun: 1 step, 2 steps."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Writes a time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Writes bytes as people say them: 1.2 GB, 340 MB."""
    return f"{count / 1e9:.1f} GB" if count >= 0.95e9 else f"{max(1, round(count / 1e6))} MB"


def peak_memory(device: torch.device) -> str:
    """Says how much memory this process had at most, of how much there is: of the accelerator, or its own."""
    if device.type != "cpu":
        try:
            _, there = torch.accelerator.get_memory_info(device)
            most = torch.accelerator.max_memory_reserved(device)
        except (RuntimeError, NotImplementedError):  # a device that does not count its memory
            return f"not known on {device}"
        return f"{size(most)} of {size(there)} on {device}"
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{size(most)} of {size(there)}"


def bytes_of(folder: Path) -> int:
    """Counts the bytes of the files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def disk_words(run_dir: Path, checkpoint: int, checkpoints: int, model: int) -> str:
    """Says what a run writes and what is free.

    Args:
        run_dir: Where the run will be.
        checkpoint: Bytes of one.
        checkpoints: How many there are at most at a time.
        model: Bytes of the saved model.

    Raises:
        BadInput: There is less room than it takes.
    """
    needed = checkpoint * checkpoints + model
    free = shutil.disk_usage(nearest_existing(run_dir)).free
    parts = f"{counted(checkpoints, 'checkpoint')} of {size(checkpoint)} and the model"
    words = f"{size(needed)} for {parts}; {size(free)} free"
    if needed > free:
        raise BadInput(f"{words}; make room, or pass --save_total_limit 1 or another --output_dir")
    return words
