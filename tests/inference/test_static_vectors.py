"""Static vectors: what an encoder makes of each word alone, under words that small models have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hftune.data.text.vocabulary import word_splitter
from hftune.errors import BadInput
from hftune.inference import static_vectors as module
from hftune.inference.static_vectors import own_words, static_vectors
from tests.tiny import FAMILIES, tiny_checkpoint, tiny_tokenizer


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_vector_is_the_mean_of_the_states_of_a_word_alone(family, tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint(family, tmp_path)
    monkeypatch.setattr(module, "AT_ONCE", 2)  # words of a batch have other lengths
    words = ["film", "unbelievably", "good", "a", "overacted"]
    found, vectors = static_vectors(str(checkpoint), words, 16)
    assert found == words
    model, tokenizer = AutoModel.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        alone = [model(**tokenizer(word, return_tensors="pt")).last_hidden_state[0].mean(0) for word in words]
    np.testing.assert_allclose(vectors, torch.stack(alone).numpy(), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_words_of_an_encoder_are_words_of_a_small_model(family):
    words = own_words(tiny_tokenizer(family))
    split = word_splitter()
    assert len(set(words)) == len(words) > 50
    assert all(split(word) == [word] for word in words)
    assert {"a", "!", "e" if family in ("roberta", "gpt2", "modernbert") else "film"} <= set(words)


def test_main_components_keep_what_tells_words_apart(encoder):
    words, whole = static_vectors(str(encoder))
    assert whole.shape == (len(words), 16)  # it has no 100
    again, small = static_vectors(str(encoder), vector_size=15)
    assert again == words
    assert small.shape == (len(words), 15)
    assert small.dtype == np.float32
    centred = whole - whole.mean(0)
    np.testing.assert_allclose((small**2).sum(), (centred**2).sum(), rtol=0.02)
    np.testing.assert_allclose(small.mean(0), 0, atol=1e-5)
    with pytest.raises(BadInput, match=r"^--vector_size 17: .* states of 16 numbers"):
        static_vectors(str(encoder), vector_size=17)
    with pytest.raises(BadInput, match=r"^--vector_size 3: .* gives 2 words"):
        static_vectors(str(encoder), ["a", "film"], 3)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="an empty folder"):
        static_vectors(str(tmp_path))
    assert not [*Path(tmp_path).iterdir()]
