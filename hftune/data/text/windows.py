"""Long texts in windows: how many there are, what they take of a batch, and which ones training reads.

The model cuts the windows itself (`hftune.models.standalone.pooled`), of tokens that come with those of a
text of any length; a row is always a whole text, or in training a part of one.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hftune.data.dataset import EpochIndex, Rows
from hftune.data.text.tokenize import TokenRows, special_tokens_around
from hftune.errors import BadInput
from hftune.seed import generator
from hftune.settings.text import TextSettings

SCORED = 64  # windows of a text that are read where nothing is trained


@dataclass(frozen=True)
class Windows:
    """How texts are cut into windows.

    Args:
        size: Tokens of a window, special ones included.
        stride: Tokens that a window shares with the one before.
        before: Special tokens before a text, which every window gets.
        after: Likewise after it.
    """

    size: int
    stride: int
    before: int = 1
    after: int = 1

    @classmethod
    def of(cls, settings: TextSettings, tokenizer: PreTrainedTokenizerBase) -> Self | None:
        """Returns the windows that the settings ask for, None where a text is read as one.

        Raises:
            BadInput: They share more tokens than they hold.
        """
        if not settings.in_windows:
            return None
        before, after = map(len, special_tokens_around(tokenizer))
        found = cls(settings.max_length, settings.window_stride, before, after)
        if found.step < 1:
            raise BadInput(
                f"--window_stride {found.stride}: a window of --max_length {found.size} holds {found.room} "
                f"tokens besides its special ones; pass fewer than {found.room}"
            )
        return found

    @property
    def room(self) -> int:
        """Tokens of a text in a window."""
        return self.size - self.before - self.after

    @property
    def step(self) -> int:
        """Tokens from the beginning of a window to that of the next."""
        return self.room - self.stride

    def longest(self, windows: int) -> int:
        """Returns the tokens of the longest text of so many windows, special ones included."""
        return self.size + (windows - 1) * self.step

    def count(self, tokens: np.ndarray) -> np.ndarray:
        """Returns how many windows texts of so many tokens have, special ones included; int64 (N,)."""
        return 1 + np.maximum(tokens - self.size + self.step - 1, 0) // self.step

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """Returns the tokens of all windows of texts: those shared count twice, special ones each time."""
        return tokens + (self.count(tokens) - 1) * (self.size - self.step)

    def config(self) -> dict[str, int]:
        """Returns what the config of a pooled encoder says of them."""
        return {
            "window": self.size,
            "window_stride": self.stride,
            "max_windows": SCORED,
            "special_tokens_before": self.before,
            "special_tokens_after": self.after,
        }


class TrainingWindows(torch.utils.data.Dataset):
    """Training texts, of the longest of them a few windows that follow one another.

    Which ones is a function of (seed, epoch, row): others in every epoch, the same for any number of loader
    workers or processes, and after a kill. The windows are some of those that scoring reads.

    Args:
        rows: Whole texts, as `TokenRows` has them.
        windows: How they are cut.
        most: Windows of a text at most.
        seed: The run's.

    Attributes:
        lengths: Tokens that all windows of a row have together, int64 (N,).
        weights: Ones, int64 (N,).
        targets: What the task asks for, rows first.
    """

    def __init__(self, rows: Rows, windows: Windows, most: int, seed: int):
        self.weights, self.targets = rows.weights, rows.targets
        self.lengths = windows.read(np.minimum(rows.lengths, windows.longest(most)))
        self._rows, self._windows, self._most, self._seed = rows, windows, most, seed

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Returns a row as `TokenRows` has it.

        Args:
            row: Where the loop asks, an `EpochIndex`, which knows its epoch; a plain number draws from
                torch's global generator, as in transformers' `Trainer`.
        """
        found, windows = self._rows[row], self._windows
        ids = found["input_ids"]
        spare = int(windows.count(np.array(len(ids)))) - self._most
        if spare <= 0:
            return found
        if isinstance(row, EpochIndex):
            address: tuple[int | str, ...] = ("windows", self._seed, row.epoch, int(row))
        else:
            address = ("windows", self._seed, "draw", int(torch.randint(2**63 - 1, ())), row)
        first = int(generator(*address).integers(spare + 1)) * windows.step
        end = len(ids) - windows.after
        words = ids[windows.before : end][
            first : first + windows.longest(self._most) - windows.before - windows.after
        ]
        return found | {"input_ids": np.concatenate([ids[: windows.before], words, ids[end:]])}


def window_report(rows: TokenRows, windows: Windows, most: int) -> dict[str, float]:
    """Counts the windows of whole texts, and the share of all their tokens that is read.

    Args:
        rows: The texts, cut at `SCORED` windows.
        windows: How they are cut.
        most: Windows of a text at most.
    """
    counts = windows.count(rows.tokens)
    return {
        "windows_median": float(np.median(counts)),
        "windows_max": int(counts.max()),
        "tokens_read_share": float(np.minimum(rows.tokens, windows.longest(most)).sum() / rows.tokens.sum()),
    }
