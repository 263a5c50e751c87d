"""What accelerate's own configuration must not change."""

from pathlib import Path

import pytest

from hftune.errors import BadInput
from hftune.runtime.isolated_run import own_state
from hftune.settings.base import Settings
from hftune.training.accelerator import make_accelerator


@pytest.mark.parametrize("steps", ["1", "4"])
def test_an_accumulation_of_accelerates_configuration_does_not_divide_the_loss_again(
    steps, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
    with own_state():
        assert make_accelerator(Settings(), "no", tmp_path).gradient_accumulation_steps == 1


def test_a_wrong_variable_of_accelerates_is_one_line(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "nonsense")
    with own_state(), pytest.raises(BadInput, match="accelerate's configuration cannot be used: 'NONS"):
        make_accelerator(Settings(), "no", tmp_path)


@pytest.mark.parametrize("epochs", [0.0, 0.5])
def test_gradients_lie_in_memory_once_and_unused_weights_are_looked_for_where_layers_thaw(
    epochs, tmp_path: Path
):
    with own_state():
        accelerator = make_accelerator(Settings(gradual_unfreezing=epochs), "no", tmp_path)
        options = accelerator.ddp_handler.to_kwargs()
    unused = {"find_unused_parameters": True} if epochs else {}
    assert options == {"gradient_as_bucket_view": True, **unused}
