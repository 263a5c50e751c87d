"""Vision transformers at another image size: their table of positions, and whether patches cover an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.utils import cached_file

PREFIXES = (0, 1, 2)  # class tokens before the patches: none, one, or DeiT's two


def resample_positions(model: PreTrainedModel, keys: set[str], name: str) -> set[str]:
    """Gives a checkpoint's positions to a model of another image size, as its library does.

    Args:
        model: Of the new size; its positions are random.
        keys: Weights that have another shape in the checkpoint.
        name: The checkpoint.

    Returns:
        The keys that were filled. timm also knows how to resample tables of relative positions.
    """
    own: dict[str, Any] = model.state_dict()
    if model.config.model_type == "timm_wrapper":
        prefix = f"{model.base_model_prefix}."
        found = {f"{prefix}{key}": tensor for key, tensor in _by_timm(model, name).items()}
        filled = {key: found[key] for key in keys if key in found}
    else:
        source = AutoModelForImageClassification.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).state_dict()
        tables = {key: _of_grid(source[key], own[key].shape) for key in keys if key in source}
        filled = {key: table for key, table in tables.items() if table is not None}
    model.load_state_dict(filled, strict=False)
    return set(filled)


def _by_timm(model: PreTrainedModel, name: str) -> dict[str, torch.Tensor]:
    import timm

    config: Any = model.config
    classes = config.num_labels
    try:
        source = timm.create_model(
            config.architecture,
            pretrained=True,
            pretrained_cfg_overlay={"file": cached_file(name, "model.safetensors")},
            num_classes=classes,
            **(config.model_args or {}),
        )
    except (OSError, RuntimeError, ValueError, KeyError):  # it cannot either
        return {}
    return source.state_dict()


def _of_grid(table: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """Resamples positions, (1, k + g * g, D) -> (1, k + G * G, D); None for a table of another kind."""
    if table.ndim != 3 or len(shape) != 3 or table.shape[0] != 1 or table.shape[2] != shape[2]:
        return None
    for count in PREFIXES:
        old, new = (math.isqrt(size - count) for size in (table.shape[1], shape[1]))
        if old**2 == table.shape[1] - count and new**2 == shape[1] - count:
            grid = table[:, count:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
            grid = nn.functional.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
            return torch.cat([table[:, :count], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
    return None


@contextmanager
def watched_patches(model: nn.Module) -> Iterator[set[int]]:
    """Collects, while images pass through a model, the sides of patches that do not cover them.

    What is left over at the right and at the bottom is never seen. A model that pads its images has none.
    """
    uneven: set[int] = set()

    def note(patches: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        side = int(patches.kernel_size[0])  # type: ignore[index]
        if any(length % side for length in inputs[0].shape[-2:]):
            uneven.add(side)

    hooks = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and module.in_channels == 3
        and module.kernel_size == module.stride
        and module.padding in ((0, 0), "valid")
        and module.kernel_size[0] > 1
    ]
    try:
        yield uneven
    finally:
        for hook in hooks:
            hook.remove()
