"""A pooled encoder that reads long texts in windows: each word as often as it should, padding never."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.models.standalone import pooled
from hftune.models.standalone.pooled import (
    PooledEncoderConfig,
    PooledEncoderForSequenceClassification,
    cut_windows,
)
from tests.tiny import tiny_model

WINDOW, STRIDE, MOST = 10, 3, 4  # 8 words and 2 special tokens, a step of 5
LONGEST = 25  # of 4 windows: 2 special tokens, 8 words and 3 times 5 more


def config_of(family="bert", **changes) -> PooledEncoderConfig:
    values = {"window": WINDOW, "window_stride": STRIDE, "max_windows": MOST, "num_labels": 3, **changes}
    return PooledEncoderConfig(encoder_config=tiny_model(family).config, **values)


def model_of(family="bert", **changes) -> PooledEncoderForSequenceClassification:
    torch.manual_seed(0)
    model = PooledEncoderForSequenceClassification(config_of(family, **changes)).eval()
    torch.nn.init.normal_(model.classifier.weight)
    return model


def text_of(length: int, seed: int = 0) -> list[int]:
    """Returns `length` tokens: [CLS], words, [SEP]."""
    words = torch.randint(5, 60, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return [2, *words[2:], 3]


def batch_of(rows: list[list[int]], extra: int = 0, side: str = "right") -> dict[str, torch.Tensor]:
    """Pads rows to a common length plus `extra`; its id is a word's, so only the mask tells."""
    longest = max(map(len, rows)) + extra
    gaps = [[7] * (longest - len(row)) for row in rows]
    if side == "right":
        ids = [row + gap for row, gap in zip(rows, gaps, strict=True)]
        mask = [[1] * len(row) + [0] * len(gap) for row, gap in zip(rows, gaps, strict=True)]
    else:
        ids = [gap + row for row, gap in zip(rows, gaps, strict=True)]
        mask = [[0] * len(gap) + [1] * len(row) for row, gap in zip(rows, gaps, strict=True)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def windows_by_hand(row: list[int]) -> list[list[int]]:
    """Cuts a text with lists alone."""
    words, cut, first = row[1:-1], [], 0
    while True:
        cut.append([row[0], *words[first : first + WINDOW - 2], row[-1]])
        if first + WINDOW - 2 >= len(words) or len(cut) == MOST:
            return cut
        first += WINDOW - 2 - STRIDE


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    extra=st.integers(0, 30),
    side=st.sampled_from(["left", "right"]),
)
def test_windows_hold_the_words_of_a_text_in_their_order(lengths, extra, side):
    rows = [text_of(length, seed) for seed, length in enumerate(lengths)]
    batch = batch_of(rows, extra, side)
    positions, is_token = cut_windows(batch["attention_mask"].bool(), config_of())
    for ids, row, place, real in zip(batch["input_ids"], rows, positions, is_token, strict=True):
        windows = [ids[at[here]].tolist() for at, here in zip(place, real, strict=True)]
        assert [window for window in windows if window] == windows_by_hand(row)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    extra=st.integers(0, 12),
    side=st.sampled_from(["left", "right"]),
)
def test_neither_padding_nor_neighbours_change_a_logit(lengths, extra, side):
    model = model_of()
    rows = [text_of(length, seed) for seed, length in enumerate(lengths)]
    with torch.no_grad():
        together = model(**batch_of(rows, extra, side)).logits
        alone = torch.cat([model(**batch_of([row])).logits for row in rows])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention", "last"])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "gpt2"])
def test_a_text_of_one_window_is_read_as_without_windows(family, pooling):
    special = {"special_tokens_before": 0, "special_tokens_after": 0} if family == "gpt2" else {}
    model = model_of(family, pooling=pooling, **special)
    plain = PooledEncoderForSequenceClassification(config_of(family, pooling=pooling, window=None)).eval()
    plain.load_state_dict(model.state_dict())
    batch = batch_of([text_of(WINDOW), text_of(5, 1)])
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, plain(**batch).logits, atol=1e-6, rtol=0)
        long = batch_of([text_of(30)])
        assert (model(**long).logits - plain(**long).logits).abs().max() > 1e-3


def test_the_vector_of_a_text_is_the_mean_of_its_windows_by_tokens():
    model, row = model_of(), text_of(21)
    windows = windows_by_hand(row)
    assert [len(window) for window in windows] == [10, 10, 10, 6]
    with torch.no_grad():
        states = [
            model._vectors({"input_ids": ids}, ids > 0) for ids in map(torch.tensor, ([w] for w in windows))
        ]
        mean = sum(len(w) * state for w, state in zip(windows, states, strict=True)) / 36
        torch.testing.assert_close(model(**batch_of([row])).logits, model.classifier(mean), atol=1e-6, rtol=0)


def test_every_word_up_to_the_last_window_matters_and_none_behind():
    model, row = model_of(), text_of(LONGEST + 6)
    ids = batch_of([row])["input_ids"].repeat(len(row), 1)
    ids.fill_diagonal_(61)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        before = model(**batch_of([row])).logits
    changed = ((logits - before).abs().amax(1) > 1e-6).tolist()
    words = changed[1:-1]
    assert words == [True] * (LONGEST - 2) + [False] * (len(words) - LONGEST + 2)
    assert (changed[0], changed[-1]) == (True, True)  # [CLS] and [SEP] stand around every window


def test_memory_is_bounded_by_parts_that_change_nothing(monkeypatch):
    model, seen = model_of(), []
    model.encoder.register_forward_hook(
        lambda _, __, kwargs, ___: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    batch = batch_of([text_of(40), text_of(12), text_of(4)])
    with torch.no_grad():
        whole = model(**batch).logits
        assert seen == [(7, WINDOW)]  # 4 + 2 + 1 windows; those of padding are not read
        monkeypatch.setattr(pooled, "TOKENS_AT_ONCE", 3 * WINDOW)
        parts = model(**batch).logits
    assert [rows for rows, _ in seen[1:]] == [3, 3, 1]
    assert [length for _, length in seen[1:]] == [10, 10, 4]
    torch.testing.assert_close(whole, parts, atol=1e-6, rtol=0)


def test_gradients_reach_every_weight_under_autocast_too():
    model = model_of().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch_of([text_of(30), text_of(4)]), labels=torch.tensor([2, 0])).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_windows_that_share_all_they_hold_are_refused():
    with pytest.raises(ValueError, match="window is 10: too short for a window_stride of 8"):
        config_of(window_stride=8)
    assert config_of().longest_text == LONGEST
    assert config_of(window=None).longest_text is None
