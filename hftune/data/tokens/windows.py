"""From words to windows of token ids, in which each word is answered once: at its first token.

A sentence that a model cannot read at once is cut at words into windows that overlap, and a word is answered
by the window in which its first token is furthest from an edge that is not an end of the sentence. So nothing
of it is lost, and training, scoring and use see the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from hftune.data.text.tokenize import TextCollator, special_tokens_around
from hftune.data.tokens.tagged import TaggedText, of_rows
from hftune.errors import BadInput

IGNORED = -100  # label of a token at which no word is answered


class Window(NamedTuple):
    """Tokens that are read at once.

    Args:
        ids: Token ids with the special tokens around them, int32 (L,).
        words: Number of the word that is answered at each token, -1 for none, int32 (L,).
    """

    ids: np.ndarray
    words: np.ndarray


class Pieces(NamedTuple):
    """The tokens of a text without special ones: ids, and the word of each, ascending, both int (T,)."""

    ids: np.ndarray
    words: np.ndarray


@dataclass(frozen=True)
class Windows:
    """How a tokenizer's tokens are cut into windows.

    Args:
        tokenizer: A fast tokenizer.
        max_length: Tokens of a window, special tokens included.
        stride: Tokens that two neighbours share at least, where words allow it.
        length_name: What the user calls `max_length`, for the error.

    Raises:
        BadInput: The tokenizer is slow, or `max_length` leaves no room for `stride` and a token more.
    """

    tokenizer: Any
    max_length: int
    stride: int
    length_name: str = "--max_length"

    def __post_init__(self) -> None:
        if not self.tokenizer.is_fast:
            raise BadInput(
                f"the tokenizer {self.tokenizer.name_or_path} does not say which word a token is of; pass a "
                "model with a fast tokenizer (tokenizer.json)"
            )
        if self.room <= self.stride:
            around = self.max_length - self.room
            raise BadInput(
                f"{self.length_name} {self.max_length}: with {around} special tokens it must be above "
                f"--window_stride {self.stride} by {around + 1} or more"
            )

    @cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """The ids of the special tokens before and after a text."""
        return special_tokens_around(self.tokenizer)

    @cached_property
    def room(self) -> int:
        """Tokens of a window without the special ones."""
        return self.max_length - sum(map(len, self.around))

    def of_words(self, sentences: Sequence[Sequence[str]]) -> tuple[list[list[Window]], list[int]]:
        """Cuts sentences of given words.

        Returns:
            The windows of each sentence, and the sentences with a word that the tokenizer makes nothing of,
            such as one of control characters: such a word is one unknown token, so that no other is shifted.
        """
        encoded = self.tokenizer(
            [list(words) for words in sentences],
            is_split_into_words=True,
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        windows, gaps = [], []
        for row, words in enumerate(sentences):
            pieces = Pieces(
                np.array(encoded["input_ids"][row], np.int64), np.array(encoded.word_ids(row), np.int64)
            )
            if len(missing := np.setdiff1d(np.arange(len(words)), pieces.words)):
                gaps.append(row)
                pieces = _with_unknown(pieces, missing, self.unknown)
            windows.append(self.cut(pieces))
        return windows, gaps

    @cached_property
    def unknown(self) -> int:
        """The id of the token that stands for what is not known."""
        tokenizer = self.tokenizer
        return next(n for n in (tokenizer.unk_token_id, tokenizer.pad_token_id, 0) if n is not None)

    def cut(self, pieces: Pieces) -> list[Window]:
        """Cuts a text; a word of more tokens than there is room for keeps its first ones."""
        first = np.flatnonzero(np.diff(pieces.words, prepend=-1))  # of each word, (W,)
        counts = np.minimum(np.diff(first, append=len(pieces.ids)), self.room)
        within = np.arange(len(pieces.ids)) - np.repeat(first, np.diff(first, append=len(pieces.ids)))
        ids = pieces.ids[within < self.room]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # (W + 1,)
        parts = _parts(starts, self.room, self.stride)
        owner = _owners(starts, parts)
        before, after = self.around
        if not len(ids):  # a model reads one token at least
            nothing = [*before, *after] or [self.unknown]
            return [Window(np.array(nothing, np.int32), np.full(len(nothing), -1, np.int32))]
        windows = []
        for number, (begin, end) in enumerate(parts):
            inner = ids[starts[begin] : starts[end]]
            answers = np.full(len(before) + len(inner) + len(after), -1, np.int32)
            own = np.flatnonzero(owner[begin:end] == number) + begin
            if not len(own):  # its neighbours see more of the context of each of its words
                continue
            answers[len(before) + starts[own] - starts[begin]] = own
            windows.append(Window(np.array([*before, *inner, *after], np.int32), answers))
        return windows


def _with_unknown(pieces: Pieces, missing: np.ndarray, unknown: int) -> Pieces:
    """Returns tokens in which words without any are one unknown token."""
    words = np.concatenate([pieces.words, missing])
    ids = np.concatenate([pieces.ids, np.full(len(missing), unknown)])
    order = np.argsort(words, kind="stable")
    return Pieces(ids[order].astype(np.int64), words[order].astype(np.int64))


def _parts(starts: np.ndarray, room: int, stride: int) -> list[tuple[int, int]]:
    """Returns the first word of each window and the one behind its last.

    Args:
        starts: First token of each word, and the number of all tokens, int64 (W + 1,).
        room: Tokens of a window at most; no word has more.
        stride: Tokens that neighbours share.
    """
    words, begin, parts = len(starts) - 1, 0, []
    while True:
        end = int(np.searchsorted(starts, starts[begin] + room, side="right")) - 1
        parts.append((begin, end))
        if end == words:
            return parts
        # As many words back as make up the stride, if that is an advance and leaves room for the next word.
        back = int(np.searchsorted(starts, starts[end] - stride, side="right")) - 1
        least = int(np.searchsorted(starts, starts[end + 1] - room, side="left"))
        begin = max(back, begin + 1, least)


def _owners(starts: np.ndarray, parts: list[tuple[int, int]]) -> np.ndarray:
    """Returns the window that answers each word, int64 (W,), ascending."""
    words = len(starts) - 1
    best, owner = np.full(words, -1.0), np.zeros(words, np.int64)
    for number, (begin, end) in enumerate(parts):
        first = starts[begin:end]
        left = first - starts[begin] if begin else np.inf
        right = starts[end] - 1 - first if end < words else np.inf
        distance = np.minimum(left, right) * np.ones(end - begin)
        better = distance > best[begin:end]
        owner[begin:end][better] = number
        best[begin:end][better] = distance[better]
    return owner


class TaggedRows(torch.utils.data.Dataset):
    """Sentences, or windows of them, in flat arrays.

    Args:
        windows: Those of each row.
        targets: The words and class ids of each row, objects `TaggedText`, (N,).

    Attributes:
        lengths: Tokens of each row in all its windows, int64 (N,).
        weights: Words of each row, int64 (N,).
        targets: See above.
    """

    def __init__(self, windows: Sequence[Sequence[Window]], targets: np.ndarray):
        every = [window for row in windows for window in row]
        sizes = [len(window.ids) for window in every]
        self._ids = np.concatenate([window.ids for window in every] or [np.zeros(0, np.int32)])
        self._words = np.concatenate([window.words for window in every] or [np.zeros(0, np.int32)])
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self._first = np.concatenate([[0], np.cumsum([len(row) for row in windows])]).astype(np.int64)
        self.lengths = np.diff(self._starts[self._first])
        self.weights = np.array([len(target) for target in targets], np.int64)
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Returns the row's `windows` and its `tags`, a class id for each word."""
        inside = range(self._first[row], self._first[row + 1])
        slices = [slice(self._starts[number], self._starts[number + 1]) for number in inside]
        return {
            "windows": [Window(self._ids[part], self._words[part]) for part in slices],
            "tags": self.targets[row].tags,
        }

    @property
    def windows(self) -> int:
        """How many windows all rows have."""
        return int(self._first[-1])

    @property
    def ids(self) -> np.ndarray:
        """The token ids of all windows, int32 (T,)."""
        return self._ids

    def as_windows(self) -> TaggedRows:
        """Returns the windows as rows, each with the words that it answers: so a batch has a known size."""
        if self.windows == len(self):
            return self
        windows, targets = [], []
        for row in range(len(self)):
            target = self.targets[row]
            for window in self[row]["windows"]:
                own = window.words[window.words >= 0]
                answers = np.full_like(window.words, -1)
                answers[window.words >= 0] = np.arange(len(own))
                windows.append([Window(window.ids, answers)])
                tags = tuple(target.tags[word] for word in own.tolist())
                targets.append(TaggedText(target.text, target.spans[own], tags))
        return TaggedRows(windows, of_rows(targets))


class TokenCollator:
    """Pads the windows of some rows to the longest.

    Args:
        pad: Pads ids.

    Returns (when called with rows of `TaggedRows`):
        `input_ids`, `attention_mask` (and `token_type_ids`), int64 (M, L) of M windows, and `labels`, int64
        (M, L): the class id where a word is answered, else -100. Row by row, these are its words in order.
    """

    def __init__(self, pad: TextCollator):
        self.pad = pad

    def __call__(self, rows: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Turns rows into a dict of the model's forward arguments."""
        windows = [(window, row["tags"]) for row in rows for window in row["windows"]]
        batch = self.pad([{"input_ids": window.ids, "label": 0} for window, _ in windows])
        labels = np.full(batch["input_ids"].shape, IGNORED, np.int64)
        for place, (window, tags) in enumerate(windows):
            start = labels.shape[1] - len(window.ids) if self.pad.left else 0
            at = np.flatnonzero(window.words >= 0)
            labels[place, start + at] = [tags[word] for word in window.words[at].tolist()]
        batch["labels"] = torch.from_numpy(labels)
        return batch
