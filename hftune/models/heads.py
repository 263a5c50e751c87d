"""The layers that make a model's logits: which they are, and whether a checkpoint's fit the data's labels."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hftune.models.standalone import STANDALONE

log = logging.getLogger(__name__)

SHOWN = 5  # labels in a line of the log
KEPT = "_hftune_kept_head"  # attribute of a model whose classifier is a checkpoint's


def head_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Returns the layers whose outputs are the logits, by name; a distilled transformer has two."""
    if model.config.model_type == "timm_wrapper":
        prefix = f"{model.base_model_prefix}."
        return {f"{prefix}{name}": layer for name, layer in timm_head_layers(model.base_model).items()}
    alone = model.base_model is model  # it has no backbone of its own, such as ResNet-9
    backbone = set() if alone else {id(layer) for layer in model.base_model.modules()}
    layers = _last_layers(model, {id(layer) for layer in model.modules()} - backbone, model.config.num_labels)
    # A layer further down, such as an attention's, may happen to have as many outputs as there are labels.
    one = alone or model.config.model_type in STANDALONE
    return dict(list(layers.items())[-1:]) if one else layers


def timm_head_layers(source: nn.Module) -> dict[str, nn.Module]:
    """Returns those of a model of timm that is not wrapped."""
    found = source.get_classifier()  # type: ignore[operator]
    parts = found if isinstance(found, tuple) else (found,)
    return _last_layers(source, {id(layer) for part in parts for layer in part.modules()}, source.num_classes)


def _last_layers(model: nn.Module, inside: set[int], outputs: Any) -> dict[str, nn.Module]:
    return {
        name: layer
        for name, layer in model.named_modules()
        if id(layer) in inside
        and isinstance(layer, nn.Linear | nn.Conv2d)
        and layer.weight.shape[0] == outputs
    }


def parameter_names(layers: dict[str, nn.Module]) -> set[str]:
    """Returns the names of the parameters of named layers."""
    return {f"{name}.{key}" for name, layer in layers.items() for key, _ in layer.named_parameters()}


def has_new_head(model: PreTrainedModel) -> bool:
    """Returns whether a model's classifier has to be learned; False if a checkpoint's own has stayed."""
    return not getattr(model, KEPT, False)


def align_labels(model: PreTrainedModel, saved: Sequence[str], labels: Sequence[str]) -> bool:
    """Makes a checkpoint's classifier answer in the data's order of labels, if it knows them: `label_order`.

    Args:
        model: Has the checkpoint's classifier, of as many labels as the data.
        saved: The checkpoint's, in the order of its logits.
        labels: The data's.

    Returns:
        Whether it knows them; if not, the caller initialises the classifier.
    """
    order = label_order(saved, labels)
    if order is None:
        tell_of_other_labels(saved, labels)
        return False
    if list(saved) != list(labels) and has_no_names(saved):
        log.info("the classifier is kept: the checkpoint has as many labels, without names")
    elif order != sorted(order):
        with torch.no_grad():
            for layer in head_layers(model).values():
                for parameter in layer.parameters():  # the first dimension of both is C
                    parameter.copy_(parameter[order])
        log.info("the classifier is kept, in the data's order of labels: %s", few_of(labels))
    setattr(model, KEPT, True)
    return True


def label_order(saved: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Returns the place of each of the data's labels among a saved model's; None where it has others.

    A classifier of as many other labels is one of another task. Labels without names (LABEL_0, LABEL_1,
    ...) are taken for the data's in their order: nothing says otherwise, and so a model that was saved
    without names can be trained on.

    Args:
        saved: The saved model's, in the order of its logits.
        labels: The data's.
    """
    saved, labels = list(saved), list(labels)
    if sorted(saved) != sorted(labels):  # ENTAILMENT is entailment, where that is clear
        plain = {label.casefold(): label for label in labels}
        named = [plain.get(name.casefold(), name) for name in saved]
        saved = named if len(set(named)) == len(named) == len(plain) else saved
    if saved == labels or (len(saved) == len(labels) and has_no_names(saved)):  # names may stand there twice
        return list(range(len(labels)))
    return [saved.index(label) for label in labels] if sorted(saved) == sorted(labels) else None


def has_no_names(saved: Sequence[str]) -> bool:
    """Returns whether a saved model's labels are numbers alone."""
    return list(saved) == [f"LABEL_{number}" for number in range(len(saved))]


def tell_of_other_labels(saved: Sequence[str], labels: Sequence[str]) -> None:
    """Says that a checkpoint's classifier cannot stay, whatever some of its labels are called."""
    log.info("the checkpoint's classifier is for %s, not %s", few_of(saved), few_of(labels))


def reinit_head(model: PreTrainedModel) -> None:
    """Initialises the classifier, as the architecture draws it."""
    log.info("the classifier is new: it starts from random numbers")
    for layer in head_layers(model).values():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            # transformers marks what it has loaded, and never draws that again
            setattr(layer, name, nn.Parameter(torch.empty_like(parameter)))
        model._init_weights(layer)


def zero_head(layers: dict[str, nn.Module]) -> None:
    """Starts a classifier at zero, so that every class is as likely."""
    log.info("the classifier is new: it starts at zero")
    with torch.no_grad():
        for layer in layers.values():
            for parameter in layer.parameters():
                parameter.zero_()


def few_of(labels: Sequence[str]) -> str:
    """Returns the first labels, as a line of the log lists them."""
    return ", ".join(labels[:SHOWN]) + (", ..." if len(labels) > SHOWN else "")
