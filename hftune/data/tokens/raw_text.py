"""The words of a text that nobody has cut into words: those of transformers' pipeline.

`pipeline("token-classification", aggregation_strategy="first")` joins tokens to words by a rule of its own,
which is repeated here, so that hftune answers as the pipeline does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hftune.data.tokens.tagged import TaggedText
from hftune.data.tokens.windows import Pieces


def read_words(tokenizer: Any, texts: Sequence[str]) -> tuple[list[Pieces], list[TaggedText]]:
    """Cuts texts into tokens and words.

    Args:
        tokenizer: A fast tokenizer.
        texts: Any texts.

    Returns:
        The tokens of each, and where its words stand; their tags are zeros.
    """
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    knows_words = bool(getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None))
    pieces, words = [], []
    for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        tokens = tokenizer.convert_ids_to_tokens(ids)
        begins = [
            not place or number == tokenizer.unk_token_id or not _goes_on(text, token, at, knows_words)
            for place, (token, number, at) in enumerate(zip(tokens, ids, offsets, strict=True))
        ]
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(ids))[: len(first)] - 1
        at = np.array(offsets, np.int32).reshape(-1, 2)
        spans = np.stack([at[first, 0], at[last, 1]], axis=1) if len(first) else np.zeros((0, 2), np.int32)
        pieces.append(Pieces(np.array(ids, np.int64), np.cumsum(begins, dtype=np.int64) - 1))
        words.append(TaggedText(text, spans, (0,) * len(spans)))
    return pieces, words


def _goes_on(text: str, token: str, at: tuple[int, int], knows_words: bool) -> bool:
    """Returns whether a token goes on with the word of the token before it."""
    start, end = at
    if knows_words:  # a continuation is written with a prefix, such as ##, that the text has not
        return len(token) != end - start
    return start > 0 and " " not in text[start - 1 : start + 1]
