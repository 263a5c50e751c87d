"""A model of one output: its last layer on another scale, and in float32 whatever the rest computes in."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hftune.errors import BadInput
from hftune.models.heads import head_layers

LINEAR = 1e-5  # how far an output may be off a straight line, in parts of its slope


def last_layers(model: PreTrainedModel) -> list[Any]:
    """Returns the layers whose outputs are the model's output; a distilled transformer has two.

    Raises:
        BadInput: There is none, or it has no bias, so that it could not be put on another scale.
    """
    layers = list(head_layers(model).values())
    if not layers or any(getattr(layer, "bias", None) is None for layer in layers):
        kind = type(model).__name__
        what = "no last layer that could be found" if not layers else "a last layer without a bias"
        raise BadInput(f"{kind} has {what}, which a regression needs; choose another model")
    return layers


def rescale(model: PreTrainedModel, batch: dict[str, torch.Tensor], scale: float, shift: float) -> None:
    """Changes the last layer so that the model answers `scale` times what it did, plus `shift`.

    Exact but for one rounding of each weight: the new weights are computed in float64. How a model goes on
    from its last layer, such as times a constant, is measured.

    Args:
        model: Has one output; left in eval mode.
        batch: Some rows, arguments of its forward.
        scale: Not 0.
        shift: In the output's unit.

    Raises:
        BadInput: The model has no such layer.
    """
    layers = last_layers(model)
    model.eval()
    none, one, two = (_with_output(model, layers, batch, value) for value in (0.0, 1.0, 2.0))
    start, slope = float(none.mean()), float((one - none).mean())
    straight = float((none + slope * 2 - two).abs().max() + (none - start).abs().max())
    if not slope or not straight <= LINEAR * abs(slope):
        kind = type(model).__name__
        raise BadInput(f"{kind} changes what its last layer puts out, so a regression cannot scale it")
    with torch.no_grad():
        for layer in layers:
            weight, bias = layer.weight.cpu().double(), layer.bias.cpu().double()  # Apple's GPUs have none
            layer.weight.copy_(scale * weight)
            layer.bias.copy_(scale * bias + ((scale - 1) * start + shift) / slope)


def _with_output(
    model: PreTrainedModel, layers: list[Any], batch: dict[str, torch.Tensor], value: float
) -> torch.Tensor:
    """Returns the model's output, float64 (B,), where its last layers put out a constant."""
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: torch.full_like(output, value))
        for layer in layers
    ]
    try:
        with torch.no_grad():  # the class's forward: autocast and a compiler replace the instance's
            found = type(model).forward(model, **{name: row.to(model.device) for name, row in batch.items()})
            return found.logits.cpu().double().flatten()
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def exact_output(model: nn.Module) -> Iterator[None]:
    """Lets the last layer compute in float32 under autocast: bf16 would make 100.5 of 100.3.

    Args:
        model: Has a model of transformers in it, or is one.
    """
    owners = (module for module in model.modules() if isinstance(module, PreTrainedModel))
    layers = [layer for owner in [next(owners, None)] if owner for layer in head_layers(owner).values()]
    for layer in layers:
        layer.forward = MethodType(_in_float32, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _in_float32(layer: Any, values: torch.Tensor) -> torch.Tensor:
    with torch.autocast(values.device.type, enabled=False):
        return type(layer).forward(layer, values.float())
