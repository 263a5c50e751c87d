"""What each word did: against leaving it out by hand, and against a model that can be reckoned on paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hftune.inference.load import load_model
from hftune.inference.occlusion import find_words, influence
from hftune.inference.predict import predict_rows
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification
from hftune.tasks.single_label import SingleLabel
from tests.tiny import tiny_checkpoint, tiny_tokenizer

TEXT = "the worst film of all , but I love it ! so much plot , and no scene is bad"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load_model(str(tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"), num_labels=3)))


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Means over tokens: 3 for the first class for each "good", 2 for the second for each "bad"."""
    folder = tmp_path_factory.mktemp("bag")
    tokenizer = tiny_tokenizer("bert")
    model = BagForSequenceClassification(
        BagConfig(vocab_size=len(tokenizer), embedding_dim=2, ngrams=1, num_labels=2)
    )
    with torch.no_grad():
        model.embedding.weight.zero_()
        model.embedding.weight[tokenizer.convert_tokens_to_ids("good"), 0] = 3
        model.embedding.weight[tokenizer.convert_tokens_to_ids("bad"), 1] = 2
        model.classifier.weight.copy_(torch.eye(2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def test_words_hold_all_of_a_text_but_its_blanks():
    text = "Don't   miss it: “great” film!!! \n10/10 😀 我喜欢 हिन्दी फ़िल्म। l'été <b>x_y</b>"
    text += " don’t جيد، \uf900\uf901"
    words = [text[start:end] for start, end in find_words(text)]
    assert words == [
        *("Don't", "miss", "it", ":", "“", "great", "”", "film", "!!!", "10", "/", "10", "😀"),
        *("我", "喜", "欢", "हिन्दी", "फ़िल्म", "।", "l'été", "<", "b", ">", "x", "_", "y", "</", "b", ">"),
        *("don’t", "جيد", "،", "\uf900", "\uf901"),
    ]
    assert "".join(words) == "".join(text.split())
    assert find_words("") == find_words(" \n") == []


@pytest.mark.parametrize("length", [64, 12])
def test_drops_are_those_of_leaving_each_word_out_by_hand(bert, length):
    saved = replace(bert, inputs=replace(bert.inputs, max_length=length, truncation="head+tail"))
    found = influence(saved, TEXT)
    words = TEXT.split()
    assert [TEXT[start:end] for start, end in found.words] == words
    expected = []
    for place in range(-1, len(words)):
        text = " ".join(word for at, word in enumerate(words) if at != place)
        logits = predict_rows(saved, saved.inputs.rows([text]))["logits"][0].astype(np.float64)
        if place < 0:
            np.testing.assert_allclose(found.logits, logits, atol=1e-5)
            label = int(logits.argmax())
        p = np.exp(logits - logits.max())
        p = p[label] / p.sum()
        expected.append(np.log(p / (1 - p)))
    np.testing.assert_allclose(found.drops, expected[0] - np.array(expected[1:]), atol=1e-5)
    assert np.abs(found.drops).max() > 0.05, "nothing was compared"


def test_drops_on_paper(bag):
    found = influence(bag, "good bad film\ngood")  # six tokens, with [CLS] and [SEP]
    whole = (3 + 3 - 2) / 6
    without = [(3 - 2) / 5, (3 + 3) / 5, (3 + 3 - 2) / 5, (3 - 2) / 5]
    np.testing.assert_allclose(found.drops, whole - np.array(without), atol=1e-6)
    assert found.drops.argmin() == 1  # what spoke for the other class


def test_a_text_without_words(bag):
    found = influence(bag, " \n")
    assert found.words == []
    assert found.drops.shape == (0,)
    assert found.logits.shape == (2,)


def test_what_is_cut_off_is_not_asked_twice(bert):
    saved = replace(bert, inputs=replace(bert.inputs, max_length=6))  # [CLS], four words, [SEP]
    asked = []
    found = influence(saved, TEXT, on_progress=asked.append)
    assert sum(asked) == 5
    assert np.array_equal(found.drops[4:], np.zeros(len(TEXT.split()) - 4))
    assert np.abs(found.drops[:4]).min() > 0


def test_log_odds_are_exact_where_a_probability_is_one():
    logits = np.array([[50.0, 0.0, 0.0], [51.0, 0.0, 0.0], [0.0, 300.0, 0.0]], np.float32)
    np.testing.assert_allclose(
        SingleLabel(("a", "b", "c")).evidence({"logits": logits}, 0),
        [50 - np.log(2), 51 - np.log(2), -300],
        rtol=1e-12,
    )
