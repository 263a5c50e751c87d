"""Masks are a function of their address, of ordinary tokens alone, and as many as are counted beforehand."""

import datasets
import numpy as np
import pytest
import torch

from hftune.data.dataset import EpochIndex
from hftune.data.masked_lm.masking import Masking
from hftune.data.masked_lm.rows import MaskedCollator, MaskedTexts, UnigramBaseline
from hftune.data.text.tokenize import TextCollator, TokenRows, features_of
from hftune.data.text.tokenize import encoder as encoder_of
from hftune.errors import BadInput
from tests.tiny import WORDS, tiny_tokenizer

TOKENIZER = tiny_tokenizer("bert")
MASK = TOKENIZER.mask_token_id
LONG = " ".join(["zzz zzz zzz", *WORDS[:40]])  # three words that the tokenizer does not know
TEXTS = ["the film was good", "zzz", "a", " ".join(WORDS[:20]), LONG, "very zzz funny zzz plot"]
MASKING = Masking.of(TOKENIZER, 0.15)
AROUND = ([TOKENIZER.cls_token_id], [TOKENIZER.sep_token_id])


def token_rows(texts: list[str]) -> TokenRows:
    encode = encoder_of(TOKENIZER, max_length=1000, truncation="head")
    return TokenRows(datasets.Dataset.from_dict(encode(texts), features=features_of(encode)))


def masked(texts: list[str] = TEXTS, *, masking: Masking = MASKING, seed: int = 1, **changes) -> MaskedTexts:
    given = {"max_length": 22, "address": ("mask", seed), "training": True}
    return MaskedTexts(token_rows(texts), masking, AROUND, **(given | changes))


def visits(rows: MaskedTexts, epoch: int) -> list[dict]:
    return [rows[EpochIndex.of(row, epoch)] for row in range(len(rows))]


def equal(some: list[dict], others: list[dict]) -> bool:
    return all(
        np.array_equal(one[name], other[name])
        for one, other in zip(some, others, strict=True)
        for name in ("input_ids", "labels")
    )


def test_what_is_masked_is_a_function_of_seed_epoch_and_row():
    rows = masked()
    first = visits(rows, 0)
    assert equal(first, [rows[EpochIndex.of(row, 0)] for row in range(len(rows))])
    backwards = masked()
    assert equal(first, [backwards[EpochIndex.of(row, 0)] for row in reversed(range(len(rows)))][::-1])
    assert not equal(first, visits(rows, 1))
    assert not equal(first, visits(masked(seed=2), 0))


def test_an_evaluation_masks_the_same_every_time_and_for_every_run():
    rows = masked(address=("mask", "test"), training=False)
    first = visits(rows, 0)
    assert equal(first, visits(rows, 1))
    assert equal(first, [rows[row] for row in range(len(rows))])
    assert not equal(first, visits(masked(address=("mask", "validation"), training=False), 0))


def test_a_plain_number_draws_from_torch_as_in_a_trainer():
    rows = masked()
    torch.manual_seed(0)
    first, second = rows[3], rows[3]
    torch.manual_seed(0)
    assert equal([first], [rows[3]])
    assert not equal([first], [second])


def test_special_tokens_and_unknown_words_are_never_masked():
    rows = masked(masking=Masking.of(TOKENIZER, 0.9))
    assert rows.kept.tolist() == [0, 2, 3, 4, 5]  # one text has unknown words alone
    whole = token_rows(TEXTS)
    for epoch in range(20):
        for place, row in enumerate(visits(rows, epoch)):
            text, at = whole[int(rows.kept[place])]["input_ids"], np.flatnonzero(row["labels"] >= 0)
            assert not set(row["labels"][at].tolist()) & set(TOKENIZER.all_special_ids)
            assert (row["input_ids"][0], row["input_ids"][-1]) == (AROUND[0][0], AROUND[1][0])
            assert at.min() > 0
            assert at.max() < len(row["labels"]) - 1
            original = np.where(row["labels"] >= 0, row["labels"], row["input_ids"])[1:-1]
            windows = np.lib.stride_tricks.sliding_window_view(text, len(original))
            assert (windows == original).all(1).any()  # a stretch of the text, and nothing else
            assert len(row["labels"]) == rows.lengths[place] <= 22


def test_as_many_tokens_are_masked_as_were_counted():
    rows = masked(masking=Masking.of(TOKENIZER, 0.5))
    assert rows.weights.tolist() == [2, 1, 10, 9, 2]  # of 4, 1, 20, at least 17 of a stretch of 20, and 3
    for epoch in range(30):
        counts = [int((row["labels"] >= 0).sum()) for row in visits(rows, epoch)]
        assert counts == rows.weights.tolist() == rows.targets.tolist()


def test_each_epoch_reads_another_stretch_of_a_long_text():
    rows = masked([" ".join(WORDS[:60])], masking=Masking.of(TOKENIZER, 0.01))
    ids = token_rows([" ".join(WORDS[:60])])[0]["input_ids"][1:-1]
    starts = set()
    for epoch in range(40):
        (row,) = visits(rows, epoch)
        first = row["labels"][1] if row["labels"][1] >= 0 else row["input_ids"][1]
        starts.add(int(np.flatnonzero(ids == first)[0]))
    assert len(starts) > 10


def test_eight_of_ten_become_the_mask_and_one_another_token():
    rows = masked([" ".join(WORDS[:20])] * 50, masking=Masking.of(TOKENIZER, 0.5))
    found = [row for epoch in range(10) for row in visits(rows, epoch)]
    shown = np.concatenate([row["input_ids"][row["labels"] >= 0] for row in found])
    labels = np.concatenate([row["labels"][row["labels"] >= 0] for row in found])
    assert len(labels) == 5000
    assert np.mean(shown == MASK) == pytest.approx(0.8, abs=0.03)
    assert np.mean(shown == labels) == pytest.approx(0.1, abs=0.03)
    changed = shown[(shown != MASK) & (shown != labels)]
    assert len(set(changed.tolist())) > 50
    assert not set(changed.tolist()) & set(TOKENIZER.all_special_ids)


def test_no_room_and_nothing_to_mask_are_one_line():
    with pytest.raises(BadInput, match="--max_length 2: the special tokens alone are 2"):
        masked(max_length=2)
    with pytest.raises(BadInput, match="knows no token of any text"):
        masked(["zzz", "yyy zzz"])


def test_a_batch_is_padded_and_its_padding_is_not_masked():
    rows = masked()
    batch = MaskedCollator(TextCollator.of(TOKENIZER))([rows[0], rows[2]])
    assert {name: tuple(values.shape) for name, values in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids", "labels"), (2, 22)
    )
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
    assert (batch["labels"] >= 0).sum(1).tolist() == [1, 3]


def test_the_unigram_baseline_by_hand():
    train, scored = (
        masked(["the the the film"]),
        masked(["the", "film"], address=("mask", "test"), training=False),
    )
    found = UnigramBaseline(train, scored, MASKING).predictions()
    size = int(MASKING.ordinary.sum())  # each is counted once more
    assert found["nll"] == pytest.approx([-np.log(4 / (4 + size)), -np.log(2 / (4 + size))])
    assert found["hits"].tolist() == [1, 0]
