"""Token ids: the tokenizer's own unless cut, cut here and nowhere else, and made only once."""

import json

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hftune.data.text.tokenize import (
    Encoder,
    TextCollator,
    TokenRows,
    cut,
    special_tokens_around,
    tokenize,
    truncation_report,
)
from hftune.errors import BadInput
from tests.tiny import WORDS, tiny_tokenizer

PARTS = ("head", "tail", "head+tail")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def split_of(texts: list[str], labels: list[int] | None = None) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts, "label": labels or [0] * len(texts)})


def rows_of(texts: list[str], tokenizer, max_length: int = 64, **changes) -> TokenRows:
    options = {"truncation": "head", "fingerprint": "one", **changes}
    return tokenize(split_of(texts), tokenizer, max_length=max_length, **options)


def ids_of(rows: TokenRows) -> list[list[int]]:
    return [rows[i]["input_ids"].tolist() for i in range(len(rows))]


class Counting:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.texts = 0

    def __call__(self, text, **options):
        self.texts += len(text) if isinstance(text, list) else 0
        return self._tokenizer(text, **options)

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


@given(st.integers(0, 60).map(range).map(list), st.integers(1, 40), st.sampled_from(PARTS))
def test_cut_keeps_as_many_as_fit_in_their_order(ids, room, truncation):
    kept = cut(ids, room, truncation)
    assert len(kept) == min(len(ids), room)
    if len(ids) <= room:
        assert kept == ids
    elif truncation == "head":
        assert kept == ids[:room]
    elif truncation == "tail":
        assert kept == ids[-room:]
    else:
        front = room // 4
        assert kept[:front] == ids[:front]
        assert kept[front:] == ids[len(ids) - room + front :]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "gpt2"])
def test_uncut_ids_are_the_tokenizers_own(family):
    tokenizer = tiny_tokenizer(family)
    texts = ["The film was great!", "a  bad,bad plot", "xyzzy Ünïcode 影片", "it", "isn't   it\n\nthe best?"]
    rows = rows_of(texts, tokenizer)
    assert ids_of(rows) == tokenizer(texts)["input_ids"]
    assert rows.lengths.tolist() == rows.tokens.tolist() == [len(ids) for ids in ids_of(rows)]


@pytest.mark.parametrize("truncation", PARTS)
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_cut_ids_stand_between_the_special_tokens(family, truncation):
    tokenizer = tiny_tokenizer(family)
    text = " ".join(WORDS[:60])
    bare = tokenizer(text, add_special_tokens=False)["input_ids"]
    before, after = special_tokens_around(tokenizer)
    rows = rows_of([text, "good"], tokenizer, 12, truncation=truncation)
    room = 12 - len(before) - len(after)
    assert ids_of(rows)[0] == before + cut(bare, room, truncation) + after
    assert ids_of(rows)[1] == tokenizer("good")["input_ids"]
    assert rows.lengths[0] == 12
    assert rows.tokens[0] == len(bare) + len(before) + len(after)


def test_special_tokens_around_a_text():
    bert, roberta, gpt2 = (tiny_tokenizer(family) for family in ("bert", "roberta", "gpt2"))
    assert special_tokens_around(bert) == ([bert.cls_token_id], [bert.sep_token_id])
    assert special_tokens_around(roberta) == ([roberta.bos_token_id], [roberta.eos_token_id])
    assert special_tokens_around(gpt2) == ([], [])


def test_a_tokenizer_files_own_cut_and_padding_do_not_count(tmp_path):
    """Many files on the Hub carry them, all-MiniLM-L6-v2 for one: cut at 128, padded to 128."""
    plain = tiny_tokenizer("bert")
    plain.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(content))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.backend_tokenizer.truncation["max_length"] == 8  # the file was read
    texts = [" ".join(WORDS[:30]), "good"]
    rows = rows_of(texts, loaded, 20)
    assert ids_of(rows) == tokenizer_ids(plain, texts, 20)
    assert rows.tokens.tolist() == [32, 3]
    again = Counting(AutoTokenizer.from_pretrained(tmp_path))
    assert ids_of(rows_of(texts, again, 20)) == ids_of(rows)
    assert again.texts == 0


def tokenizer_ids(tokenizer, texts: list[str], max_length: int) -> list[list[int]]:
    return tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]


def test_a_second_call_reads_the_cache():
    texts = ["the film", "was great", ""]
    first, second = (Counting(tiny_tokenizer("bert")) for _ in range(2))
    rows, again = rows_of(texts, first), rows_of(texts, second)
    assert (first.texts, second.texts) == (3, 0)
    assert ids_of(again) == ids_of(rows)
    assert again.targets.tolist() == rows.targets.tolist()


