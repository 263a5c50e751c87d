"""Tests of what a run chooses where its settings leave it open."""

from types import SimpleNamespace

import pytest

from hftune.settings.text import TextSettings
from hftune.training import rules
from hftune.training.optim import parameter_groups
from tests.tiny import tiny_model

OPEN = TextSettings(learning_rate=None, num_train_epochs=None)


def plan_of(steps: int) -> SimpleNamespace:
    """A plan whose epochs have so many steps."""
    return SimpleNamespace(epoch=lambda number: [None] * steps)


@pytest.mark.parametrize(("steps", "expected"), [(1, 20), (99, 20), (100, 20), (250, 8), (667, 3), (9000, 3)])
def test_few_rows_are_seen_more_often(steps, expected):
    assert rules.epochs(OPEN, plan_of(steps)) == expected
    assert rules.epochs(OPEN.replace(num_train_epochs=1.5), plan_of(steps)) == 1.5


@pytest.mark.parametrize(("width", "expected"), [(32, 3e-4), (384, 1e-4), (768, 5e-5), (1024, 3.75e-5)])
def test_wide_models_learn_at_lower_rates(width, expected):
    model = tiny_model("bert", num_labels=2)
    model.config.hidden_size = width
    assert rules.learning_rate(OPEN, model) == pytest.approx(expected)
    assert rules.learning_rate(OPEN.replace(learning_rate=1e-3), model) == 1e-3


@pytest.mark.parametrize(("width", "expected"), [(384, 5e-4), (768, 5e-4), (1024, 3.75e-4), (4096, 1e-4)])
def test_adapters_learn_at_higher_rates(width, expected, caplog):
    caplog.set_level("INFO")
    adapted = OPEN.replace(lora_r=8)
    model = tiny_model("bert", num_labels=2)
    model.config.hidden_size = width
    assert rules.learning_rate(adapted, model) == pytest.approx(expected)
    rules.tell(adapted.replace(num_train_epochs=1), model, plan_of(250))
    for rate in (2e-4, 5e-5):
        rules.tell(adapted.replace(num_train_epochs=1, learning_rate=rate), model, plan_of(250))
    assert caplog.messages == [
        f"learning rate: {expected:g}, by the model's width, 10 times for LoRA, 0.0001 to 0.0005; "
        "--learning_rate chooses",
        "learning rate: 5e-05, where LoRA usually needs 0.0001 to 0.0005; --learning_rate none chooses one",
    ]


def test_the_rule_is_the_rate_of_the_groups():
    model = tiny_model("distilbert", num_labels=2)  # whose width has a name of its own
    groups = parameter_groups(model, OPEN.replace(head_lr_multiplier=10.0))
    rate = rules.learning_rate(OPEN, model)
    assert {group["name"]: group["lr"] for group in groups} == {"backbone": rate, "head": 10 * rate}
    assert model.config.dim == model.config.hidden_size == 16
    model.config.dim = 768
    assert rules.learning_rate(OPEN, model) == 5e-5


def test_what_was_chosen_is_said_and_nothing_where_nothing_was(caplog):
    caplog.set_level("INFO")
    model = tiny_model("bert", num_labels=2)
    rules.tell(OPEN, model, plan_of(250))
    assert caplog.messages == [
        "epochs: 8 of 250 steps, for 2,000 steps or more, but 3 to 20 epochs; --num_train_epochs chooses",
        "learning rate: 0.0003, by the model's width; --learning_rate chooses",
    ]
    caplog.clear()
    rules.tell(TextSettings(), model, plan_of(250))
    rules.tell(OPEN.replace(max_steps=5, learning_rate=1e-3), model, plan_of(250))
    assert caplog.messages == []
