"""A run that is no better than a simple model gets one line of advice, read from its log."""

import pytest

from hftune.report.advice import no_better, what_to_try
from hftune.settings.text import TextSettings
from hftune.tasks.regression import Regression
from hftune.tasks.single_label import SingleLabel


def over(name: str, low: float, metric: str = "accuracy") -> dict[str, float]:
    """Returns a difference from a baseline whose interval begins at `low`."""
    key = f"test_{metric}_over_{name}"
    return {key: low + 0.1, f"{key}_low": low, f"{key}_high": low + 0.2}


BELOW = over("tfidf", -0.1) | over("majority", 0.2)
SETTINGS = TextSettings(model_type="bag", dataset_name="sample", learning_rate=0.001, num_train_epochs=2)


def log(losses: list[float], validation: list[float]) -> list[dict[str, float]]:
    lines = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    return lines + [{"step": 10 * step, "eval_loss": loss} for step, loss in enumerate(validation, 1)]


@pytest.mark.parametrize(
    ("losses", "validation", "advice"),
    [
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], [0.8, 0.6], "was still falling: more --num_train_epochs (now 2)"),
        ([0.9], [], "was still falling"),  # too short to tell
        ([0.7] * 8, [0.7, 0.7], "no longer falls, at 0.7: a --learning_rate (now 0.001) ten times"),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], [0.5, 0.4, 0.9], "the validation loss rose after step 20"),
    ],
)
def test_the_advice_follows_the_losses(losses, validation, advice):
    line = what_to_try(BELOW, log(losses, validation), SETTINGS, SingleLabel())
    assert line.startswith("try next: ")
    assert advice in line


def test_steps_are_advised_where_steps_were_asked_for():
    line = what_to_try(BELOW, log([3, 2, 1, 0.5], []), SETTINGS.replace(max_steps=40), SingleLabel())
    assert "--max_steps (now 40)" in line
    assert "--num_train_epochs" not in line


@pytest.mark.parametrize(
    ("results", "below"),
    [
        ({}, False),
        (over("tfidf", 0.01) | over("majority", 0.2), False),
        (over("majority", 0.0), True),
        ({"eval_accuracy": 0.5, "eval_majority_accuracy": 0.5}, True),
        ({"eval_accuracy": 0.6, "eval_majority_accuracy": 0.5}, False),
    ],
)
def test_only_a_model_that_is_no_better_gets_advice(results, below):
    assert no_better(results, SingleLabel()) == below
    assert bool(what_to_try(results, log([1, 1], []), SETTINGS, SingleLabel())) == below


@pytest.mark.parametrize(
    ("results", "below"),
    [
        (over("tfidf", -0.3, "rmse") | over("mean", -0.9, "rmse"), False),
        (over("tfidf", -0.1, "rmse") | over("mean", -0.9, "rmse"), True),  # up to 0.1 worse
        ({"eval_rmse": 1.0, "eval_mean_rmse": 1.5}, False),
        ({"eval_rmse": 1.5, "eval_mean_rmse": 1.5}, True),
    ],
)
def test_less_of_an_error_is_better(results, below):
    assert no_better(results, Regression(("score",))) == below
