import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hftune.data.text.sample import ADJECTIVES, MANNERS, NOUNS, VERBS, load_sample


@pytest.fixture(scope="module")
def sample():
    return load_sample()


def test_the_seed_alone_decides(sample):
    again = load_sample()
    assert all(sample[split].to_dict() == again[split].to_dict() for split in sample)
    other = load_sample(1)
    assert len(set(sample["train"]["text"]) & set(other["train"]["text"])) < 100


def test_splits_are_balanced_and_share_no_text(sample):
    assert {split: len(rows) for split, rows in sample.items()} == {
        "train": 4000,
        "validation": 500,
        "test": 1000,
    }
    for rows in sample.values():
        assert rows.features["label"].names == ["negative", "positive"]
        assert Counter(rows["label"]) == {0: len(rows) // 2, 1: len(rows) // 2}
    texts = [text for rows in sample.values() for text in rows["text"]]
    assert len(set(texts)) == len(texts)


def test_texts_are_finished_sentences_of_ordinary_length(sample):
    for text in sample["train"]["text"]:
        assert 10 <= len(text.split()) <= 90
        assert re.fullmatch(r"[A-Z].*\.", text)
        assert "{" not in text
        assert "  " not in text
        assert not re.search(r"\. [a-z]|\ba [aeiou]\w+ (film|moment)\b", text)


def test_every_word_with_a_polarity_is_as_likely_in_both_classes(sample):
    train = sample["train"]
    counts: dict[int, Counter] = {0: Counter(), 1: Counter()}
    for text, label in zip(train["text"], train["label"], strict=True):
        counts[label].update(set(re.findall(r"\w+", text.lower())))
    words = {word for group in (ADJECTIVES, VERBS, NOUNS, MANNERS) for side in group for word in side}
    for word in sorted(words | {"hardly", "never", "not", "nobody", "far", "although", "but"}):
        negative, positive = counts[0][word], counts[1][word]
        assert negative + positive >= 25, word
        # A fair coin: five standard deviations of a binomial share.
        assert abs(negative - positive) < 5 * np.sqrt(negative + positive), (word, negative, positive)


def test_counting_words_and_pairs_learns_a_part_but_not_all(sample):
    def accuracy(longest: int) -> float:
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, longest)), LogisticRegression(max_iter=1000))
        model.fit(sample["train"]["text"], sample["train"]["label"])
        return model.score(sample["test"]["text"], sample["test"]["label"])

    assert 0.45 < accuracy(1) < 0.56
    assert 0.6 < accuracy(2) < 0.85
