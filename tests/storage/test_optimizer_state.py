"""An optimizer that was put away and taken out again goes on with the same bits."""

import json

import pytest
import timm.optim
import torch

from hftune.errors import BadInput
from hftune.storage.checkpoint import load_checkpoint, save_checkpoint, tensor_digest
from hftune.storage.optimizer_state import optimizer_tensors, restore_optimizer


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(11, 8)
        self.dense = torch.nn.Linear(8, 6)
        self.norm = torch.nn.LayerNorm(6)
        self.conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.unused = torch.nn.Parameter(torch.ones(3))  # never gets a gradient, so never a state


def groups(net: Net) -> list[dict]:
    named = list(net.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]


def names(net: Net) -> list[str]:
    named = list(net.named_parameters())
    return [n for n, p in named if p.ndim > 1] + [n for n, p in named if p.ndim <= 1]


@torch.compiler.set_stance("force_eager")  # kron would compile for a minute
def train(net, optimizer, steps):
    for step in steps:
        torch.manual_seed(step)  # kron draws from it, as dropout does
        for index, (name, parameter) in enumerate(net.named_parameters()):
            if name != "unused":
                generator = torch.Generator().manual_seed(1000 * step + index)
                gradient = torch.randn(parameter.shape, generator=generator)
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 / (step + 1)
        optimizer.step()


