"""What a model has to beat: the majority class, and TF-IDF with logistic regression, trained in seconds."""

import re
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, Kana, Han.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
UNSPACED_SHARE = 0.3  # of the characters that are not space
SAMPLED_TEXTS = 1000
TINY = 100  # texts: below it, a term seen in one text counts too
INVERSE_PENALTY = 10.0  # scikit-learn's C


def predict_floor(
    train_texts: Sequence[str],
    train_labels: Sequence[int] | np.ndarray,
    test_texts: Sequence[str],
    num_labels: int,
) -> dict[str, np.ndarray]:
    """Trains the floor on the training texts and predicts the test texts.

    The same input gives the same output, and every logarithm is finite.

    Args:
        train_texts: N texts, at least one.
        train_labels: (N,) int in [0, C).
        test_texts: n texts.
        num_labels: Number of classes C.

    Returns:
        Log-probabilities, (n, C) float64 each, by name: `majority` (frequencies in training) and `tfidf`
        (words and word pairs, or 1 to 3 characters where the texts are written without spaces, weighted
        by sublinear TF-IDF, under logistic regression).
    """
    labels = np.asarray(train_labels, np.int64)
    if not len(test_texts):
        return floor_log_probabilities(labels, num_labels, {"tfidf": np.zeros((0, num_labels))})
    tfidf = _predict_tfidf(train_texts, labels, test_texts, num_labels)
    return floor_log_probabilities(labels, num_labels, {"tfidf": tfidf})


def floor_log_probabilities(
    labels: np.ndarray, num_labels: int, predicted: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Adds the majority class to what simple models predict, and takes logarithms.

    Args:
        labels: Of the training rows, int64 (N,).
        num_labels: Number of classes C.
        predicted: Probabilities of the test rows by each simple model, (n, C) float64.

    Returns:
        Log-probabilities, (n, C) float64 each, finite: every class is given one further training row's
        worth of probability.
    """
    rows = len(next(iter(predicted.values())))
    smoothed = {
        name: np.log((len(labels) * p + 1) / (len(labels) + num_labels)) for name, p in predicted.items()
    }
    return {"majority": majority_log_probabilities(labels, num_labels, rows), **smoothed}


def majority_log_probabilities(labels: np.ndarray, num_labels: int, rows: int) -> np.ndarray:
    """Returns what always giving the classes' frequencies in training comes to, (rows, C) float64.

    Args:
        labels: Of the training rows, int64 (N,).
        num_labels: Number of classes C.
        rows: How many rows are to be answered.
    """
    frequencies = np.bincount(labels, minlength=num_labels) / len(labels)
    return np.tile(np.log((len(labels) * frequencies + 1) / (len(labels) + num_labels)), (rows, 1))


def written_without_spaces(texts: Sequence[str]) -> bool:
    """Returns whether the texts are mostly Han, Kana, Thai or the like, judged by 1,000 of them."""
    sample = "".join(texts[i] for i in range(0, len(texts), max(1, len(texts) // SAMPLED_TEXTS)))
    return len(UNSPACED.findall(sample)) > UNSPACED_SHARE * len(re.findall(r"\S", sample))


def _predict_tfidf(
    train_texts: Sequence[str], labels: np.ndarray, test_texts: Sequence[str], num_labels: int
) -> np.ndarray:
    """Returns the probabilities of TF-IDF with logistic regression, (n, C) float64."""
    probabilities = np.zeros((len(test_texts), num_labels))
    present = np.unique(labels)
    if len(present) == 1:  # nothing to tell apart
        probabilities[:, present] = 1
        return probabilities
    train, test = _weigh_terms(train_texts, test_texts)
    classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(train, labels)
    probabilities[:, present] = classifier.predict_proba(test)
    return probabilities


def _weigh_terms(train_texts: Sequence[str], test_texts: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """Returns the TF-IDF matrices of the training and test texts, (N, V) and (n, V) float32.

    Where no term is left (all texts empty, say), V = 1 and the column is constant.
    """
    if written_without_spaces(train_texts):
        terms = {"analyzer": "char", "ngram_range": (1, 3)}
    else:
        terms = {"ngram_range": (1, 2), "token_pattern": r"\w+", "strip_accents": "unicode"}
    least = 1 if len(train_texts) < TINY else 2
    vectorizer = TfidfVectorizer(**terms, min_df=least, sublinear_tf=True, dtype=np.float32)
    try:
        train = vectorizer.fit_transform(train_texts)
    except ValueError:  # its word for an empty vocabulary: no term is left that could tell texts apart
        return csr_matrix(np.ones((len(train_texts), 1))), csr_matrix(np.ones((len(test_texts), 1)))
    return train, vectorizer.transform(test_texts)
