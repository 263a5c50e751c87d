"""Which rows stand in which batch of which step: a pure function of (seed, epoch).

An optimizer *step* consists of micro-batches; every process takes its share of them. The plan is
made for all processes together, so that one process with two micro-batches and two processes with
one each see the same rows, and a run that starts in the middle sees what it would have seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hftune.data.dataset import EpochIndex
from hftune.errors import BadInput
from hftune.seed import permutation

CHUNK = 50  # batches that are sorted by length together: little padding, yet no two epochs alike


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Args:
        rows: Row ids, int64 of shape (B,). Never empty.
        share: Weight of this micro-batch's mean loss in its step: its terms over the step's.
            0 for a stand-in that only keeps the processes in step at an epoch's uneven end.
        index: Number within the step over all processes: the address of its dropout.
    """

    rows: np.ndarray
    share: float
    index: int

    def visits(self, epoch: int) -> list[int]:
        """Returns the row ids as a set takes them that changes its rows at random."""
        return [EpochIndex.of(row, epoch) for row in self.rows.tolist()]


@dataclass(frozen=True)
class Step:
    """One optimizer step: its number from 0, its epoch from 0, and the micro-batches of all processes."""

    number: int
    epoch: int
    micro_batches: list[MicroBatch]
    epochs_done: float  # after this step

    @property
    def rows(self) -> int:
        """Rows that count in this step."""
        return sum(len(micro.rows) for micro in self.micro_batches if micro.share)


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The order of a training run.

    Args:
        lengths: Tokens of each row, int64 of shape (N,); all ones where length means nothing.
        rows_per_batch: Rows in a micro-batch.
        tokens_per_batch: If given, rows are filled up to this many *padded* tokens instead.
        micro_batches_per_step: Over all processes: accumulation times processes.
        processes: How many share a step.
        group_by_length: Whether a batch takes rows of similar length.
        seed: The run's seed.
        least_rows: Rows that a batch has at least: 2 for BatchNorm that sees one value of a row. A smaller
            one is joined to the one before it.
        weights: Terms of the loss of each row, int64 of shape (N,); None: one each.
        order: See `hftune.data.dataset.Data`.

    Raises:
        BadInput: If a batch cannot have `least_rows`.
    """

    lengths: np.ndarray
    rows_per_batch: int
    tokens_per_batch: int | None
    micro_batches_per_step: int
    processes: int
    group_by_length: bool
    seed: int
    least_rows: int = 1
    weights: np.ndarray | None = None
    order: Callable[[int, int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        needs = f"the model's BatchNorm needs {self.least_rows} rows in a batch"
        if not self.tokens_per_batch and self.rows_per_batch < self.least_rows:
            remedy = "pass that or more, or keep its statistics (--freeze_batch_norm, for images)"
            raise BadInput(f"--per_device_train_batch_size {self.rows_per_batch}: {needs}; {remedy}")
        if len(self.lengths) < self.least_rows:
            raise BadInput(f"{len(self.lengths)} training rows: {needs}")

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Cuts an epoch's random order into micro-batches of row ids; every row stands in one."""
        if self.order:
            return self.joined(self._cut(self.order(self.seed, epoch)))
        order = permutation(len(self.lengths), "order", self.seed, epoch)
        if not self.group_by_length:
            return self.joined(self._cut(order))
        rows = self.rows_per_batch
        if self.tokens_per_batch:
            rows = max(1, int(self.tokens_per_batch / self.lengths.mean()))
        batches = []
        for start in range(0, len(order), CHUNK * rows):
            chunk = order[start : start + CHUNK * rows]
            batches += self._cut(chunk[np.argsort(-self.lengths[chunk], kind="stable")])
        batches = self.joined(batches)
        return [batches[i] for i in permutation(len(batches), "batches", self.seed, epoch)]

    def joined(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the batches with none of fewer than `least_rows`."""
        kept: list[np.ndarray] = []
        for rows in batches:
            if kept and min(len(rows), len(kept[-1])) < self.least_rows:
                kept[-1] = np.concatenate([kept[-1], rows])
            else:
                kept.append(rows)
        return kept

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        if not self.tokens_per_batch:
            return np.split(order, range(self.rows_per_batch, len(order), self.rows_per_batch))
        batches, start = [], 0
        while start < len(order):
            window = self.lengths[order[start : start + self.tokens_per_batch]]
            padded = np.maximum.accumulate(window) * np.arange(1, len(window) + 1)  # tokens if cut here
            count = max(1, int(np.searchsorted(padded, self.tokens_per_batch, side="right")))
            batches.append(order[start : start + count])
            start += count
        return batches

    @lru_cache(maxsize=2)  # noqa: B019  a plan lives as long as the run
    def epoch(self, epoch: int) -> list[list[MicroBatch]]:
        """Groups an epoch's micro-batches into steps; the last step may be shorter."""
        batches = self.batches(epoch)
        steps = []
        for start in range(0, len(batches), self.micro_batches_per_step):
            window = batches[start : start + self.micro_batches_per_step]
            terms = [len(ids) if self.weights is None else int(self.weights[ids].sum()) for ids in window]
            step = [MicroBatch(ids, terms[i] / sum(terms), i) for i, ids in enumerate(window)]
            while len(step) % self.processes:
                step.append(MicroBatch(window[0][: self.least_rows], 0.0, len(step)))
            steps.append(step)
        return steps

    def steps(self, first: int, last: int) -> Iterator[Step]:
        """Yields the steps numbered first .. last-1, through as many epochs as that takes."""
        number = epoch = 0
        while number < last:
            steps = self.epoch(epoch)
            for k in range(max(0, first - number), min(len(steps), last - number)):
                yield Step(number + k, epoch, steps[k], epoch + (k + 1) / len(steps))
            number += len(steps)
            epoch += 1

    def epochs(self, steps: int) -> float:
        """Returns how many epochs a number of steps makes."""
        epoch = 0
        while steps > len(self.epoch(epoch)):
            steps -= len(self.epoch(epoch))
            epoch += 1
        return round(epoch + steps / len(self.epoch(epoch)), 4)

    def epoch_ends(self, epochs: float) -> list[int]:
        """Returns, for each epoch, the number of steps done when it ends; the last may be a part."""
        ends, total = [], 0
        for epoch in range(int(np.ceil(epochs))):
            part = min(1.0, epochs - epoch)
            total += max(1, round(part * len(self.epoch(epoch))))
            ends.append(total)
        return ends

    def describe(self) -> str:
        """Says how many rows pass in a step, such as "16 rows x 2 accumulated x 4 processes = 128"."""
        accumulated = self.micro_batches_per_step // self.processes
        batch = (
            f"{self.tokens_per_batch:,} tokens" if self.tokens_per_batch else f"{self.rows_per_batch} rows"
        )
        words = [batch]
        words += [f"{accumulated} accumulated"] * (accumulated > 1)
        words += [f"{self.processes} processes"] * (self.processes > 1)
        if len(words) == 1:
            return batch
        total = (self.tokens_per_batch or self.rows_per_batch) * self.micro_batches_per_step
        return f"{' x '.join(words)} = {total:,}"

    def padding_share(self, epoch: int = 0) -> float | None:
        """Returns the share of padding among an epoch's tokens, 0 to 1; None where lengths are not known."""
        if self.order:
            return None
        batches = self.batches(epoch)
        padded = sum(int(self.lengths[rows].max()) * len(rows) for rows in batches)
        return 1 - float(self.lengths.sum()) / padded


def by_length(lengths: np.ndarray, rows_per_batch: int) -> list[np.ndarray]:
    """Cuts rows, longest first, into batches for scoring: the least padding, and memory shows at once."""
    order = np.argsort(-lengths, kind="stable")
    return np.split(order, range(rows_per_batch, len(order), rows_per_batch))