class WideMomentum(torch.optim.Optimizer):
    """Keeps float32 momentum for bfloat16 parameters, which torch's own loading would round."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1, "pair": (1, None), "dtype": torch.float32})

    def step(self):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                momentum = state.setdefault("momentum", torch.zeros(p.shape, dtype=group["dtype"]))
                momentum.mul_(0.9).add_(p.grad)
                state["last two"] = [*state.get("last two", [None])[-1:], p.grad.clone()]
                p.data -= (group["lr"] * momentum).to(p.dtype)


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p),
    "adamw fused": lambda p: torch.optim.AdamW(p, fused=True),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, amsgrad=True, foreach=True),
    "sgd": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True),
    "sgd plain": lambda p: torch.optim.SGD(p),
    "adagrad": lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.5),
    "nadam": lambda p: torch.optim.NAdam(p),
    "adafactor": lambda p: torch.optim.Adafactor(p),
    "wide": WideMomentum,
}
TIMM = ["lamb", "adopt", "nadamw", "lion", "kron", "adafactor", "adafactorbv", "muon", "lookahead_adamw"]
for _name in TIMM:
    OPTIMIZERS[_name] = lambda p, name=_name: timm.optim.create_optimizer_v2(p, opt=name, lr=1e-3)


@pytest.mark.filterwarnings("ignore:.*opt_einsum")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_goes_on_bit_for_bit(tmp_path, kind, dtype):
    through = Net().to(dtype)
    optimizer = OPTIMIZERS[kind](groups(through))
    train(through, optimizer, range(5))
    tensors, state = optimizer_tensors(optimizer, names(through))
    path = save_checkpoint(
        tmp_path, 5, {"model": through.state_dict(), "optimizer": tensors}, {"optim": state}
    )
    train(through, optimizer, range(5, 10))

    saved = load_checkpoint(path)
    before = tensor_digest(saved.tensors["optimizer"])
    resumed = Net().to(dtype)
    resumed.load_state_dict(saved.tensors["model"])
    other = OPTIMIZERS[kind](groups(resumed))
    restore_optimizer(other, saved.tensors["optimizer"], saved.state["optim"])
    assert tensor_digest(optimizer_tensors(other, names(resumed))[0]) == before
    train(resumed, other, range(5, 10))

    assert tensor_digest(resumed.state_dict()) == tensor_digest(through.state_dict())
    ends = [optimizer_tensors(o, names(through)) for o in (other, optimizer)]
    assert tensor_digest(ends[0][0]) == tensor_digest(ends[1][0])
    assert json.dumps(ends[0][1]) == json.dumps(ends[1][1])
    assert tensor_digest(saved.tensors["optimizer"]) == before


def layouts(optimizer) -> dict[str, tuple]:
    return {at: value.stride() for at, value in optimizer_tensors(optimizer, names(Net()))[0].items()}


def test_moments_come_back_in_the_memory_layout_that_they_had(tmp_path):
    """Fused kernels pair weights and moments in the order of memory, so another layout mixes them up."""
    net = Net()
    optimizer = torch.optim.AdamW(groups(net), fused=True)
    train(net, optimizer, range(2))
    optimizer.state[net.dense.weight]["exp_avg"] = torch.ones(8, 6).T  # not as its parameter
    optimizer.state[net.dense.weight]["factor"] = torch.ones(3, 5).T  # nor of its shape
    tensors, state = optimizer_tensors(optimizer, names(net))
    path = save_checkpoint(tmp_path, 2, {"optimizer": tensors}, state)
    saved = load_checkpoint(path)
    other = torch.optim.AdamW(groups(Net()), fused=True)
    restore_optimizer(other, saved.tensors["optimizer"], saved.state)
    assert layouts(other) == layouts(optimizer)
    assert layouts(other)["1.exp_avg"] == (1, 6)
    assert layouts(other)["2.exp_avg"] == net.conv.weight.stride() != (27, 9, 3, 1)


def test_a_checkpoint_that_knows_no_layouts_takes_its_parameters(tmp_path):
    net = Net()
    optimizer = torch.optim.AdamW(groups(net), fused=True)
    train(net, optimizer, range(2))
    tensors, state = optimizer_tensors(optimizer, names(net))
    del state["strides"]
    other = torch.optim.AdamW(groups(Net()), fused=True)
    restore_optimizer(other, {at: value.contiguous() for at, value in tensors.items()}, state)
    assert layouts(other) == layouts(optimizer)


def test_tensors_are_addressed_by_parameter_and_key():
    net = Net()
    optimizer = torch.optim.AdamW(groups(net))
    assert optimizer_tensors(optimizer, names(net))[0] == {}
    train(net, optimizer, range(1))
    tensors, _ = optimizer_tensors(optimizer, names(net))
    assert set(tensors) == {
        f"{i}.{key}" for i in (0, 1, 2, 4, 5, 6, 7) for key in ("step", "exp_avg", "exp_avg_sq")
    }
    assert tensors["1.exp_avg"].shape == net.dense.weight.shape


def test_a_state_that_does_not_fit_is_refused_with_what_differs():
    net = Net()
    tensors, state = optimizer_tensors(torch.optim.AdamW(groups(net)), names(net))
    wider, longer = Net(), Net()
    wider.dense = torch.nn.Linear(8, 9)
    longer.extra = torch.nn.Parameter(torch.ones(2))
    cases = [
        (torch.optim.SGD(groups(net)), "optimizer: AdamW there, SGD here"),
        (torch.optim.AdamW(groups(wider)), "shape of dense.weight: [6, 8] there, [9, 8] here"),
        (torch.optim.AdamW(groups(longer)), "parameters: 8 there, 9 here"),
        (torch.optim.AdamW(net.parameters()), "parameters in each group: [3, 5] there, [8] here"),
    ]
    for optimizer, line in cases:
        with pytest.raises(BadInput) as caught:
            restore_optimizer(optimizer, tensors, state)
        assert line in caught.value.details


def test_an_optimizer_that_keeps_something_else_is_refused():
    net = Net()
    optimizer = torch.optim.SGD(groups(net))
    optimizer.param_groups[1]["rule"] = print
    with pytest.raises(BadInput, match=r"builtin_function_or_method in param_groups\.1\.rule"):
        optimizer_tensors(optimizer, names(net))
    with pytest.raises(ValueError, match="1 names for 8 parameters"):
        optimizer_tensors(torch.optim.SGD(groups(net)), ["only"])
