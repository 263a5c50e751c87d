"""Recipes are values: changed copies, and no change unheard."""

import dataclasses

import pytest

from hftune.errors import BadInput
from hftune.recipe import Recipe
from hftune.settings.text import TextSettings


def load_data(settings):
    raise NotImplementedError


def build_model(settings, data):
    raise NotImplementedError


@pytest.fixture
def recipe() -> Recipe:
    settings = TextSettings(dataset_name="acme/films", model_name_or_path="acme/encoder", learning_rate=1e-4)
    return Recipe("films", "About films.", settings, load_data, build_model)


def test_settings_and_parts_are_replaced_in_one_call(recipe):
    other = recipe.replace(name="reviews", metrics=("mcc",), dataset_name="acme/reviews", max_length=256)
    assert (other.name, other.metrics) == ("reviews", ("mcc",))
    assert (other.settings.dataset_name, other.settings.max_length) == ("acme/reviews", 256)
    assert other.settings.learning_rate == 1e-4
    assert (other.load_data, other.build_model) == (load_data, build_model)
    assert (recipe.name, recipe.settings.dataset_name, recipe.settings.max_length) == (
        "films",
        "acme/films",
        512,
    )


def test_a_setting_clears_its_rival(recipe):
    assert recipe.replace(model_type="bag").settings.model_name_or_path is None
    assert recipe.replace(train_file="x.csv").settings.dataset_name is None


def test_new_settings_take_the_other_changes(recipe):
    other = recipe.replace(settings=TextSettings(seed=7), max_length=9)
    assert (other.settings.seed, other.settings.max_length, other.settings.dataset_name) == (7, 9, None)


def test_nothing_replaced_is_the_same_value(recipe):
    assert recipe.replace() == recipe
    assert recipe.replace() is not recipe


def test_a_recipe_cannot_be_changed_in_place(recipe):
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_lenght": 9}, "did you mean max_length"),
        ({"max_length": 0}, "--max_length"),
        ({"seed": "x"}, "--seed"),
    ],
)
def test_what_cannot_be_is_bad_input(recipe, changes, message):
    with pytest.raises(BadInput, match=message):
        recipe.replace(**changes)
