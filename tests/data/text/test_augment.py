"""Texts that are changed in training: new views each epoch by address, the same however they are loaded."""

import numpy as np
import pytest
import torch

from hftune.data.dataset import EpochIndex
from hftune.data.loader import batch_loader
from hftune.data.text.load import load_text
from hftune.errors import BadInput
from hftune.recipes import imdb_textcnn
from hftune.settings.text import TextSettings
from tests.runs import digest, run_recipe, small_textcnn, start_from


def drop_words(text: str, random: np.random.Generator) -> str:
    """Leaves out about a third of the words."""
    kept = [word for word in text.split() if random.random() < 0.67]
    return " ".join(kept)


def load(reviews, augment, **changes):
    files = {f"{name}_file": str(reviews / f"{name}.csv") for name in ("train", "validation", "test")}
    return load_text(TextSettings(model_type="bag", min_frequency=1, **files, **changes), augment=augment)


def test_views_are_new_in_every_epoch_and_the_same_for_one(reviews):
    rows = load(reviews, drop_words).train
    views = {
        epoch: [rows[EpochIndex.of(row, epoch)]["input_ids"].tolist() for row in range(20)]
        for epoch in (0, 1)
    }
    again = [
        load(reviews, drop_words).train[EpochIndex.of(row, 1)]["input_ids"].tolist() for row in range(20)
    ]
    assert views[1] == again
    assert sum(a != b for a, b in zip(views[0], views[1], strict=True)) > 15
    other = load(reviews, drop_words, seed=7).train
    assert [other[EpochIndex.of(row, 1)]["input_ids"].tolist() for row in range(20)] != again


def test_workers_change_nothing_and_scored_rows_stay(reviews):
    data, plain = load(reviews, drop_words), load(reviews, None)
    batches = [[EpochIndex.of(row, 3) for row in range(first, first + 8)] for first in (0, 8)]
    found = [
        [
            batch["input_ids"]
            for batch in batch_loader(
                data.train, batches, data.collate, workers=workers, device=torch.device("cpu")
            )
        ]
        for workers in (0, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    for name in ("validation", "test"):
        of = (getattr(each, name)[3]["input_ids"].tolist() for each in (data, plain))
        assert next(of) == next(of)
    assert np.array_equal(data.train.lengths, plain.train.lengths)  # batches are planned by the originals
    assert data.train[3]["label"] == plain.train[3]["label"]


def test_a_view_is_cut_like_any_text_and_an_empty_one_is_one_unknown_token(reviews):
    long = load(reviews, lambda text, random: " ".join([text] * 50), max_length=20).train
    assert len(long[EpochIndex.of(0, 0)]["input_ids"]) == 20
    assert len(load(reviews, lambda text, random: "").train[EpochIndex.of(0, 0)]["input_ids"]) >= 1


def test_no_text_is_one_line(reviews):
    with pytest.raises(BadInput, match="augment: returns a NoneType for train row 2, not a text"):
        load(reviews, lambda text, random: None).train[EpochIndex.of(2, 0)]


def augmented(settings):
    return load_text(settings, augment=drop_words)


def test_stopped_and_resumed_is_straight_through(reviews, tmp_path, quick_disk):
    recipe = imdb_textcnn.recipe.replace(load_data=augmented)
    flags = small_textcnn(reviews, max_steps=30, save_steps=10)  # into the third epoch
    run_recipe(recipe, flags, tmp_path / "straight")
    start_from(tmp_path / "straight", tmp_path / "resumed", 10)
    run_recipe(recipe, flags, tmp_path / "resumed")
    assert digest(tmp_path / "straight") == digest(tmp_path / "resumed")
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "plain")
    assert digest(tmp_path / "straight") != digest(tmp_path / "plain")
