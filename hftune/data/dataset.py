"""What a recipe's `load_data` hands on: sets whose rows become batches, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hftune.tasks.base import SimpleModel, Task

if TYPE_CHECKING:
    import numpy as np
    import torch


class EpochIndex(int):
    """A row id that knows in which epoch the row is visited.

    A set that changes its rows at random draws the change from (seed, epoch, row); to every other set
    this is the row's number.
    """

    epoch: int

    @classmethod
    def of(cls, row: int, epoch: int) -> EpochIndex:
        """Returns the visit of a row."""
        visit = cls(row)
        visit.epoch = epoch
        return visit


class Rows(Protocol):
    """A map-style set: what a torch `DataLoader` or transformers' `Trainer` takes, and three arrays.

    Attributes:
        lengths: How much of a batch each row takes (tokens; 1 where it does not matter), int64 (N,).
        weights: How many terms of the loss each row has (1 for a row that is classified), int64 (N,).
        targets: What the task asks for, rows first, such as class ids, int64 (N,).
    """

    lengths: np.ndarray
    weights: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        """Returns N."""

    def __getitem__(self, row: int, /) -> Any:
        """Returns a row as `collate` takes it; `row` is an `EpochIndex` where the loop asks."""


@dataclass(frozen=True)
class Places:
    """Where the rows of a set stand in the user's data.

    Args:
        rows: Row of the user's table that each was, from 0, whatever was sampled or left out, int64 (N,).
        place: Says where a row of the set stands: file and line, path, or split and number.
        contents: What a row holds, by name: "text" and of pairs also "text_pair", or the path of its
            "image", "" where it has none.
    """

    rows: np.ndarray
    place: Callable[[int], str]
    contents: Mapping[str, Callable[[int], str]]

    def take(self, chosen: np.ndarray) -> Places:
        """Returns where the chosen rows (int64) stand."""

        def of(at: Callable[[int], str]) -> Callable[[int], str]:
            return lambda row: at(int(chosen[row]))

        contents = {name: of(content) for name, content in self.contents.items()}
        return Places(self.rows[chosen], of(self.place), contents)


@dataclass(frozen=True)
class Transfer:
    """What a model learns from a teacher: the transfer set of Hinton et al. 2015.

    Args:
        rows: The training rows, and behind them those without a label, see `hftune.data.taught`.
        contents: Returns what they hold, such as texts, in their order.
        tested: Likewise of the test rows; None where there are none.
    """

    rows: Rows
    contents: Callable[[], Sequence[Any]]
    tested: Callable[[], Sequence[Any]] | None


@dataclass(frozen=True)
class Data:
    """Everything between a data set and the loop.

    The sets and `collate` work in `transformers.Trainer` and in a torch `DataLoader` as they are.

    Args:
        train: Rows to learn from.
        validation: Rows that choose the model.
        test: Rows scored once, at the end, or None.
        collate: Makes a dict of the model's forward arguments, with `labels`, of a list of rows.
        task: What is asked of a row; it knows the names of the labels.
        processor: The tokenizer or image processor, saved with the model.
        fingerprint: Hash of the rows' content: a run is only resumed on the same data.
        origin: One line: where the rows came from, and how validation came about.
        dataset_commit: Commit of the Hub data set, None for any other data.
        facts: Flat numbers for `all_results.json`, such as what truncation cut off.
        baseline: A simple model of the content of train and test rows, to compare with. Where there is no
            test set, None, or one of the validation rows.
        part_baselines: Further simple models, of a part of what rows hold: what a score owes to that part.
        image: Shows a test row, uint8 of shape (H, W, 3). None where rows are no images.
        places: Where the test rows stand in the user's data; None where it is not known.
        input_config: What the model's config says of its inputs, such as that they are pairs of texts.
        swapped: The test rows with the two texts of each pair in changed places; None where rows are none.
        transfer: What a teacher answers; None without a teacher.
        order: The order of the training rows, int64 (N,), of a seed and an epoch, where they have to be
            visited in one of their own, as those that are read from the disk; their `lengths` are then the
            most that they may have. None: all in a random order.
    """

    train: Rows
    validation: Rows
    test: Rows | None
    collate: Callable[[list], dict[str, torch.Tensor]]
    task: Task
    processor: Any
    fingerprint: str
    origin: str = ""
    dataset_commit: str | None = None
    facts: dict[str, float] = field(default_factory=dict)
    baseline: SimpleModel | None = None
    part_baselines: Sequence[SimpleModel] = ()
    image: Callable[[int], np.ndarray] | None = None
    places: Places | None = None
    input_config: Mapping[str, Any] = field(default_factory=dict)
    swapped: Rows | None = None
    transfer: Transfer | None = None
    order: Callable[[int, int], np.ndarray] | None = None

    @property
    def learned(self) -> Rows:
        """The rows that the loop trains on; only those of `train` have labels."""
        return self.transfer.rows if self.transfer else self.train

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels in the order of the logits."""
        return self.task.labels
