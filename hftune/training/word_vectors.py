"""Learns word vectors from texts by gensim: skip-gram, CBOW or fastText.

Papers: Mikolov et al. 2013 (skip-gram and CBOW with negative samples); Bojanowski et al. 2017 (fastText,
whose vector of a word is made of those of its character n-grams).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from types import ModuleType

import numpy as np

from hftune.errors import BadInput

METHODS = ("skipgram", "cbow", "fasttext")
LONGEST = 10_000  # words: gensim does not read the rest of a longer text
BUCKETS = 200_000  # rows that n-grams share; fastText's own 2,000,000 take 0.8 GB for vectors of 100 numbers
SAMPLE = 1e-4  # words of a greater share of the texts are often left out (Mikolov et al. 2013, equation 5)


def import_gensim() -> ModuleType:
    """Returns `gensim.models`, or raises `BadInput` where gensim is not installed."""
    try:
        import gensim.models
    except ImportError:
        raise BadInput("learning word vectors needs gensim: pip install 'hftune[vectors]'") from None
    return gensim.models


def learn_vectors(
    texts: Sequence[list[str]],
    *,
    method: str = "skipgram",
    vector_size: int = 100,
    window: int = 5,
    epochs: int = 5,
    min_frequency: int = 5,
    seed: int = 42,
    on_text: Callable[[], object] = lambda: None,
) -> tuple[list[str], np.ndarray]:
    """Learns a vector for each frequent word; equal texts and settings give equal bits on one machine.

    Args:
        texts: The words of each.
        method: One of `METHODS`; fastText with skip-gram.
        vector_size: D, numbers in a vector.
        window: Words on either side of a word that count as its neighbours.
        epochs: Passes over the texts.
        min_frequency: Rarer words get no vector.
        seed: Of the first vectors and of all draws.
        on_text: Called whenever a text is read: once to count its words, then in every epoch.

    Returns:
        N words, the most frequent first, and their vectors, float32 (N, D).

    Raises:
        BadInput: gensim is missing, or no word occurs often enough.
    """
    models = import_gensim()
    counts = Counter(chain.from_iterable(texts))
    if not counts or max(counts.values()) < min_frequency:
        raise BadInput(f"--min_frequency {min_frequency}: no word of the texts occurs so often; lower it")
    kind = models.FastText if method == "fasttext" else models.Word2Vec
    model = kind(
        _Passages(texts, on_text),
        vector_size=vector_size,
        window=window,
        epochs=epochs,
        min_count=min_frequency,
        sg=int(method != "cbow"),
        negative=5,
        sample=SAMPLE,
        seed=seed,  # of all that is random in gensim 4: it no longer hashes words for their first vectors
        workers=1,  # several update the same vectors in an order that nobody knows
        **({"bucket": BUCKETS} if method == "fasttext" else {}),
    )
    return model.wv.index_to_key, model.wv.vectors


class _Passages:
    """Texts, as often as they are asked for, in passages of no more words than gensim reads of one."""

    def __init__(self, texts: Sequence[list[str]], on_text: Callable[[], object]):
        self.texts = texts
        self.on_text = on_text

    def __iter__(self) -> Iterator[list[str]]:
        for words in self.texts:
            self.on_text()
            for start in range(0, len(words), LONGEST):
                yield words[start : start + LONGEST]
