"""Says which words of a text decided its class: each is left out once, and the predictions compared.

Li, Monroe & Jurafsky 2016, arXiv:1612.08220 (representation erasure), with two differences: a word is taken
out of the text itself, before it is cut and tokenized, and what is compared are log odds, which still move
where a probability has come close to 1.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hftune.data.text.pairs import Texts
from hftune.inference.load import LoadedModel
from hftune.inference.predict import predict_rows

# One sign of the scripts that put no blanks between words; a word with its inner apostrophes; or a run of
# other signs, such as "!!!". Letters are what is no sign, as \w has not the vowel signs of Indic scripts.
_SIGNS = (
    re.escape(string.punctuation) + "¡«·»¿،؛؟।॥\u2010-\u2027\u2030-\u205e\u3001-\u3003\u3008-\u301f！-／：-？"
)
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTERS = rf"[^\s{_SIGNS}{_ALONE}]+"
_WORD = re.compile(rf"[{_ALONE}]|{_LETTERS}(?:['’]{_LETTERS})*|[{_SIGNS}]+")


@dataclass(frozen=True)
class Influence:
    """What a model said to a text, and what each word had to do with it.

    Args:
        logits: Of the whole text, float32 (C,).
        words: Where each word begins and ends in the text, in its order, W of them.
        drops: By how much `Task.evidence` for the answer falls when the word is left out, float64 (W,): log
            odds of the predicted class, or the number; below 0 where the word spoke against it.
    """

    logits: np.ndarray
    words: list[tuple[int, int]]
    drops: np.ndarray


def influence(
    loaded: LoadedModel,
    text: Texts,
    *,
    part: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Influence:
    """Leaves out each word of a text in turn, and compares the model's predictions.

    A word that `max_length` cuts off either way leaves the same tokens, and is not asked twice.

    Args:
        loaded: A model of texts.
        text: The text, or a pair of them.
        part: Of a pair, the text whose words are left out; the other one stays whole.
        on_progress: Called with the number of texts that were just predicted; there are at most W + 1.
    """
    whole = text if isinstance(text, str) else text[part]
    words = find_words(whole)
    shortened = [whole, *(whole[:start] + whole[end:] for start, end in words)]
    variants: list[Texts] = list(shortened)
    if not isinstance(text, str):
        variants = [(text[0], one) if part else (one, text[1]) for one in shortened]
    rows = loaded.inputs.rows(variants)
    seen: dict[bytes, int] = {}  # tokens -> place among the different ones
    places = [seen.setdefault(_key(rows[row]), len(seen)) for row in range(len(rows))]
    firsts = [places.index(place) for place in range(len(seen))]
    if len(firsts) < len(rows):
        rows = loaded.inputs.rows([variants[row] for row in firsts])
    logits = predict_rows(loaded, rows, on_progress=on_progress)["logits"][places]  # (W + 1, C)
    speaks = loaded.task.evidence({"logits": logits}, int(logits[0].argmax()))
    return Influence(logits[0], words, speaks[0] - speaks[1:])


def _key(row: dict) -> bytes:
    """Returns what the model reads of a row: a boundary between two texts may move with the same ids."""
    return b"".join(row[name].tobytes() for name in ("input_ids", "token_type_ids") if name in row)


def find_words(text: str) -> list[tuple[int, int]]:
    """Returns where each word begins and ends; together they hold all of a text but its blanks."""
    return [match.span() for match in _WORD.finditer(text)]
