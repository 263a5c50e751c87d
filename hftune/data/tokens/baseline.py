"""A simple model of words, trained in seconds, to compare with: spelling, neighbours, logistic regression."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression

COLUMNS = 2**18  # that features are hashed into
WINDOW = 2  # words to each side
INVERSE_PENALTY = 10.0  # scikit-learn's C


@dataclass(frozen=True)
class TokenBaseline:
    """A logistic regression that gives a word its tag by its spelling and its neighbours.

    Args:
        train: The training rows, objects `TaggedText` with class ids, (N,).
        test: Likewise the rows to predict, (n,).
    """

    train: np.ndarray
    test: np.ndarray
    name = "window"

    def features(self) -> tuple[csr_matrix, csr_matrix]:
        """Returns the features of every training and test word."""
        return _features(self.train), _features(self.test)

    def estimator(self) -> LogisticRegression:
        """Returns an untrained logistic regression."""
        return LogisticRegression(C=INVERSE_PENALTY, max_iter=100)

    @property
    def tags(self) -> np.ndarray:
        """The class id of every training word, int64."""
        return np.concatenate([text.tags for text in self.train]).astype(np.int64)

    @property
    def ends(self) -> np.ndarray:
        """The places among the test words at which a row ends and another begins, int64 (n - 1,)."""
        return np.cumsum([len(text) for text in self.test])[:-1]


def _features(texts: np.ndarray) -> csr_matrix:
    hasher = FeatureHasher(COLUMNS, input_type="string", alternate_sign=False)
    rows = (text.words for text in texts)
    return hasher.transform(_of_word(words, place) for words in rows for place in range(len(words)))


def _of_word(words: list[str], place: int) -> list[str]:
    word = words[place]
    found = ["bias", f"shape={shape(word)}"]
    found += [f"start={word[:n].lower()}" for n in (2, 3, 4)] + [
        f"end={word[-n:].lower()}" for n in (2, 3, 4)
    ]
    for step in range(-WINDOW, WINDOW + 1):
        at = place + step
        other = words[at] if 0 <= at < len(words) else ""
        found += [f"{step}={other.lower()}", f"{step}:{shape(other)[:1]}"]
    return found


def shape(word: str) -> str:
    """Returns what kinds of signs a word is made of: "Xx" of "Anna", "Xx.d" of "Ab-12"."""
    kinds = ("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else "." for c in word)
    found = ""
    for kind in kinds:
        found += "" if found.endswith(kind) else kind
    return found
