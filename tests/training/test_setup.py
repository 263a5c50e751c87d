"""What the settings ask of data and model is looked at before the first step."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hftune.errors import BadInput
from hftune.recipes import imdb_bag
from hftune.settings.base import Settings
from hftune.tasks import find_task
from hftune.tasks.single_label import SingleLabel
from hftune.training.setup import (
    best_metric,
    check_choice,
    prepare_model,
    recompute_activations,
    refuse_unknown_metric,
)


def data(labels: list[int], names=("cold", "hot")) -> SimpleNamespace:
    return SimpleNamespace(task=SingleLabel(names), validation=SimpleNamespace(targets=np.array(labels)))


def test_a_score_that_validation_cannot_have_is_refused_with_the_class():
    settings = Settings(metric_for_best_model="eval_roc_auc")
    with pytest.raises(
        BadInput, match="--metric_for_best_model roc_auc: no validation row has the label hot"
    ):
        check_choice(settings, data([0, 0]))
    many = tuple(f"kind {number}" for number in range(9))
    with pytest.raises(BadInput, match=r"the label kind 2, .*, kind 6, \.\.\. \(7\), so it is not defined"):
        check_choice(settings, data([0, 1], many))
    check_choice(settings, data([0, 1]))
    check_choice(settings.replace(eval_strategy="no"), data([0, 0]))  # then nothing is chosen


@pytest.mark.parametrize(
    ("metric", "labels", "names", "warned"),
    [
        ("f1", [0, 0], ("cold", "hot"), True),
        ("f1", [1, 1], ("cold", "hot"), False),
        ("f1", [0, 1], ("cold", "hot", "warm"), False),
        ("mcc", [1, 1], ("cold", "hot"), True),
        ("accuracy", [0, 0], ("cold", "hot"), False),
    ],
)
def test_a_score_that_is_always_zero_is_warned_of(metric, labels, names, warned, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("hftune"), "propagate", True)
    check_choice(Settings(metric_for_best_model=metric), data(labels, names))
    assert ("the loss alone chooses" in caplog.text) is warned


def test_the_task_chooses_by_its_first_metric_and_never_by_another_than_the_one_that_was_asked_for():
    for task in ("single_label", "multi_label"):
        settings = imdb_bag.recipe.settings.replace(task=task)
        refuse_unknown_metric(imdb_bag.recipe, settings)
        assert best_metric(find_task(task)(), settings) == next(iter(find_task(task)().metrics))
    asked = imdb_bag.recipe.settings.replace(task="multi_label", metric_for_best_model="accuracy")
    with pytest.raises(
        BadInput, match=r"^--metric_for_best_model: unknown metric 'accuracy': .* Known are map"
    ):
        refuse_unknown_metric(imdb_bag.recipe, asked)


def test_weights_train_in_float32_whatever_build_model_returned(models, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("hftune"), "propagate", True)
    caplog.set_level(logging.INFO)
    model = models["bert"].to(torch.bfloat16)
    accelerator = SimpleNamespace(mixed_precision="no", device=torch.device("cpu"))
    prepare_model(model, Settings(freeze="embeddings"), accelerator, data([0, 1]))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert "build_model returned bfloat16; they are made float32" in caplog.text
    assert not model.bert.embeddings.word_embeddings.weight.requires_grad
    caplog.clear()
    prepare_model(model, Settings(), accelerator, data([0, 1]))
    assert not caplog.text


def test_a_model_that_cannot_compute_its_activations_again_is_named(models):
    recompute_activations(models["bert"])
    assert models["bert"].is_gradient_checkpointing
    with pytest.raises(BadInput, match="--gradient_checkpointing: TextCNNForSequenceClassification cannot"):
        recompute_activations(models["textcnn"])
