"""How deep each parameter of a model sits: what layer-wise rates and gradual unfreezing go by."""

import re
from typing import Any

from transformers import PreTrainedModel

NUMBERED = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|stages)\.(\d+)\.")


def layers_of(model: PreTrainedModel) -> dict[str, int | None]:
    """Returns each parameter's layer: 0 for embeddings or stem, 1, 2, ... for layers, None for the head.

    A parameter of the backbone that stands behind its layers (a final norm, a pooler) counts with
    the last layer. A small model without a backbone (TextCNN, ...) is one layer: nothing of it is
    newer than the rest. Models of timm know their own layers.
    """
    names = [name for name, _ in model.named_parameters()]
    if model.base_model is model:
        return dict.fromkeys(names, 0)
    if model.config.model_type == "timm_wrapper":
        return _layers_of_timm(model)
    prefix = f"{model.base_model_prefix}."
    inner = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    numbers = {name: int(match[1]) + 1 for name in inner if (match := NUMBERED.search(f".{inner[name]}"))}
    last = max(numbers.values(), default=0)
    outside = {name: 0 if _is_embedding(inner[name]) else last for name in inner}
    return {name: (outside | numbers).get(name) for name in names}


def _is_embedding(name: str) -> bool:
    return "embed" in name or name.startswith(("wte", "wpe"))


def _layers_of_timm(model: PreTrainedModel) -> dict[str, int | None]:
    from timm.models import group_parameters

    inner: Any = model.base_model
    layers = group_parameters(inner, inner.group_matcher(coarse=False), reverse=True)
    classifiers = inner.get_classifier()  # several where a distilled model has a second one
    classifiers = classifiers if isinstance(classifiers, tuple) else (classifiers,)
    head = {id(parameter) for classifier in classifiers for parameter in classifier.parameters()}
    kept = {name for name, parameter in inner.named_parameters() if id(parameter) not in head}
    last = max(layers[name] for name in kept) if kept else 0
    # What timm groups with the classifier, a norm before it say, is no newer than the last layer.
    last = min(last, max(layers.values()) - 1)
    return {
        f"{model.base_model_prefix}.{name}": min(layers[name], last) if name in kept else None
        for name, _ in inner.named_parameters()
    }


def depth(layers: dict[str, int | None]) -> int:
    """Returns the number of the topmost layer of the backbone, 0 if it has none."""
    return max((layer for layer in layers.values() if layer is not None), default=0)
