"""A simple model of texts, trained in seconds, to compare with: TF-IDF and logistic regression."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold

# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, Kana, Han.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
UNSPACED_SHARE = 0.3  # of the characters that are not space
SAMPLED_TEXTS = 1000
TINY = 100  # texts: below it, a term seen in one text counts too
INVERSE_PENALTY = 10.0  # scikit-learn's C
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of the ridge
FEW = 1000  # texts: up to here each penalty is tried with every text left out once


class Columns(Protocol):
    """Rows by column: a dict, or a set of `datasets`."""

    def __getitem__(self, column: str, /) -> Sequence[str]:
        """Returns the values of a column."""


@dataclass(frozen=True)
class _Joined:
    """The rows of one set, and behind them those of another."""

    first: Columns
    second: Columns

    def __getitem__(self, column: str) -> list[str]:
        return [*self.first[column], *self.second[column]]


@dataclass(frozen=True)
class LinearBaseline:
    """Features of the rows under a logistic or a ridge regression.

    Args:
        train: The N training rows by column.
        test: Likewise n rows.
        validation: Likewise the rows that `with_validation` needs.
    """

    train: Columns
    test: Columns
    validation: Columns | None = None

    def with_validation(self) -> Self:
        """Returns the same model, whose test rows are the validation rows followed by the test rows."""
        assert self.validation
        return replace(self, test=_Joined(self.validation, self.test))

    def estimator(self) -> LogisticRegression:
        """Returns an untrained logistic regression."""
        return LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)

    def regressor(self) -> RidgeCV:
        """Returns an untrained ridge regression that chooses its penalty by itself."""
        folds = None if len(self.train["text"]) <= FEW else KFold(3, shuffle=True, random_state=0)
        return RidgeCV(PENALTIES, cv=folds)


@dataclass(frozen=True)
class TextBaseline(LinearBaseline):
    """Words and word pairs, or 1 to 3 characters where texts are written without spaces, as sublinear TF-IDF.

    The same texts give the same model.

    Args:
        column: The column of the texts.
        name: See `hftune.tasks.base.SimpleModel`.
    """

    column: str = "text"
    name: str = "tfidf"

    def features(self) -> tuple[csr_matrix, csr_matrix]:
        """Returns the TF-IDF matrices of the training and test texts, (N, V) and (n, V) float32."""
        return weigh_terms(self.train[self.column], self.test[self.column])


def written_without_spaces(texts: Sequence[str]) -> bool:
    """Returns whether the texts are mostly Han, Kana, Thai or the like, judged by 1,000 of them."""
    sample = "".join(texts[i] for i in range(0, len(texts), max(1, len(texts) // SAMPLED_TEXTS)))
    return len(UNSPACED.findall(sample)) > UNSPACED_SHARE * len(re.findall(r"\S", sample))


def weigh_terms(train_texts: Sequence[str], test_texts: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """Returns the TF-IDF matrices of the training and test texts, (N, V) and (n, V) float32.

    Where no term is left (all texts empty, say), V = 1 and the column is constant.
    """
    vectorizer = vectorizer_of(train_texts)
    try:
        train = vectorizer.fit_transform(train_texts)
    except ValueError:  # its word for an empty vocabulary: no term is left that could tell texts apart
        return csr_matrix(np.ones((len(train_texts), 1))), csr_matrix(np.ones((len(test_texts), 1)))
    return train, vectorizer.transform(test_texts)


def vectorizer_of(texts: Sequence[str]) -> TfidfVectorizer:
    """Returns what makes TF-IDF of texts such as these, not fitted to them yet."""
    if written_without_spaces(texts):
        terms = {"analyzer": "char", "ngram_range": (1, 3)}
    else:
        terms = {"ngram_range": (1, 2), "token_pattern": r"\w+", "strip_accents": "unicode"}
    least = 1 if len(texts) < TINY else 2
    return TfidfVectorizer(**terms, min_df=least, sublinear_tf=True, dtype=np.float32)
