"""From text to token ids: tokenized once, cut at `max_length`, cached, and counted.

row {"text"} -> {"input_ids", "tokens"} -> `TokenRows` -> `TextCollator` -> batch

A pair has `text_pair` too, and `token_type_ids` where its tokenizer makes them.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import datasets
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hftune.data.text.pairs import TRUNCATIONS, Texts
from hftune.data.text.tokenize_pairs import OtherTooLong, PairEncoder
from hftune.errors import BadInput

CODE_VERSION = 3  # part of the cache's key: raise it when the ids that this file produces change
FEATURES = datasets.Features(
    {
        "input_ids": datasets.List(datasets.Value("int32")),
        "tokens": datasets.Value("int32"),  # the length before the cut
    }
)
TYPES = datasets.List(datasets.Value("int8"))  # of `token_type_ids`, which only pairs have as a column


class TokenRows(torch.utils.data.Dataset):
    """Token ids of one split in one flat array, so that a row is a slice and never a Python list.

    Args:
        table: The columns of `FEATURES`, and `token_type_ids` of pairs whose tokenizer makes them.
        targets: What the task asks for, rows first; None: zeros, where nothing is trained or scored.

    Attributes:
        lengths: Tokens of each row after the cut, special tokens included, int64 of shape (N,).
        weights: Ones, int64 of shape (N,).
        tokens: Tokens of each row before the cut, int64 of shape (N,).
    """

    def __init__(self, table: datasets.Dataset, targets: np.ndarray | None = None):
        column = table.data.column("input_ids").combine_chunks()
        self._ids = column.flatten().to_numpy(zero_copy_only=False)
        self._types: np.ndarray | None = None
        if "token_type_ids" in table.column_names:
            types = table.data.column("token_type_ids").combine_chunks()
            self._types = types.flatten().to_numpy(zero_copy_only=False)
        offsets = column.offsets.to_numpy().astype(np.int64)
        self._starts = offsets - offsets[0]
        self.lengths = np.diff(self._starts)
        self.weights = np.ones_like(self.lengths)
        self.targets = np.zeros_like(self.lengths) if targets is None else targets
        self.tokens = table.data.column("tokens").to_numpy().astype(np.int64)

    def followed_by(self, other: Self) -> Self:
        """Returns the rows of both, those of the other behind these."""
        both = copy.copy(self)
        both._ids = np.concatenate([self._ids, other._ids])
        both._starts = np.concatenate([self._starts[:-1], self._starts[-1] + other._starts])
        if self._types is not None and other._types is not None:
            both._types = np.concatenate([self._types, other._types])
        for name in ("lengths", "weights", "targets", "tokens"):
            setattr(both, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        return both

    def count(self, token: int) -> np.ndarray:
        """Returns how often a token stands in each row, int64 (N,)."""
        return np.add.reduceat((self._ids == token).astype(np.int64), self._starts[:-1])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> dict:
        """Returns `{"input_ids": int32 array (L,), "label": the row's target}`.

        Pairs have `token_type_ids` too, int8 (L,), where their tokenizer makes them.
        """
        tokens = slice(self._starts[row], self._starts[row + 1])
        types = {} if self._types is None else {"token_type_ids": self._types[tokens]}
        return {"input_ids": self._ids[tokens], "label": self.targets[row].tolist(), **types}


class TextCollator:
    """Pads rows to the longest of the batch.

    Args:
        pad_token_id: The id that fills the end.
        token_type_ids: Whether the model reads segment ids, which are 0 for the words of a single text; rows
            that are pairs bring their own.
        segments: Segment ids of the special tokens before and after a text, and of padding; 0 for most
            models, but not for Funnel and XLNet.
        left: Whether padding stands at the left end.

    Returns (when called with rows of `TokenRows`):
        `input_ids`, `attention_mask` (and `token_type_ids`), int64 of shape (B, L), and `labels`, such as
        class ids, int64 of shape (B,).
    """

    def __init__(
        self,
        pad_token_id: int,
        token_type_ids: bool = False,
        segments: tuple[list[int], list[int], int] = ([], [], 0),
        left: bool = False,
    ):
        self.pad_token_id = pad_token_id
        self.token_type_ids = token_type_ids
        self.segments = segments
        self.left = left

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "TextCollator":
        """Makes the collator that pads as the tokenizer does."""
        assert isinstance(tokenizer.pad_token_id, int)
        left = tokenizer.padding_side == "left"
        if "token_type_ids" not in tokenizer.model_input_names:
            return cls(tokenizer.pad_token_id, left=left)
        before, after = special_tokens_around(tokenizer)
        ids = tokenizer("a")["token_type_ids"]
        segments = ids[: len(before)], ids[len(ids) - len(after) :], tokenizer.pad_token_type_id
        return cls(tokenizer.pad_token_id, True, segments, left)

    def __call__(self, rows: Sequence[dict]) -> dict[str, torch.Tensor]:
        """Turns rows into a dict of the model's forward arguments."""
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        ids = np.full(shape, self.pad_token_id, np.int64)  # (B, L)
        mask = np.zeros(shape, np.int64)
        before, after, padding = self.segments
        segments = np.full(shape, padding, np.int64)
        for i, row in enumerate(rows):
            length = len(row["input_ids"])
            start = shape[1] - length if self.left else 0
            end = start + length
            ids[i, start:end] = row["input_ids"]
            mask[i, start:end] = 1
            own = row.get("token_type_ids")
            single = [*before, *[0] * (length - len(before) - len(after)), *after] if own is None else own
            segments[i, start:end] = single
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.token_type_ids:
            batch["token_type_ids"] = torch.from_numpy(segments)
        batch["labels"] = torch.tensor([row["label"] for row in rows])
        return batch


