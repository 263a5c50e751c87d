import warnings

import numpy as np
import pytest

from hftune.data.baselines import TextBaseline, written_without_spaces
from hftune.tasks.single_label import SingleLabel

GOOD, BAD = "a fine and moving film", "a dull and empty film"


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def baselines(train, labels, test, classes):
    task, simple = SingleLabel(tuple("abcd"[:classes])), TextBaseline({"text": train}, {"text": test})
    found = task.baselines(np.asarray(labels), len(test), simple)
    return {name: one["logits"] for name, one in found.items()}


def check(found, n, num_labels):
    assert set(found) == {"majority", "tfidf"}
    for scores in found.values():
        assert scores.shape == (n, num_labels)
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-6)


def test_majority_gives_the_training_frequencies():
    found = baselines([BAD] * 3 + [GOOD] * 5, [0, 0, 0, 1, 1, 1, 1, 1], ["x", "y"], 2)
    check(found, 2, 2)
    np.testing.assert_allclose(np.exp(found["majority"]), [[4 / 10, 6 / 10]] * 2)


def test_tfidf_learns_words_and_word_order():
    # "not good but bad" and "not bad but good" have the same words: only pairs tell them apart
    texts = ["not good but bad", "not bad but good"] * 60
    found = baselines(texts, [0, 1] * 60, ["it is not bad", "it is not good"], 2)
    assert found["tfidf"].argmax(1).tolist() == [1, 0]


def test_few_texts_count_every_word():
    found = baselines(["superb", "dreadful"], [1, 0], ["a superb film", "a dreadful film"], 2)
    assert found["tfidf"].argmax(1).tolist() == [1, 0]


def test_tfidf_beats_the_majority_and_is_deterministic():
    random = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(50)])
    labels = random.integers(0, 3, 600)
    texts = [" ".join(words[(random.integers(0, 20, 12) + 10 * label)]) for label in labels]
    first = baselines(texts[:400], labels[:400], texts[400:], 3)
    again = baselines(texts[:400], labels[:400], texts[400:], 3)
    check(first, 200, 3)
    assert (first["tfidf"].argmax(1) == labels[400:]).mean() > 0.8
    np.testing.assert_array_equal(first["tfidf"], again["tfidf"])


def test_texts_without_spaces_are_read_by_characters():
    good, bad = "这部电影非常好看", "这部电影真的难看"
    texts = [f"{number}号{text}" for number in range(60) for text in (good, bad)]
    found = baselines(texts, [1, 0] * 60, ["我觉得非常好", "真的很难"], 2)
    assert found["tfidf"].argmax(1).tolist() == [1, 0]


def test_scripts_are_told_apart():
    assert written_without_spaces(["这部电影, not bad"])
    assert written_without_spaces(["このえいが"])
    assert written_without_spaces(["ภาพยนตร์เรื่องนี้ดี"])
    assert not written_without_spaces(["a film called 花, which is not bad"])
    assert not written_without_spaces(["Привет, мир"])
    assert not written_without_spaces(["", " "])


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["one"], [0]),
        (["one", "two"], [0, 1]),
        (["", ""], [0, 1]),
        (["?!", "..."] * 70, [0, 1] * 70),
        ([f"only{i}" for i in range(200)], [0, 1] * 100),
        ([GOOD] * 120, [2] * 120),
    ],
)
def test_tiny_empty_and_one_class_data_do_not_crash(texts, labels):
    check(baselines(texts, labels, ["a fine film", ""], 4), 2, 4)
    check(baselines(texts, np.array(labels), [], 4), 0, 4)


def test_class_absent_from_training_is_never_predicted():
    found = baselines([GOOD, BAD] * 60, [0, 2] * 60, [GOOD, BAD], 3)
    assert found["tfidf"].argmax(1).tolist() == [0, 2]
    assert np.exp(found["tfidf"][:, 1]).max() < 0.01


def test_accents_and_one_letter_words_count():
    texts = ["Café c", "Cafe d"] * 60
    found = baselines(texts, [0, 1] * 60, ["cafe c", "café d"], 2)
    assert found["tfidf"].argmax(1).tolist() == [0, 1]
