"""LoRA: the backbone is frozen, and adapters of low rank beside its linear layers learn in its place.

Hu et al. 2021 (arXiv:2106.09685), equation 3: a layer of weight W (O, I) computes W x + alpha / r * B A x,
where A (r, I) is drawn at random and B (O, r) begins at zero. The head trains whole. At the end the adapters
are merged, W + alpha / r * B A, so that what is saved is an ordinary model. Layers and files are peft's.
"""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hftune.errors import BadInput
from hftune.models.layers import layers_of
from hftune.runtime.offline import hub_id
from hftune.seed import seed_torch
from hftune.settings.base import ALL_LINEAR, Settings
from hftune.storage.files import write_bytes, write_json

log = logging.getLogger(__name__)

NAME = "default"  # of the adapter, as peft calls the only one
INNER = "base_model.model."  # where peft has the adapted model inside of its own, by the names in its files
TASK_TYPES = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}


@dataclass(frozen=True)
class Adapter:
    """What LoRA learned, apart from the model that it was merged into.

    Args:
        config: The content of peft's `adapter_config.json`.
        tensors: A and B of each layer, by the names that peft gives them in the model.
        head: Names of the parameters that trained whole.
        facts: How many weights were trained, and their share of all, for `all_results.json`.
    """

    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    head: list[str]
    facts: dict[str, float]

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Writes the adapter as peft does, each file whole or not at all.

        Args:
            model: The merged model; has the head as it is in use.
            folder: Is made where it is not; the folder above it exists.
        """
        parameters = dict(model.named_parameters())
        tensors = self.tensors | {name: parameters[name] for name in self.head}
        content = {f"{INNER}{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        weights = safetensors.torch.save(content, metadata={"format": "pt"})
        write_bytes(folder / "adapter_model.safetensors", weights)
        write_json(folder / "adapter_config.json", dict(sorted(self.config.items())))


def inject(model: PreTrainedModel, settings: Settings, batch: Mapping[str, torch.Tensor]) -> None:
    """Freezes a backbone and puts adapters beside its linear layers, in place; says how much learns.

    Args:
        model: Pretrained; stays of its class. Its parameters get other names where a layer has an adapter.
        settings: Those of LoRA, the seed of the first weights, and the model's name.
        batch: Some rows as the model reads them, by which layers are found that are never called.

    Raises:
        BadInput: peft is missing, the model has no backbone apart from its head, or no linear layer there
            has such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise BadInput(f"--lora_r {settings.lora_r} needs peft: pip install 'hftune[lora]'") from None
    targets = _targets(model, settings, batch)
    depths = layers_of(model)
    head = [p for name, p in model.named_parameters() if depths[name] is None and p.requires_grad]
    transposed = any(isinstance(model.get_submodule(name), Conv1D) for name in targets)
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        fan_in_fan_out=transposed,
        base_model_name_or_path=_base_name(settings),
    )
    seed_torch("lora", settings.seed)
    inject_adapter_in_model(config, model, NAME)
    for parameter in head:
        parameter.requires_grad_(True)
    learn, every = count_learning(model)
    log.info(
        "LoRA: rank %d, alpha %d, beside %d linear layers; with the head %s of %s weights learn (%s)",
        *(settings.lora_r, settings.lora_alpha, len(targets)),
        *(f"{learn:,}", f"{every:,}", f"{learn / every:.2%}"),
    )


def count_learning(model: nn.Module) -> tuple[int, int]:
    """Returns how many weights learn, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)


def frozen_names(model: nn.Module) -> set[str]:
    """Returns the names of the weights that do not learn, also where one tensor has several."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}


def merge(model: PreTrainedModel) -> Adapter:
    """Adds what adapters learned to the weights of their layers, and takes them out of the model, in place.

    Args:
        model: Has been through `inject`; its weights are float32.
    """
    from peft import get_peft_model_state_dict
    from peft.tuners.lora import LoraLayer

    learn, every = count_learning(model)
    injected: Any = model.peft_config[NAME]
    config = injected.to_dict()
    kinds = (kind for end, kind in TASK_TYPES.items() if type(model).__name__.endswith(end))
    adapter = Adapter(
        config=config
        | {
            "inference_mode": True,
            "modules_to_save": _head_modules(model),
            "target_modules": sorted(config["target_modules"]),
            "task_type": next(kinds, None),
        },
        tensors=get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False),
        head=[name for name, depth in layers_of(model).items() if depth is None],
        facts={"trained_weights": learn, "trained_weights_share": learn / every},
    )
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    for name, layer in layers.items():  # what `merge_and_unload` of peft's own model does
        layer.merge()
        above, _, own = name.rpartition(".")
        setattr(model.get_submodule(above), own, layer.get_base_layer())
    del model.peft_config
    return adapter


def _targets(model: PreTrainedModel, settings: Settings, batch: Mapping[str, torch.Tensor]) -> list[str]:
    """Returns the names of the layers that get adapters."""
    flag, pattern = f"--lora_r {settings.lora_r}", settings.lora_target_modules
    kind, depths = type(model).__name__, layers_of(model)
    if None not in depths.values():
        raise BadInput(f"{flag}: {kind} has no backbone apart from its head; leave it out")
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and depths.get(f"{name}.weight") is not None
    ]
    if not linear:
        raise BadInput(f"{flag}: {kind} has linear layers in its head alone; leave it out")
    chosen = [name for name in linear if pattern == ALL_LINEAR or re.search(pattern, name)]
    if not chosen:
        problem = "no linear layer of the backbone has such a name; the names are"
        raise BadInput(f"--lora_target_modules {pattern}: {problem}", linear)
    if not (passed := _passed(model, chosen, batch)):
        raise BadInput(f"--lora_target_modules {pattern}: {kind} calls none of these layers", chosen)
    return passed


def _passed(model: PreTrainedModel, names: list[str], batch: Mapping[str, torch.Tensor]) -> list[str]:
    """Returns those layers through which rows pass; of others a model reads the weights alone, if anything.

    An adapter there would learn nothing, as in the attention of timm's BEiT, and nobody would be told.
    """
    passed: set[str] = set()
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: passed.add(name))
        for name in names
    ]
    model.eval()
    try:
        with torch.no_grad():
            model(**{name: value for name, value in batch.items() if name != "labels"})
    finally:
        for hook in hooks:
            hook.remove()
    if left := [name for name in names if name not in passed]:
        log.info("LoRA: no adapter beside %d layers that are never called, such as %s", len(left), left[0])
    return [name for name in names if name in passed]


def _head_modules(model: PreTrainedModel) -> list[str]:
    """Returns the modules that make up the head, by names on which no others end: that is how peft looks."""
    prefix = model.base_model_prefix
    inside = [name for name, _ in model.named_modules() if f"{name}.".startswith(f"{prefix}.")]
    found = []
    for name in (name for name, depth in layers_of(model).items() if depth is None):
        top, owner = name.partition(".")[0], name.rpartition(".")[0]
        found.append(owner if any(other.endswith(top) for other in inside) else top)
    return list(dict.fromkeys(found))


def _base_name(settings: Settings) -> str:
    """Returns the Hub id of the pretrained model; of a folder its name alone, not where it is."""
    name = str(settings.model_name_or_path or settings.model_type)
    known = hub_id(name, "model_name_or_path") if settings.model_name_or_path else name
    return known or Path(os.path.expanduser(name)).resolve().name
