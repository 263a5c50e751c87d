"""What stays as it is: parameters by name, the backbone, layers until their time, BatchNorm statistics."""

import re
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from hftune.data.dataset import Data, EpochIndex
from hftune.errors import BadInput
from hftune.models.layers import depth, layers_of

BACKBONE = "backbone"  # as a value of --freeze: everything but the head


def freeze(model: PreTrainedModel, pattern: str) -> int:
    """Freezes the parameters whose name contains a regular expression; returns how many tensors.

    Args:
        model: What is to be frozen in part.
        pattern: The expression, or "backbone" for everything but the head.

    Raises:
        BadInput: If the expression is invalid, matches nothing, or leaves nothing to train.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise BadInput(f"--freeze {pattern}: not a regular expression: {error}") from None
    layers = layers_of(model)
    if pattern == BACKBONE and None not in layers.values():
        raise BadInput(f"--freeze {pattern}: {type(model).__name__} has no backbone apart from its head")
    chosen = [
        parameter
        for name, parameter in model.named_parameters()
        if (layers[name] is not None if pattern == BACKBONE else search(name))
    ]
    if not chosen:
        names = [name for name, _ in model.named_parameters()]
        raise BadInput(f"--freeze {pattern}: no parameter has such a name; the names are", names)
    for parameter in chosen:
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadInput(f"--freeze {pattern}: nothing is left to train")
    return len(chosen)


def gradual_unfreezing(
    epochs_per_layer: float, steps_per_epoch: int
) -> Callable[[int, PreTrainedModel], None]:
    """Unfreezes the backbone from the top, one layer after another (ULMFiT, Howard and Ruder 2018).

    Args:
        epochs_per_layer: Epochs between one layer and the next; at first only the head trains.
        steps_per_epoch: Optimizer steps in an epoch.

    Returns:
        An `after_step` function of (steps done, model). What is frozen depends on the number of
        steps alone, so a resumed run continues where it was.
    """
    frozen_by_choice: set[str] = set()
    layers: dict[str, int | None] = {}

    def after_step(steps: int, model: PreTrainedModel) -> None:
        if not layers:
            layers.update(layers_of(model))
            frozen_by_choice.update(name for name, p in model.named_parameters() if not p.requires_grad)
        lowest = depth(layers) - int(steps / (epochs_per_layer * steps_per_epoch)) + 1
        for name, parameter in model.named_parameters():
            if name not in frozen_by_choice:
                layer = layers[name]
                parameter.requires_grad_(layer is None or layer >= lowest)

    return after_step


def check_unfreezing(model: PreTrainedModel) -> None:
    """Refuses `--gradual_unfreezing` where nothing would train at first; call it after `freeze`.

    Raises:
        BadInput: If the model has no head apart from a backbone, or its head is frozen.
    """
    layers = layers_of(model)
    head = [parameter for name, parameter in model.named_parameters() if layers[name] is None]
    if not head or len(head) == len(layers):
        kind = type(model).__name__
        raise BadInput(f"--gradual_unfreezing: {kind} has no backbone apart from its head; leave it out")
    if not any(parameter.requires_grad for parameter in head):
        raise BadInput("--gradual_unfreezing: the head trains first, but --freeze keeps all of it as it is")


def freeze_statistics(model: torch.nn.Module, *, everywhere: bool) -> None:
    """Makes BatchNorm layers normalise by the means and variances that they have, while training too.

    Args:
        model: A model; its `train()` leaves these layers as they are from now on.
        everywhere: Every BatchNorm; else those whose own weights are frozen at the time, because
            statistics that drift under frozen weights would change a backbone that is not to change.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train = partial(_train, module, everywhere)  # type: ignore[method-assign]


def _train(norm: _BatchNorm, always: bool, mode: bool = True) -> _BatchNorm:
    frozen = always or (norm.affine and not norm.weight.requires_grad)
    norm.training = mode and not frozen
    return norm


def rows_needed(model: PreTrainedModel, data: Data) -> int:
    """Returns how many rows a batch has at least in training: 2 where BatchNorm sees one value of a row.

    Such is a layer behind a pooling, or one whose image has shrunk to one place; its variance over one
    row is none. One training row passes through the model to see it, in eval mode, which changes nothing.

    Args:
        model: On the CPU, after `freeze_statistics` and `freeze`.
        data: Gives the row.
    """
    model.train()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    model.eval()
    values: list[int] = []
    hooks = [
        norm.register_forward_pre_hook(
            lambda _, inputs: values.append(inputs[0].numel() // inputs[0].shape[1])
        )
        for norm in norms
    ]
    try:
        if norms:
            batch = data.collate([data.train[EpochIndex.of(0, 0)]])
            with torch.no_grad():
                model(**{name: value for name, value in batch.items() if name != "labels"})
    except TypeError:  # a recipe with a loss of its own may have batches that only that one reads
        return 1
    finally:
        for hook in hooks:
            hook.remove()
    return 2 if 1 in values else 1
