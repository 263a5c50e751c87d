"""The settings of texts: what contradicts windows is refused in one line that names the flag."""

import pytest

from hftune.errors import BadInput
from hftune.settings.text import TextSettings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model_type": "textcnn", "truncation": "window"},
            "--truncation window and --model_type contradict",
        ),
        ({"window_stride": 32}, "--window_stride needs --truncation window"),
        ({"max_windows": 4}, "--max_windows needs --truncation window"),
        ({"truncation": "window", "max_length": 64}, "--window_stride 64: must be below the window"),
        ({"truncation": "window", "window_stride": -1}, "--window_stride -1: must be at least 0"),
        ({"truncation": "window", "max_windows": 0}, "--max_windows 0: must be at least 1"),
        (
            {"truncation": "window", "max_length": 128, "tokens_per_batch": 1000},
            "--tokens_per_batch 1000: one text may have --max_windows 8 of --max_length 128 tokens",
        ),
    ],
)
def test_what_contradicts_windows_is_refused(changes, said):
    with pytest.raises(BadInput, match=said):
        TextSettings(**changes)


def test_another_truncation_takes_the_windows_of_a_recipe_away():
    recipe = TextSettings(truncation="window", window_stride=16, max_windows=4)
    assert recipe.replace(truncation="head").max_windows == 8
    assert recipe.own_pooling == "mean"
    assert recipe.replace(pooling="cls").own_pooling == "cls"
    assert recipe.replace(truncation="head").own_pooling is None