def special_tokens_around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Finds the ids that a tokenizer puts before and after a text, e.g. `([CLS], [SEP])`."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    raise BadInput(f"the tokenizer {tokenizer.name_or_path} does not put special tokens around a text")


def cut(ids: list[int], room: int, truncation: str) -> list[int]:
    """Shortens a text to `room` tokens.

    `head+tail` keeps a quarter from the front and the rest from the end, where reviews put their
    verdict (Sun et al. 2019, How to Fine-Tune BERT for Text Classification, section 5.3.1).
    """
    if len(ids) <= room:
        return ids
    if truncation == "head":
        return ids[:room]
    if truncation == "tail":
        return ids[-room:]
    front = room // 4
    return ids[:front] + ids[front - room :]


class Encoder:
    """Turns texts into token ids, cut to a length; the tokenizer is asked once for its special tokens.

    The cut is made here and not by the tokenizer, whose file may carry a `max_length` and a
    padding of its own that would silently override the recipe's.

    Args:
        tokenizer: Any tokenizer of transformers.
        max_length: Tokens kept of each text, special tokens included.
        truncation: `head`, `tail` or `head+tail`.
        length_name: What the user calls `max_length`, for the error.

    Returns (when called with N texts):
        `input_ids`, N lists of token ids, and `tokens`, their N lengths before the cut.

    Raises:
        BadInput: `max_length` leaves no room for the text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        truncation: str,
        length_name: str = "--max_length",
    ):
        self.tokenizer = tokenizer
        self.truncation = truncation
        self.before, self.after = special_tokens_around(tokenizer)
        self.special = len(self.before) + len(self.after)
        self.room = max_length - self.special
        if self.room < 1:
            raise BadInput(f"{length_name} {max_length}: the special tokens alone are {self.special}")
        ids_of_nothing = (tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
        self.unknown = next(number for number in ids_of_nothing if number is not None)

    def __call__(self, texts: list[str]) -> dict[str, list]:
        """Returns token ids and lengths; texts that are given together are tokenized on all cores."""
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        # A text without a single known sign would be an empty row: it becomes one unknown token.
        encoded = [ids or [self.unknown] for ids in encoded]
        return {
            "input_ids": [self.before + cut(ids, self.room, self.truncation) + self.after for ids in encoded],
            "tokens": [len(ids) + self.special for ids in encoded],
        }


def encoder(
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    truncation: str,
    length_name: str = "--max_length",
) -> Callable[[list], dict[str, list]]:
    """Returns what turns texts into token ids, or pairs of them where `truncation` is a word of pairs.

    Raises:
        BadInput: `max_length` leaves no room for the text.
    """
    kind = PairEncoder if truncation in TRUNCATIONS else Encoder
    return kind(tokenizer, max_length=max_length, truncation=truncation, length_name=length_name)


def features_of(encode: Callable[[list], dict[str, list]]) -> datasets.Features:
    """Returns the columns of what an encoder returns."""
    types = isinstance(encode, PairEncoder) and encode.types
    return datasets.Features({**FEATURES, "token_type_ids": TYPES}) if types else FEATURES


def tokenize(
    split: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    targets: np.ndarray | None = None,
    max_length: int,
    truncation: str,
    fingerprint: str,
    description: str = "tokenizing",
    place: Callable[[int], str] = "row {}".format,
) -> TokenRows:
    """Tokenizes a split once; the same split, tokenizer and options are read from the cache.

    Args:
        split: Has a column `text`, of pairs also `text_pair`.
        tokenizer: Any tokenizer of transformers.
        targets: See `TokenRows`.
        max_length: Tokens kept of each row, special tokens included.
        truncation: `head`, `tail` or `head+tail`; of pairs `longest_first`, `only_first` or `only_second`.
        fingerprint: Hash of the split's content.
        description: Shown beside the progress bar.
        place: Says where a row (0-based) stands in the user's data.

    Raises:
        BadInput: If `max_length` leaves no room for the text; of a pair that does not fit the row is named.
    """
    encode = encoder(tokenizer, max_length=max_length, truncation=truncation)

    def encode_rows(batch: dict[str, list], numbers: list[int]) -> dict[str, list]:
        try:
            return encode(contents_of(batch))
        except OtherTooLong as error:
            raise BadInput(f"{place(numbers[error.row])}: {error.message}") from None

    cache_key = _cache_key(fingerprint, _tokenizer_hash(tokenizer), max_length, truncation)
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "hftune" / f"{cache_key}.arrow"
    cache.parent.mkdir(parents=True, exist_ok=True)
    table = split.map(
        encode_rows,
        batched=True,
        with_indices=True,
        remove_columns=split.column_names,
        features=features_of(encode),
        cache_file_name=str(cache),
        new_fingerprint=cache_key,
        desc=description,
    )
    return TokenRows(table, targets)


def contents_of(columns: Mapping[str, list[str]]) -> list[Texts]:
    """Returns the texts of the columns `text`, or with `text_pair` the pairs of both."""
    if "text_pair" in columns:
        return list(zip(columns["text"], columns["text_pair"], strict=True))
    return list(columns["text"])


def truncation_report(rows: TokenRows) -> dict[str, float]:
    """Counts what `max_length` cut off: rows, share of rows, share of all tokens."""
    cut_rows = int((rows.tokens > rows.lengths).sum())
    return {
        "truncated_rows": cut_rows,
        "truncated_rows_share": cut_rows / len(rows),
        "truncated_tokens_share": float(1 - rows.lengths.sum() / rows.tokens.sum()),
    }


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)  # slow tokenizers have none
    text = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    text += repr(tokenizer.split_special_tokens)  # no part of the backend's own description
    return hashlib.sha256(text.encode()).hexdigest()


def _cache_key(*parts: object) -> str:
    return hashlib.sha256(repr((CODE_VERSION, *parts)).encode()).hexdigest()[:32]
