"""Simple models of pairs of texts, trained in seconds: what a score owes to overlap, or to one side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from hftune.data.baselines import Columns, LinearBaseline, TextBaseline, vectorizer_of, written_without_spaces


@dataclass(frozen=True)
class PairBaseline(LinearBaseline):
    """Which terms two texts share and which only one has, as TF-IDF, and how much they overlap.

    It reads neither text alone: a pair and the same pair in changed places differ in the overlap's direction.

    Rows have the columns `text` and `text_pair`.
    """

    name = "tfidf"

    def features(self) -> tuple[csr_matrix, csr_matrix]:
        """Returns what is read of the training and test pairs, (N, V) and (n, V) float32."""
        overlap = OverlapBaseline(self.train, self.test).features()
        texts = [*self.train["text"], *self.train["text_pair"]]
        weigh = vectorizer_of(texts)
        try:
            weigh.fit(texts)
        except ValueError:  # its word for an empty vocabulary: no term is left
            return csr_matrix(overlap[0]), csr_matrix(overlap[1])
        train, test = (
            hstack([*_shared_and_not(weigh, pairs), numbers])
            for pairs, numbers in zip((self.train, self.test), overlap, strict=True)
        )
        return csr_matrix(train, dtype=np.float32), csr_matrix(test, dtype=np.float32)


@dataclass(frozen=True)
class OverlapBaseline(LinearBaseline):
    """How much two texts share, in a few numbers and their squares: nothing of what they say."""

    name = "overlap"

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the numbers of the training and test pairs, float64 (N, F) and (n, F)."""
        words = (
            {"analyzer": "char"} if written_without_spaces(self.train["text"]) else {"token_pattern": r"\w+"}
        )
        rarity = TfidfTransformer(sublinear_tf=True)
        rarity.fit(_counts([*self.train["text"], *self.train["text_pair"]], **words))
        found = [
            overlaps(pairs["text"], pairs["text_pair"], words, rarity) for pairs in (self.train, self.test)
        ]
        train, test = (np.hstack([numbers, numbers**2]) for numbers in found)
        scaler = StandardScaler().fit(train)
        return scaler.transform(train), scaler.transform(test)


def part_baselines(
    train: Columns, test: Columns, validation: Columns | None = None
) -> tuple[LinearBaseline, ...]:
    """Returns the models that read a part of each pair: their scores say what whole pairs are needed for."""
    return (
        TextBaseline(train, test, validation, "text", "first_only"),
        TextBaseline(train, test, validation, "text_pair", "second_only"),
        OverlapBaseline(train, test, validation),
    )


def overlaps(
    first: Sequence[str], second: Sequence[str], words: Mapping[str, str], rarity: TfidfTransformer
) -> np.ndarray:
    """Returns numbers of N pairs, float64 (N, 8).

    The share of all words that both texts have, of the first's and of the second's; the share of pairs of
    words; the cosine of the words by TF-IDF, and of pieces of 2 to 4 characters; the first's share of all
    words, and by how many words the texts differ in length (logarithm). Each word of a text counts once.

    Args:
        first: N texts.
        second: N texts.
        words: What a word is, as options of a vectorizer.
        rarity: Weighs words, fitted to the training texts.
    """
    count = [_counts(texts, **words) for texts in (first, second)]
    a, b = (counts.sign() for counts in count)
    c, d = (_counts(texts, **words, ngram_range=(2, 2)).sign() for texts in (first, second))
    pieces = (_counts(texts, analyzer="char_wb", ngram_range=(2, 4), norm="l2") for texts in (first, second))
    shared, of_a, of_b = _dot(a, b), _dot(a, a), _dot(b, b)
    two, of_c, of_d = _dot(c, d), _dot(c, c), _dot(d, d)
    return np.column_stack(
        [
            shared / (of_a + of_b - shared).clip(1),
            shared / of_a.clip(1),
            shared / of_b.clip(1),
            two / (of_c + of_d - two).clip(1),
            _dot(*map(rarity.transform, count)),
            _dot(*pieces),
            of_a / (of_a + of_b).clip(1),
            np.log1p(abs(of_a - of_b)),
        ]
    )


def _counts(texts: Sequence[str], **options: Any) -> csr_matrix:
    """Counts terms, (N, 2**20); words that stand in no training text overlap as well, as it only hashes."""
    return HashingVectorizer(**{"norm": None, "alternate_sign": False, **options}).transform(texts)


def _dot(first: csr_matrix, second: csr_matrix) -> np.ndarray:
    """Returns the product of each row with its partner, (N,)."""
    return np.asarray(first.multiply(second).sum(1), np.float64).ravel()


def _shared_and_not(weigh: TfidfVectorizer, pairs: Columns) -> tuple[csr_matrix, csr_matrix]:
    """Returns the products and the differences of the terms' weights in both texts, (N, V) each."""
    first, second = weigh.transform(pairs["text"]), weigh.transform(pairs["text_pair"])
    return first.multiply(second), abs(first - second)
