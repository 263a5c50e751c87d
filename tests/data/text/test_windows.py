"""Long texts in windows: counted as the model cuts them, drawn by address, and never torn between splits."""

import csv

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.data.batches import BatchPlan, by_length
from hftune.data.dataset import EpochIndex
from hftune.data.text.load import choose_truncation, load_text
from hftune.data.text.tokenize import FEATURES, TokenRows
from hftune.data.text.windows import SCORED, TrainingWindows, Windows, window_report
from hftune.errors import BadInput
from hftune.models.standalone.pooled import PooledEncoderConfig, cut_windows
from hftune.settings.text import TextSettings
from tests.tiny import WORDS, tiny_checkpoint, tiny_model, tiny_tokenizer

WINDOWS = Windows(size=10, stride=3)  # 8 words and 2 special tokens, a step of 5


def rows_of(lengths: list[int]) -> TokenRows:
    """Returns rows of so many tokens, all different but [CLS] and [SEP]."""
    ids = [[2, *range(100, 98 + length), 3] for length in lengths]
    table = datasets.Dataset.from_dict({"input_ids": ids, "tokens": lengths}, features=FEATURES)
    return TokenRows(table, np.arange(len(lengths)) % 2)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(8, 20), stride=st.integers(0, 3), lengths=st.lists(st.integers(2, 90), min_size=1))
def test_windows_are_counted_as_the_model_cuts_them(size, stride, lengths):
    windows = Windows(size, stride)
    encoder = tiny_model("bert").config
    config = PooledEncoderConfig(encoder_config=encoder, **windows.config())
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    _, is_token = cut_windows(mask, config)
    assert windows.count(np.array(lengths)).tolist() == is_token.any(2).sum(1).tolist()
    assert windows.read(np.array(lengths)).tolist() == is_token.sum((1, 2)).tolist()
    assert config.longest_text == windows.longest(SCORED)


def test_a_long_row_is_read_in_windows_of_its_own_and_a_short_one_whole():
    rows = rows_of([4, 10, 15, 41])
    some = TrainingWindows(rows, WINDOWS, most=2, seed=1)
    for row in range(3):
        assert some[EpochIndex.of(row, 0)]["input_ids"].tolist() == rows[row]["input_ids"].tolist()
    whole, starts = rows[3]["input_ids"].tolist(), set()
    for epoch in range(60):
        seen = some[EpochIndex.of(3, epoch)]
        assert seen["label"] == rows[3]["label"]
        ids = seen["input_ids"].tolist()
        first = whole.index(ids[1]) - 1
        assert ids == [2, *whole[1:-1][first : first + 13], 3]
        starts.add(first)
    # 8 windows: pairs of them begin at 7 places; the last one is shorter.
    assert starts == {0, 5, 10, 15, 20, 25, 30}


def test_which_windows_depends_on_seed_epoch_and_row_alone():
    def drawn(seed, epoch):
        some = TrainingWindows(rows_of([200] * 6), WINDOWS, 2, seed)
        return [int(some[EpochIndex.of(row, epoch)]["input_ids"][1]) for row in range(6)]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert drawn(1, 0) != drawn(2, 0)
    assert len(set(drawn(1, 0))) > 1
    torch.manual_seed(0)  # a plain number, as transformers' Trainer asks, draws anew each time
    some = TrainingWindows(rows_of([200]), WINDOWS, 2, 1)
    assert len({int(some[0]["input_ids"][1]) for _ in range(20)}) > 1


def test_batches_are_planned_by_what_all_windows_of_a_row_take():
    rows = rows_of([4, 10, 15, 41, 200, 90])
    some = TrainingWindows(rows, WINDOWS, most=3, seed=1)
    assert some.lengths.tolist() == [4, 10, 20, 30, 30, 30]
    assert some.weights.tolist() == [1] * 6
    plan = BatchPlan(some.lengths, 8, 60, 1, 1, group_by_length=True, seed=0)
    assert all(some.lengths[batch].max() * len(batch) <= 60 for batch in plan.batches(0))
    assert by_length(some.lengths, 2)[0].tolist() == [3, 4]


def test_the_report_counts_windows_and_the_share_that_is_read():
    report = window_report(rows_of([10, 15, 41]), WINDOWS, most=2)
    assert report == {"windows_median": 2.0, "windows_max": 8, "tokens_read_share": 40 / 66}
    assert window_report(rows_of([10, 15, 41]), WINDOWS, SCORED)["tokens_read_share"] == 1.0


def test_windows_must_hold_more_than_they_share():
    given_settings = TextSettings(model_name_or_path="x", truncation="window", max_length=10, window_stride=8)
    with pytest.raises(BadInput, match=r"--window_stride 8: a window of --max_length 10 holds 8 tokens"):
        Windows.of(given_settings, tiny_tokenizer("bert"))
    assert Windows.of(given_settings.replace(window_stride=7), tiny_tokenizer("bert")) == Windows(10, 7)
    assert Windows.of(TextSettings(model_name_or_path="x"), tiny_tokenizer("bert")) is None
    gpt2 = Windows.of(given_settings, tiny_tokenizer("gpt2"))  # it has no special tokens
    assert (gpt2.before, gpt2.after, gpt2.room) == (0, 0, 10)


def test_a_document_is_a_row_and_stands_in_one_split(tmp_path):
    """Each text is one word many times, so that its tokens tell where a window came from."""
    path, words = tmp_path / "long.csv", list(dict.fromkeys(WORDS))[:40]
    with path.open("w") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([" ".join([word] * 100), number % 2] for number, word in enumerate(words))
    encoder = tiny_checkpoint("bert", tmp_path / "encoder")
    data = load_text(
        TextSettings(
            train_file=str(path),
            model_name_or_path=str(encoder),
            truncation="window",
            max_length=10,
            window_stride=3,
            max_windows=2,
        )
    )
    assert (len(data.train), len(data.validation)) == (36, 4)
    seen = [
        {int(token) for row in range(len(rows)) for token in rows[row]["input_ids"][1:-1]}
        for rows in (data.train, data.validation)
    ]
    assert [len(tokens) for tokens in seen] == [36, 4]
    assert not seen[0] & seen[1]
    assert data.validation.lengths.tolist() == [102] * 4  # scoring reads all of it
    assert data.train.lengths.tolist() == [20] * 36
    assert data.processor.model_max_length == 10 + 63 * 5
    assert data.facts["train_windows_max"] == 20
    assert data.facts["validation_tokens_read_share"] == 1.0
    assert data.facts["train_tokens_read_share"] == pytest.approx(15 / 102)


def test_augmented_texts_are_read_in_windows_too(reviews, encoder):
    plain = TextSettings(
        train_file=str(reviews / "train.csv"),
        model_name_or_path=str(encoder),
        truncation="window",
        max_length=12,
        window_stride=3,
        max_windows=2,
    )
    data = load_text(plain, augment=lambda text, random: f"{text} {text}")
    assert max(len(data.train[EpochIndex.of(row, 0)]["input_ids"]) for row in range(9)) == 12 + 7


def test_pairs_have_no_windows():
    given_settings = TextSettings(model_name_or_path="x", truncation="window")
    with pytest.raises(BadInput, match="--truncation window: for pairs of texts pass one of longest_first"):
        choose_truncation(given_settings, pairs=True)