@pytest.mark.parametrize(
    "change", [{"max_length": 5}, {"truncation": "tail"}, {"fingerprint": "two"}, {"tokenizer": "other"}]
)
def test_the_cache_is_not_read_for_anything_else(change):
    texts = ["the film was great and the plot was not"]
    other = tiny_tokenizer("bert")
    if change.pop("tokenizer", None):
        other.add_tokens(["plot and"])
    rows_of(texts, tiny_tokenizer("bert"))
    counting = Counting(other)
    rows_of(texts, counting, **change)
    assert counting.texts == 1


def test_max_length_without_room_for_the_text_is_bad_input():
    with pytest.raises(BadInput, match=r"--max_length 2: the special tokens alone are 2"):
        rows_of(["good"], tiny_tokenizer("bert"), 2)
    tokenizer = tiny_tokenizer("bert")
    assert ids_of(rows_of(["good film"], tokenizer, 3)) == tokenizer(["good"])["input_ids"]


def test_the_cut_of_a_split_is_that_of_the_encoder():
    tokenizer, texts = tiny_tokenizer("roberta"), [" ".join(WORDS[:n]) for n in (40, 2, 30)] + [""]
    encoded = Encoder(tokenizer, max_length=12, truncation="head+tail")(texts)
    rows = rows_of(texts, tokenizer, 12, truncation="head+tail")
    assert ids_of(rows) == encoded["input_ids"]
    assert rows.tokens.tolist() == encoded["tokens"]
    assert rows.lengths.tolist() == [12, len(encoded["input_ids"][1]), 12, 3]
    with pytest.raises(BadInput, match=r"^the file says 1: the special tokens alone are 2$"):
        Encoder(tokenizer, max_length=1, truncation="head", length_name="the file says")


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_text_of_nothing_becomes_one_unknown_token(family):
    tokenizer = tiny_tokenizer(family)
    rows = rows_of(["", "good"], tokenizer)
    before, after = special_tokens_around(tokenizer)
    assert ids_of(rows)[0] == [*before, tokenizer.unk_token_id, *after]


def test_a_text_of_nothing_is_unknown_where_that_is_number_zero():
    tokenizer = tiny_tokenizer("bert")
    tokenizer.unk_token, tokenizer.pad_token = "[PAD]", "[UNK]"
    assert ids_of(rows_of([""], tokenizer)) == [[2, 0, 3]]


def test_rows_are_slices_of_the_split():
    tokenizer = tiny_tokenizer("bert")
    texts = [" ".join(WORDS[:n]) for n in (3, 1, 7)]
    options = {"max_length": 64, "truncation": "head", "fingerprint": "labels"}
    rows = tokenize(split_of(texts), tokenizer, targets=np.array([2, 0, 1]), **options)
    assert len(rows) == 3
    assert rows.targets.tolist() == [2, 0, 1]
    assert [rows[i]["label"] for i in range(3)] == [2, 0, 1]
    assert rows.lengths.tolist() == [5, 3, 9]
    assert ids_of(rows) == tokenizer(texts)["input_ids"]
    assert rows[1]["input_ids"].dtype == np.int32
    for column in (rows.lengths, rows.targets, rows.tokens):
        assert column.dtype == np.int64


def test_rows_of_more_than_one_chunk_stay_in_order():
    """`map` writes a chunk for every 1,000 rows."""
    texts = [WORDS[i % 50] for i in range(2300)]
    tokenizer = tiny_tokenizer("bert")
    rows = rows_of(texts, tokenizer)
    for row in (0, 999, 1000, 1001, 2299):
        assert rows[row]["input_ids"].tolist() == tokenizer(texts[row])["input_ids"]


def test_truncation_report_counts_rows_and_tokens():
    rows = rows_of([" ".join(WORDS[:n]) for n in (2, 8, 18)], tiny_tokenizer("bert"), 10)
    assert rows.tokens.tolist() == [4, 10, 20]
    assert truncation_report(rows) == {
        "truncated_rows": 1,
        "truncated_rows_share": 1 / 3,
        "truncated_tokens_share": pytest.approx(10 / 34),
    }


@pytest.mark.parametrize("token_type_ids", [True, False])
def test_the_collator_pads_masks_and_types(token_type_ids):
    rows = [
        {"input_ids": np.array([2, 9, 3], np.int32), "label": 1},
        {"input_ids": np.array([2, 3], np.int32), "label": 0},
    ]
    batch = TextCollator(7, token_type_ids)(rows)
    assert batch["input_ids"].tolist() == [[2, 9, 3], [2, 3, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [1, 0]
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    assert ("token_type_ids" in batch) == token_type_ids
    if token_type_ids:
        assert torch.equal(batch["token_type_ids"], torch.zeros(2, 3, dtype=torch.int64))


def test_a_batch_is_what_the_tokenizer_itself_would_pad():
    tokenizer = tiny_tokenizer("bert")
    texts = ["the film was great", "bad", "a good plot !"]
    rows = rows_of(texts, tokenizer)
    batch = TextCollator(tokenizer.pad_token_id, True)([rows[i] for i in range(3)])
    expected = tokenizer(texts, padding=True, return_tensors="pt")
    assert {*expected} == {*batch} - {"labels"}
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor)
