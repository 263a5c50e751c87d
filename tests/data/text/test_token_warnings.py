"""What a tokenizer does not know, or takes otherwise than meant, is said with the first text."""

import logging

import datasets
import pytest

from hftune.data.text.token_warnings import unknown_share, warn_of_special_tokens, warn_of_unknown
from hftune.data.text.tokenize import tokenize
from hftune.data.text.vocabulary import train_tokenizer
from hftune.errors import BadInput
from tests.tiny import tiny_tokenizer


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("hftune"), "propagate", True)
    caplog.set_level(logging.WARNING, "hftune")
    return caplog


def rows_of(texts, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    split = datasets.Dataset.from_dict({"text": texts, "label": [0] * len(texts)})
    rows = tokenize(split, tokenizer, max_length=32, truncation="head", fingerprint=str(tmp_path))
    return split, rows


@pytest.mark.parametrize(("texts", "share"), [(["good film"] * 3 + ["\U0001f600"], 1 / 7), (["a b"], 0.5)])
def test_the_share_counts_words_and_not_what_stands_around_a_text(texts, share, tmp_path, monkeypatch):
    tokenizer = tiny_tokenizer("bert")
    _, rows = rows_of(texts, tokenizer, tmp_path, monkeypatch)
    assert unknown_share(rows, tokenizer) == pytest.approx(share)


def test_many_unknown_words_are_warned_of_with_the_worst_text(tmp_path, monkeypatch, said):
    for family, texts, warns in (
        ("bert", ["good film", "คำ คำ คำ"], True),
        ("bert", ["good film"], False),
        ("roberta", ["คำ คำ"], False),  # bytes are all known
        ("gpt2", ["คำ คำ"], False),
    ):
        tokenizer = tiny_tokenizer(family)
        split, rows = rows_of(texts, tokenizer, tmp_path / family / str(warns), monkeypatch)
        said.clear()
        warn_of_unknown("train", split, rows, tokenizer, "pass another")
        assert bool(said.messages) == warns
        if warns:
            assert said.messages == [
                "60 % of the tokens of train are unknown to the tokenizer, as in 'คำ คำ คำ'; pass another"
            ]


def test_a_script_without_blanks_is_pointed_to_characters():
    with pytest.raises(BadInput, match=r"no word occurs so often.*--tokenizer_type character"):
        train_tokenizer(["ไม่กลับมาอีก", "อาหารอร่อยมาก"])


def test_a_special_token_of_ones_own_is_warned_of(said):
    split = datasets.Dataset.from_dict({"text": ["good", "[E1] film [E1]", "[SEP]"]})
    tokenizer = tiny_tokenizer("bert")
    tokenizer.add_special_tokens({"extra_special_tokens": ["[E1]"]})
    tokenizer.split_special_tokens = True
    warn_of_special_tokens("train", split, tokenizer)
    assert len(said.messages) == 1
    assert said.messages[0].startswith("train: 1 texts hold a special token, such as [E1], which is read as")
    assert said.messages[0].endswith("(first: '[E1] film [E1]')")
