"""Tests of the baseline on the features of the model as it was before the training."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

import hftune
from hftune.models.standalone.pooled import PooledEncoderForSequenceClassification
from hftune.recipes import imdb, shapes
from hftune.tasks.multi_label import MultiLabel
from hftune.tasks.tokens import Tokens
from hftune.training.cached_features import as_scored
from hftune.training.frozen_features import FrozenFeatures, frozen_features, rows_to_read
from tests.data.image.test_splits import write_class_folders


@pytest.fixture
def settings(reviews, encoder):
    files = {f"{split}_file": str(reviews / f"{split}.csv") for split in ("train", "validation", "test")}
    return imdb.Settings().replace(**files, model_name_or_path=str(encoder), max_length=16)


def test_features_are_the_mean_state_of_the_checkpoint_that_nothing_has_trained(settings, encoder, caplog):
    caplog.set_level(logging.INFO)
    data = hftune.load_text(settings)
    caplog.clear()
    found = frozen_features(imdb.recipe, settings, data)
    assert (len(found.train), len(found.test)) == (len(data.train), len(data.test))
    assert found.validation is None  # nothing is chosen on it for one label
    whole = PooledEncoderForSequenceClassification.from_encoder(str(encoder), num_labels=2)
    for row in (0, len(data.test) - 1):
        batch = data.collate([data.test[row]])
        with torch.inference_mode():
            states = whole.encoder(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
        np.testing.assert_allclose(found.test[row], states[0].mean(0).numpy(), atol=1e-5)
    rows = len(data.train) + len(data.test)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("hftune")]
    assert said == [f"baseline: the model as it was before the training reads {rows} rows"]


def test_validation_rows_come_before_the_test_rows_where_a_task_chooses_by_them():
    train, validation, test = (np.full((n, 2), value, np.float32) for n, value in ((5, 1), (3, 2), (4, 3)))
    train, both = FrozenFeatures(train, test, validation).with_validation().features()
    assert len(train) == 5
    assert both[:, 0].tolist() == [2, 2, 2, 3, 3, 3, 3]


def test_random_weights_have_nothing_to_say(settings):
    small = settings.replace(model_type="textcnn")
    assert frozen_features(imdb.recipe, small, hftune.load_text(small)) is None


def test_a_model_of_ones_own_without_a_linear_head_goes_without(settings, caplog):
    caplog.set_level(logging.INFO)
    data = hftune.load_text(settings)

    class Deep(torch.nn.Sequential):
        """A head of two layers."""

    def build_model(settings, data):
        model = hftune.build_text_classifier(settings, data)
        size = model.classifier.in_features
        model.classifier = Deep(torch.nn.Linear(size, size), torch.nn.Linear(size, 2))
        return model

    assert frozen_features(imdb.recipe.replace(build_model=build_model), settings, data) is None
    assert "no baseline on frozen features: " in caplog.text
    assert "its head is not one linear layer" in caplog.text


def test_rows_of_ones_own_that_do_not_suit_the_forward_cost_no_result(settings, caplog):
    data = hftune.load_text(settings)

    def collate(rows):
        return {"anchor": data.collate(rows)["input_ids"]}

    assert frozen_features(imdb.recipe, settings, dataclasses.replace(data, collate=collate)) is None
    assert "no baseline on frozen features: TypeError: " in caplog.text


def test_a_model_that_learns_on_features_alone_is_not_compared_with_itself(settings):
    pooled = settings.replace(pooling="mean")
    data = hftune.load_text(pooled)
    cached = hftune.cache_features(data, hftune.build_text_classifier(pooled, data))
    assert frozen_features(imdb.recipe, pooled, cached) is None


def test_images_are_read_as_they_are_scored(tmp_path):
    for split in ("train", "test"):
        write_class_folders(tmp_path / "pets" / split, 4, split)
    settings = shapes.recipe.settings.replace(dataset_name=str(tmp_path / "pets"), image_size=16)
    data = hftune.load_images(settings)
    rows = as_scored(data.train, data)
    assert len(rows) == len(data.train)
    assert rows.view is data.validation.view
    assert data.train.view is not data.validation.view


def test_tagged_words_have_no_features_of_a_whole_row():
    assert "frozen" not in Tokens.baseline_titles


def test_validation_rows_are_read_where_something_is_chosen_on_them(settings):
    data = hftune.load_text(settings)
    assert list(rows_to_read(settings, data)) == ["train", "test"]
    several = dataclasses.replace(data, task=MultiLabel(("a", "b")))
    assert list(rows_to_read(settings, several)) == ["train", "validation", "test"]
