"""Training texts that are changed at random, differently in every epoch, by address."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from hftune.data.dataset import EpochIndex
from hftune.data.text.pairs import Texts
from hftune.data.text.tokenize import TokenRows
from hftune.errors import BadInput
from hftune.seed import generator

Augment = Callable[[str, np.random.Generator], str]


class AugmentedTexts(torch.utils.data.Dataset):
    """Training rows whose texts a function changes before they are tokenized.

    What a row becomes is a function of (seed, epoch, row): new in every epoch, the same for any number of
    loader workers or processes, and after a kill. Batches are planned by the lengths of the texts as they
    are; a longer view is cut at `max_length` like any text.

    Args:
        rows: The token ids of the texts as they are.
        texts: The N texts, or pairs of them, of which either is changed.
        encode: Makes token ids of texts or pairs, see `hftune.data.text.tokenize.encoder`.
        augment: From a text and a random generator to the text to train on.
        seed: The run's.

    Attributes:
        lengths: Tokens of each row as it is, int64 (N,).
        weights: Ones, int64 (N,).
        targets: What the task asks for, rows first.
        tokens: Tokens of each row before the cut, int64 (N,).
    """

    def __init__(
        self,
        rows: TokenRows,
        texts: Sequence[Texts],
        encode: Callable[[list], dict[str, list]],
        augment: Augment,
        seed: int,
    ) -> None:
        self.lengths, self.weights, self.targets = rows.lengths, rows.weights, rows.targets
        self.tokens = rows.tokens
        self._texts, self._encode, self._augment, self._seed = texts, encode, augment, seed

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict:
        """Returns a view of a row as `TokenRows` has it.

        Args:
            row: Where the loop asks, an `EpochIndex`, which knows its epoch; a plain number draws from
                torch's global generator, as in transformers' `Trainer`.

        Raises:
            BadInput: The function returns no text.
        """
        if isinstance(row, EpochIndex):
            address: tuple[int | str, ...] = ("augment", self._seed, row.epoch, int(row))
        else:
            address = ("augment", self._seed, "draw", int(torch.randint(2**63 - 1, ())), row)
        content, random = self._texts[int(row)], generator(*address)
        view: Texts
        if isinstance(content, str):
            view = self._changed(content, random, row)
        else:
            view = (self._changed(content[0], random, row), self._changed(content[1], random, row))
        encoded = self._encode([view])
        found = {"input_ids": np.asarray(encoded["input_ids"][0], np.int32)}
        if "token_type_ids" in encoded:
            found["token_type_ids"] = np.asarray(encoded["token_type_ids"][0], np.int8)
        return {**found, "label": self.targets[int(row)].tolist()}

    def _changed(self, text: str, random: np.random.Generator, row: int) -> str:
        changed = self._augment(str(text), random)
        if not isinstance(changed, str):
            raise BadInput(
                f"augment: returns a {type(changed).__name__} for train row {int(row):,}, not a text"
            )
        return changed
