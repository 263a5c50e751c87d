"""Learned word vectors: neighbours in meaning, equal bits, and nothing cut off unnoticed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hftune.errors import BadInput
from hftune.training.word_vectors import LONGEST, METHODS, learn_vectors

ROOT = Path(__file__).parents[2]
KINDS = ([f"animal{number}" for number in range(10)], [f"colour{number}" for number in range(10)])


def write_texts(count: int = 1000) -> list[list[str]]:
    """Returns texts of twelve words, each about animals or about colours alone."""
    random = np.random.default_rng(0)
    return [[str(word) for word in random.choice(KINDS[row % 2], 12)] for row in range(count)]


@pytest.mark.parametrize("method", METHODS)
def test_words_of_the_same_texts_are_near_each_other(method):
    words, vectors = learn_vectors(write_texts(), method=method, vector_size=8, epochs=20)
    assert vectors.shape == (20, 8)
    assert vectors.dtype == np.float32
    centred = vectors - vectors.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    kind = np.array([word in KINDS[0] for word in words])
    same = kind[:, None] == kind[None, :]
    nearness = unit @ unit.T
    assert nearness[same].mean() > 0.1 > -0.1 > nearness[~same].mean()


def test_frequent_words_come_first_and_rare_ones_not_at_all():
    texts = [["b", "a"], ["a", "c"], ["a", "b"]]
    words, vectors = learn_vectors(texts, min_frequency=2, vector_size=4)
    assert words == ["a", "b"]
    assert len(vectors) == 2
    for none in ([], [["a", "b"]]):
        with pytest.raises(BadInput, match=r"^--min_frequency 2: no word of the texts occurs so often"):
            learn_vectors(none, min_frequency=2)


def test_a_text_is_read_to_its_end_and_counted_once_a_pass():
    seen = []
    text = ["first", "second"] * (LONGEST // 2) + ["last", "word"] * 20
    moved = []
    for epochs in (1, 3):
        seen.clear()
        words, vectors = learn_vectors([text], vector_size=4, epochs=epochs, on_text=lambda: seen.append(1))
        assert len(seen) == 1 + epochs
        moved.append(vectors[words.index("last")])
    assert not np.array_equal(*moved)  # a word that is never read keeps its first vector


def test_settings_reach_the_vectors():
    texts = write_texts(50)
    usual = {"vector_size": 6, "window": 3, "epochs": 2, "min_frequency": 1, "seed": 1}
    _, first = learn_vectors(texts, **usual)
    for name, value in {"window": 1, "epochs": 3, "seed": 2}.items():
        _, other = learn_vectors(texts, **usual | {name: value})
        assert not np.array_equal(first, other), name


def test_without_gensim_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(BadInput, match=r"pip install 'hftune\[vectors\]'"):
        learn_vectors(write_texts(4))


PROGRAM = """
import hashlib
from hftune.training.word_vectors import METHODS, learn_vectors
from tests.training.test_word_vectors import write_texts
for method in METHODS:
    words, vectors = learn_vectors(write_texts(), method=method, vector_size=8, min_frequency=1)
    print(hashlib.sha256(" ".join(words).encode() + vectors.tobytes()).hexdigest())
"""


def test_equal_texts_give_equal_bits_whatever_the_hash_seed():
    here = [
        hashlib.sha256(" ".join(words).encode() + vectors.tobytes()).hexdigest()
        for words, vectors in (
            learn_vectors(write_texts(), method=method, vector_size=8, min_frequency=1) for method in METHODS
        )
    ]
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here
