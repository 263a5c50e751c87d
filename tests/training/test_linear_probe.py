"""Tests of the last layer that starts as a linear model of the pretrained features."""

import logging

import numpy as np
import pytest
import torch
from accelerate import PartialState

import hftune
from hftune.errors import BadInput
from hftune.recipes import imdb
from hftune.tasks.linear import logistic
from hftune.tasks.tokens import Tokens
from hftune.training import linear_probe
from hftune.training.cached_features import extract_features, linear_head
from hftune.training.linear_probe import probe


@pytest.fixture
def settings(reviews, encoder):
    PartialState()
    files = {f"{split}_file": str(reviews / f"{split}.csv") for split in ("train", "validation", "test")}
    return imdb.Settings().replace(**files, model_name_or_path=str(encoder), max_length=16)


@pytest.fixture
def parts(settings):
    """Data and a new model."""
    data = hftune.load_text(settings)
    return data, hftune.build_text_classifier(settings, data)


def test_the_model_answers_as_the_regression_on_its_features_and_nothing_else_has_changed(parts):
    data, model = parts
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe(model, data, seed=0)
    head = {"classifier.weight", "classifier.bias"}
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == head
    features = extract_features(model, data.train, data.collate)
    fitted = logistic().fit(features.numpy(), data.train.targets)
    with torch.inference_mode():
        found = linear_head(model)(features).softmax(1)
    np.testing.assert_allclose(found, fitted.predict_proba(features.numpy()), atol=1e-5)


def test_of_many_tokens_some_rows_are_drawn(parts, monkeypatch):
    data, _ = parts
    assert linear_probe.some_rows(data.train, 0) is data.train
    half = int(data.train.lengths.sum()) // 2
    monkeypatch.setattr(linear_probe, "TOKENS", half)
    some = linear_probe.some_rows(data.train, 0)
    assert half - data.train.lengths.max() < some.lengths.sum() <= half
    np.testing.assert_array_equal(some.ids, linear_probe.some_rows(data.train, 0).ids)
    assert set(some.ids) != set(linear_probe.some_rows(data.train, 1).ids)


def test_a_classifier_that_knows_the_labels_stays(parts, settings, tmp_path, caplog):
    data, model = parts
    model.save_pretrained(tmp_path)
    data.processor.save_pretrained(tmp_path)
    kept = hftune.build_text_classifier(settings.replace(model_name_or_path=str(tmp_path)), data)
    assert left_alone(kept, data, caplog) == "the classifier is not new"


def left_alone(model, data, caplog) -> str:
    """Returns why the last layer was left as it was, as the log says it."""
    before = linear_head(model).weight.clone()
    caplog.set_level(logging.INFO)
    probe(model, data, seed=0)
    assert torch.equal(linear_head(model).weight, before)
    return caplog.messages[-1].removeprefix("linear probing: not here: ")


def test_a_task_without_a_linear_layer_goes_without(parts, caplog, monkeypatch):
    data, model = parts
    assert not Tokens().has_linear_layer
    monkeypatch.setattr(type(data.task), "has_linear_layer", False)
    assert left_alone(model, data, caplog) == "a row of this task has more than one answer"


def test_drawn_rows_of_one_class_say_nothing(parts, caplog, monkeypatch):
    data, model = parts
    monkeypatch.setattr(linear_probe, "TOKENS", 1)  # one row is drawn
    assert left_alone(model, data, caplog).startswith("of those that are read, rows of one")


def test_random_weights_have_no_features():
    with pytest.raises(BadInput, match="features of random weights say nothing"):
        imdb.Settings().replace(model_type="textcnn", linear_probing=True)
    assert not imdb.Settings(linear_probing=True).replace(model_type="textcnn").linear_probing
