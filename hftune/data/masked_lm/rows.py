"""Texts with masked tokens, by address: others in every epoch of training, the same in every evaluation.

Shapes: N texts, B of a batch, L tokens, V ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.special import log_softmax

from hftune.data.dataset import EpochIndex
from hftune.data.masked_lm.masking import IGNORED, Masking
from hftune.data.text.tokenize import TextCollator, TokenRows
from hftune.errors import BadInput
from hftune.seed import generator


class MaskedTexts(torch.utils.data.Dataset):
    """Texts as rows, each with some of its tokens masked; texts without an ordinary token are left out.

    In training, what is masked is a function of (seed, epoch, row), and so is the stretch that is read of a
    text longer than `max_length`: the same for any number of loader workers or processes, and after a kill.
    Elsewhere it is a function of the split and the row alone, so that every evaluation, of any run, asks the
    same.

    Args:
        rows: Whole texts.
        masking: How tokens are masked.
        around: The special tokens before and after a text.
        max_length: Tokens that are read of a text, special ones included.
        address: Where the choices of the set stand: ("mask", seed) in training, else ("mask", name of split).
        training: Whether the set is trained on.

    Attributes:
        kept: The rows that are here, of those that were given, int64 (N,).
        lengths: Tokens of each row that are read, int64 (N,).
        weights: How many of them are masked, int64 (N,).
        targets: The same: what is masked itself is known by its address.

    Raises:
        BadInput: `max_length` leaves no room for the text, or no text has an ordinary token.
    """

    def __init__(
        self,
        rows: TokenRows,
        masking: Masking,
        around: tuple[list[int], list[int]],
        max_length: int,
        address: tuple[int | str, ...],
        training: bool = False,
    ):
        self._rows, self._masking, self._address, self._training = rows, masking, address, training
        self._before, self._after = (np.array(ids, np.int32) for ids in around)
        special = len(self._before) + len(self._after)
        self.room = max_length - special
        if self.room < 1:
            raise BadInput(f"--max_length {max_length}: the special tokens alone are {special}")
        ordinary = np.array([masking.least(self._words(row), self.room) for row in range(len(rows))])
        self.kept = np.flatnonzero(ordinary)
        if not len(self.kept):
            raise BadInput("the tokenizer knows no token of any text; pass a model that knows the language")
        self.lengths = np.minimum(rows.lengths[self.kept], max_length)
        self.weights = self.targets = masking.count(ordinary[self.kept])

    def __len__(self) -> int:
        return len(self.kept)

    def _words(self, row: int) -> np.ndarray:
        """Returns the tokens of a text that was given, without those around it."""
        ids = self._rows[row]["input_ids"]
        return ids[len(self._before) : len(ids) - len(self._after)]

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        """Returns `{"input_ids": int32 (L,), "labels": int64 (L,)}`, -100 where nothing is masked.

        Args:
            row: Where the loop asks, an `EpochIndex`, which knows its epoch; a plain number of a training row
                draws from torch's global generator, as in transformers' `Trainer`.
        """
        words = self._words(int(self.kept[row]))
        random = generator(*self._address, *self._visit(row))
        if len(words) > self.room:
            start = int(random.integers(len(words) - self.room + 1))
            words = words[start : start + self.room]
        shown, labels = self._masking.mask(words, int(self.weights[row]), random)
        ignored = [np.full(len(ids), IGNORED) for ids in (self._before, self._after)]
        return {
            "input_ids": np.concatenate([self._before, shown, self._after]),
            "labels": np.concatenate([ignored[0], labels, ignored[1]]),
        }

    def _visit(self, row: int) -> tuple[int | str, ...]:
        if not self._training:
            return (int(row),)
        if isinstance(row, EpochIndex):
            return row.epoch, int(row)
        return "draw", int(torch.randint(2**63 - 1, ())), row

    def frequencies(self) -> np.ndarray:
        """Returns how often each id stands in the whole texts, int64 (V,)."""
        words = np.concatenate([self._words(row) for row in self.kept.tolist()])
        return np.bincount(words, minlength=len(self._masking.ordinary))


@dataclass(frozen=True, eq=False)
class UnigramBaseline:
    """Predicts every masked token alike, by how often each ordinary token stands in the training texts.

    Args:
        train: The training rows.
        scored: The rows whose masked tokens are predicted.
        masking: Knows the ordinary tokens.
    """

    train: MaskedTexts
    scored: MaskedTexts
    masking: Masking

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """Of each id, float64 (V,); every ordinary one is counted once more than it occurs (Laplace)."""
        counts = self.train.frequencies() + 1.0
        return log_softmax(np.where(self.masking.ordinary, np.log(counts), -np.inf))

    def predictions(self) -> dict[str, np.ndarray]:
        """Returns what `MaskedLM.predict_rows` returns of a model."""
        masked = [self.scored[row]["labels"] for row in range(len(self.scored))]
        masked = [labels[labels != IGNORED] for labels in masked]
        table, commonest = self.log_probabilities, int(self.log_probabilities.argmax())
        return {
            "nll": np.array([-table[ids].sum() for ids in masked]),
            "hits": np.array([(ids == commonest).sum() for ids in masked]),
        }


class MaskedCollator:
    """Pads rows to the longest of the batch.

    Args:
        pad: Pads ids.

    Returns (when called with rows of `MaskedTexts`):
        `input_ids`, `attention_mask` (and `token_type_ids`) and `labels`, int64 (B, L).
    """

    def __init__(self, pad: TextCollator):
        self.pad = pad

    def __call__(self, rows: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Turns rows into a dict of the model's forward arguments."""
        batch = self.pad([{"input_ids": row["input_ids"], "label": 0} for row in rows])
        labels = np.full(batch["input_ids"].shape, IGNORED, np.int64)
        for place, row in enumerate(rows):
            length = len(row["labels"])
            start = labels.shape[1] - length if self.pad.left else 0
            labels[place, start : start + length] = row["labels"]
        batch["labels"] = torch.from_numpy(labels)
        return batch
