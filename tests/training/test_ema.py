"""The running mean of weights: equation, once for each step, exact after a resume."""

import copy
import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from hftune.training.ema import WeightAverage


def small_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


def train_step(model: nn.Module, step: int) -> None:
    """Moves all weights and BatchNorm's statistics."""
    random = torch.Generator().manual_seed(step)
    model.train()(torch.randn(5, 3, 8, 8, generator=random))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.1)


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_mean_follows_its_equation(decay):
    model = small_model()
    average = WeightAverage(model, decay)
    average.after_step(0, model)
    expected = {name: value.double() for name, value in copy.deepcopy(model.state_dict()).items()}
    for step in range(1, 7):
        train_step(model, step)
        average.after_step(step, model)
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] = kept * expected[name] + (1 - kept) * value.double()
    for name, value in average.state_dict().items():
        if value.is_floating_point():  # running_mean and running_var among them
            torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-5)
    assert average.module[1].num_batches_tracked == 6


def test_the_first_call_and_a_second_one_change_nothing():
    model = small_model()
    average = WeightAverage(model, 0.5)
    begin = bits(model.state_dict())
    average.after_step(0, model)
    train_step(model, 1)
    average.after_step(0, model)  # no new step
    assert bits(average.state_dict()) == begin
    average.after_step(1, model)
    after_one = bits(average.state_dict())
    assert after_one != begin
    train_step(model, 2)
    average.after_step(1, model)
    assert bits(average.state_dict()) == after_one


def test_it_begins_with_the_weights_of_the_first_call():
    model = small_model()
    average = WeightAverage(model, 0.9)
    train_step(model, 1)  # as when a checkpoint is read after the average was made
    average.after_step(40, model)
    assert bits(average.state_dict()) == bits(model.state_dict())


def test_a_resume_goes_on_to_the_bit():
    def run(resume_at: int | None) -> dict[str, bytes]:
        model = small_model()
        average = WeightAverage(model, 0.99)
        average.after_step(0, model)
        for step in range(1, 9):
            train_step(model, step)
            average.after_step(step, model)
            if step == resume_at:
                saved = {name: tensor.clone() for name, tensor in average.state_dict().items()}
                average = WeightAverage(small_model(seed=7), 0.99)
                average.load_state_dict(saved, step)
                average.after_step(step, model)
        return bits(average.state_dict())

    assert run(None) == run(None) == run(5)


def test_the_average_is_a_copy_for_scoring():
    model = small_model()
    average = WeightAverage(model, 0.9)
    assert not any(module.training for module in average.module.modules())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in average.module.parameters()}
    assert not shared


def test_under_autocast_the_copy_answers_with_its_own_weights():
    """The library writes a forward onto the model, which a copy must not run on the original."""
    AcceleratorState._reset_state(reset_partial_state=True)  # an earlier test's precision
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    try:
        model = accelerator.prepare(nn.Linear(6, 2))
        average = WeightAverage(accelerator.unwrap_model(model), 0.9)
        inputs = torch.ones(1, 6)
        before = average.module(inputs).clone()
        with torch.no_grad():
            model.weight.fill_(3.0)
        assert torch.equal(average.module(inputs), before)
        assert not torch.allclose(model(inputs), before)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_tensors_of_another_model_are_refused():
    average = WeightAverage(small_model(), 0.9)
    with pytest.raises(RuntimeError, match="Missing key"):
        average.load_state_dict({"0.weight": torch.zeros(4, 3, 3, 3)}, 3)


def test_it_needs_no_timm(monkeypatch):
    """Texts are trained without the image extra."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"] or ["timm"]:
        monkeypatch.setitem(sys.modules, name, None)
    average = WeightAverage(small_model(), 0.9)
    average.after_step(0, small_model())
    assert average.state_dict()


def test_the_memory_format_of_images_stays():
    model = small_model().to(memory_format=torch.channels_last)
    average = WeightAverage(model, 0.9)
    average.after_step(0, model)
    average.after_step(1, model)
    assert average.module[0].weight.stride() == model[0].weight.stride()
