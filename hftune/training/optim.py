"""Which parameters learn at which rate: groups, optimizer, schedule."""

import json
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel, get_scheduler

from hftune.errors import BadInput, first_line
from hftune.models.layers import depth, layers_of
from hftune.settings.base import Settings
from hftune.settings.types import parse_overrides
from hftune.training import rules


def parameter_groups(model: PreTrainedModel, settings: Settings) -> list[dict]:
    """Sorts parameters into groups of equal learning rate and weight decay.

    The head learns at `learning_rate * head_lr_multiplier`, layer k of n of the backbone at
    `learning_rate * layer_decay ** (n - k)` (ELECTRA, Clark et al. 2020, appendix). Biases and
    norms (vectors) are not decayed.

    Returns:
        Groups for a torch optimizer, each with `params`, `lr`, `weight_decay` and a `name`.
    """
    layers = layers_of(model)
    top = depth(layers)
    rate = rules.learning_rate(settings, model)
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = layers[name]
        factor = settings.head_lr_multiplier if layer is None else settings.layer_decay ** (top - layer)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        whole = "all" if model.base_model is model else "backbone"
        place = "head" if layer is None else whole if settings.layer_decay == 1 else f"layer {layer}"
        group = groups.setdefault(
            (place, decay),
            {"name": place, "params": [], "lr": rate * factor, "weight_decay": decay},
        )
        group["params"].append(parameter)
    return list(groups.values())


def build_optimizer(groups: list[dict], settings: Settings) -> torch.optim.Optimizer:
    """Builds the optimizer that `--optim` names.

    Raises:
        BadInput: If the name, or an argument in `--optim_args`, is unknown, or the optimizer does not work
            here.
    """
    arguments = parse_overrides(settings.optim_args or "", "optim_args")
    name, rate = settings.optim, settings.learning_rate or 0.0  # which no group takes: each has its own
    try:
        if name.startswith("timm_"):
            return _timm_optimizer(groups, name.removeprefix("timm_"), rate, arguments)
        if name in ("adamw_torch", "adamw_torch_fused"):
            return torch.optim.AdamW(groups, lr=rate, fused=name.endswith("fused"), **arguments)
        if name == "sgd":
            return torch.optim.SGD(groups, lr=rate, **{"momentum": 0.9, **arguments})
        return torch.optim.Adagrad(groups, lr=rate, **arguments)
    # What a constructor makes of arguments that do not suit it, of no GPU, or of a package that is missing.
    except (TypeError, ValueError, IndexError, RuntimeError, AssertionError, ImportError) as error:
        given = f" --optim_args {settings.optim_args}" if settings.optim_args else ""
        raise BadInput(f"--optim {name}{given}: {first_line(error)}") from None


def _timm_optimizer(groups: list[dict], name: str, rate: float, arguments: dict) -> torch.optim.Optimizer:
    try:
        from timm.optim import create_optimizer_v2, list_optimizers
    except ImportError:
        raise BadInput(f"--optim timm_{name} needs timm: pip install 'hftune[image]'") from None
    if name not in list_optimizers():
        raise BadInput(
            f"--optim timm_{name}: timm has no such optimizer; it has",
            [str(known) for known in list_optimizers()],
        )
    optimizer = create_optimizer_v2(groups, opt=name, lr=rate, **arguments)
    if getattr(optimizer, "is_second_order", False):
        raise BadInput(
            f"--optim timm_{name} needs second derivatives, which are not computed; choose another"
        )
    return optimizer


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: Settings, total_steps: int, *, greater_is_better: bool
) -> torch.optim.lr_scheduler.LRScheduler:
    """Builds one of transformers' learning-rate schedules, to be stepped once per optimizer step.

    Args:
        optimizer: Its groups' rates are the peaks.
        settings: `lr_scheduler_type`, `lr_scheduler_kwargs`, `warmup_steps` (a share if below 1).
        total_steps: Optimizer steps of the whole run.
        greater_is_better: Direction of the validation score, for `reduce_lr_on_plateau` and `greedy`.

    Raises:
        BadInput: If the schedule does not take an argument of `--lr_scheduler_kwargs`.
    """
    arguments = parse_overrides(settings.lr_scheduler_kwargs or "", "lr_scheduler_kwargs")
    warmup = settings.warmup_steps
    warmup = round(warmup * total_steps) if warmup < 1 else int(warmup)
    if settings.lr_scheduler_type == "warmup_stable_decay":
        arguments.setdefault("num_decay_steps", max(1, total_steps // 10))
    if settings.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):
        arguments.setdefault("mode", "max" if greater_is_better else "min")
    if settings.lr_scheduler_type == "greedy":
        arguments.setdefault("min_lr", 0.0)  # its own 1e-3 is far above the rates of fine-tuning
    if settings.lr_scheduler_type in ("constant", "constant_with_warmup") and arguments:
        raise BadInput(
            f"--lr_scheduler_kwargs {settings.lr_scheduler_kwargs}: {settings.lr_scheduler_type} takes none"
        )
    try:
        return get_scheduler(
            settings.lr_scheduler_type,
            optimizer,
            num_warmup_steps=warmup,
            num_training_steps=total_steps,
            scheduler_specific_kwargs=arguments,
        )
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"--lr_scheduler_type {settings.lr_scheduler_type} "
            f"--lr_scheduler_kwargs {json.dumps(arguments)}: {error}"
        ) from None


def names_in_groups(model: PreTrainedModel, groups: Iterable[dict]) -> list[str]:
    """Returns the parameters' names in the order of the optimizer's groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in groups for parameter in group["params"]]


def describe_groups(groups: Iterable[dict]) -> str:
    """Returns one line: each place with its rate and number of parameters."""
    rates: dict[str, list] = {}
    for group in groups:
        entry = rates.setdefault(group["name"], [group["lr"], 0])
        entry[1] += sum(parameter.numel() for parameter in group["params"])
    return ", ".join(f"{name} {count:,} at {rate:.3g}" for name, (rate, count) in rates.items())
