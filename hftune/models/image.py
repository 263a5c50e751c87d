"""From settings to an image classifier: a checkpoint, or an architecture of timm, transformers or ours."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel

from hftune.data.dataset import Data
from hftune.data.image.processor import Preprocessing, load_processor, scratch_kind
from hftune.errors import BadInput, first_line
from hftune.models.config import checked_overrides, label_names
from hftune.models.heads import align_labels, head_layers, parameter_names, timm_head_layers, zero_head
from hftune.models.image_positions import resample_positions, watched_patches
from hftune.models.pretrained import LOAD_ERRORS, load_pretrained, refuse_random
from hftune.settings.image import ImageSettings
from hftune.settings.types import parse_overrides
from hftune.tasks.base import Task

log = logging.getLogger(__name__)


def build_image_classifier(settings: ImageSettings, data: Data) -> PreTrainedModel:
    """Builds the model that the settings name, with float32 weights and the data's label names.

    * `--model_name_or_path`: a checkpoint of timm or transformers. Its classifier stays if it knows the
      data's labels (see `align_labels`); else a new one starts at zero, as a random one costs points on small
      sets.
    * `--model_type`, one of `hftune.models.standalone.IMAGE`, a type of transformers, or an architecture of
      timm: random weights as the architecture draws them, or those of `--checkpoint_path` (timm alone).

    A model of timm is wrapped in transformers' `TimmWrapperForImageClassification`, so that its files
    load in both libraries; its `config.pretrained_cfg` is the one of `load_processor`.

    Raises:
        BadInput: If the model is unknown, cannot be loaded, has only pickled weights, would start in part
            from random numbers, or takes no images of the settings' size; or a name in
            `--config_overrides` is unknown.
    """
    known = isinstance(data.processor, Preprocessing)  # else the recipe reads images in its own way
    prepared = data.processor if known else load_processor(settings)
    if settings.model_name_or_path:
        model = _pretrained(settings, prepared, data.task)
    else:
        model = _from_scratch(settings, prepared, data.task)
    _try_sizes(model, prepared, settings)
    if settings.transparent_background or hasattr(model.config, "transparent_background"):
        model.config.transparent_background = settings.transparent_background  # for those who use the model
    if settings.channels_last:
        nn.Module.to(model, memory_format=torch.channels_last)
    return model


def _pretrained(settings: ImageSettings, prepared: Preprocessing, task: Task) -> PreTrainedModel:
    name = str(settings.model_name_or_path)
    config: Any = copy.deepcopy(prepared.checkpoint)
    own = _own_side(config)
    saved_labels, saved_kind = label_names(config), config.problem_type
    if config.model_type == "timm_wrapper":
        source = config.pretrained_cfg
        config.model_args = _model_args(settings, prepared, source, config.model_args or {})
        config.pretrained_cfg = prepared.processor.pretrained_cfg
        config.label_names = list(task.labels)  # what timm reads; an earlier run may have left others
    else:
        config.update(_changes(config, settings, prepared))
    config.update(task.model_config())
    flags = _flags(settings)
    model, absent, reshaped = load_pretrained(AutoModelForImageClassification, name, config, flags)
    head = head_layers(model)
    if unlike := reshaped - parameter_names(head):
        resampled = resample_positions(model, unlike, name)
        absent -= resampled
        if resampled:
            log.info(
                "positions: resampled for images of %d pixels, as %s has others", prepared.image_size, name
            )
    other_size = own and settings.image_size and settings.image_size != own
    advice = f"; --image_size {own} is the checkpoint's own" if other_size else ""
    backbone = absent - parameter_names(head)
    refuse_random({key for key in backbone if not key.endswith("num_batches_tracked")}, flags, advice)
    if absent & parameter_names(head) or not align_labels(model, saved_labels, task.labels):
        zero_head(head)
    elif saved_kind == task.problem_type:
        side = prepared.image_size
        task.take_up(model, {"pixel_values": torch.zeros(1, 3, side, side)})
    return model


def _from_scratch(settings: ImageSettings, prepared: Preprocessing, task: Task) -> PreTrainedModel:
    kind = scratch_kind(settings)
    if settings.checkpoint_path and kind != "timm":
        raise BadInput(f"--checkpoint_path: --model_type {settings.model_type} is no architecture of timm")
    try:
        if kind == "timm":
            return _timm_from_scratch(settings, prepared, task)
        config = AutoConfig.for_model(str(settings.model_type))
        config.update({**_changes(config, settings, prepared), **task.model_config()})
        return AutoModelForImageClassification.from_config(config, dtype=torch.float32)
    except LOAD_ERRORS as error:
        raise BadInput(f"{_flags(settings)}: {first_line(error)}") from None


def _timm_from_scratch(settings: ImageSettings, prepared: Preprocessing, task: Task) -> PreTrainedModel:
    import timm
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    architecture = str(settings.model_type)
    cfg = timm.get_pretrained_cfg(architecture)
    model_args = _model_args(settings, prepared, cfg.to_dict() if cfg else {}, {})
    config = TimmWrapperConfig(architecture=architecture, model_args=model_args, **task.model_config())
    config.update({"pretrained_cfg": prepared.processor.pretrained_cfg, "label_names": list(task.labels)})
    source = timm.create_model(architecture, num_classes=len(task.labels), **model_args)
    if settings.checkpoint_path:
        _fill(source, settings)
    # Not by the constructor: it draws every convolution again, all with one small deviation, from which a
    # deep net does not learn, and would save weights under names that timm does not know.
    return TimmWrapperForImageClassification.from_pretrained(
        None, config=config, state_dict=source.state_dict(), dtype=torch.float32
    )


def _flags(settings: ImageSettings) -> str:
    """Returns the flags that choose a model, as they were given."""
    flags = ("model_name_or_path", "model_type", "config_overrides", "image_size")
    given = {flag: getattr(settings, flag) for flag in flags}
    return " ".join(f"--{flag} {value}" for flag, value in given.items() if value)


def _allowed(changes: dict[str, Any]) -> dict[str, Any]:
    """Refuses in `--config_overrides` what other flags say, and what training cannot have."""
    for name in ("image_size", "img_size"):
        if name in changes:
            raise BadInput(f"--config_overrides {name}: pass --image_size, which the images need too")
    for name in ("aux_logits", "features_only"):
        if changes.pop(name, False):
            raise BadInput(f"--config_overrides {name}: only models with one set of logits are trained")
    return changes


def _model_args(
    settings: ImageSettings, prepared: Preprocessing, source: dict[str, Any], saved: dict[str, Any]
) -> dict[str, Any]:
    """Returns the arguments of timm's constructor.

    Args:
        settings: What `--config_overrides` is read from.
        prepared: Its square is passed to architectures that have to know it, such as ViT.
        source: timm's description of the input, as it was before the settings' sizes.
        saved: What the checkpoint was made with.
    """
    arguments = {**saved, **_allowed(parse_overrides(settings.config_overrides or ""))}
    own = arguments.get("img_size", source.get("input_size", (3, 224, 224))[-1])
    if (
        source.get("fixed_input_size")
        and own != prepared.image_size
        and not arguments.get("dynamic_img_size")
    ):
        arguments["img_size"] = prepared.image_size
    return arguments


def _changes(config: PreTrainedConfig, settings: ImageSettings, prepared: Preprocessing) -> dict[str, Any]:
    """Returns changes to a config of transformers or ours: `--config_overrides` and the square's side."""
    changes = _allowed(checked_overrides(config, settings))
    known = config.to_dict()
    return changes | ({"image_size": prepared.image_size} if "image_size" in known else {})


def _own_side(config: PreTrainedConfig) -> int | None:
    """Returns the side of the images that a checkpoint was made for, where it says so."""
    if config.model_type == "timm_wrapper":
        size = (config.model_args or {}).get("img_size") or config.pretrained_cfg.get("input_size", [None])[
            -1
        ]
    else:
        size = getattr(config, "image_size", None)
    return size if isinstance(size, int) else None


def _fill(source: nn.Module, settings: ImageSettings) -> None:
    """Copies the weights of `--checkpoint_path` into a model of timm.

    Raises:
        BadInput: If it is no safetensors file, or one of another model.
    """
    asked = f"--checkpoint_path {settings.checkpoint_path}"
    tensors = _read(Path(str(settings.checkpoint_path)).expanduser(), asked)
    tensors = {name.removeprefix("timm_model."): tensor for name, tensor in tensors.items()}
    weights = source.state_dict()
    classifier = timm_head_layers(source)
    names = parameter_names(classifier)
    if any(name not in tensors or tensors[name].shape != weights[name].shape for name in names):
        zero_head(classifier)
        tensors = {**tensors, **{name: weights[name] for name in names}}
    try:
        found = source.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # other shapes
        problems = [line.strip() for line in str(error).splitlines()[1:]]
    else:  # old files lack counters, and Inception's second classifier is not trained
        missing = (name for name in found.missing_keys if not name.endswith("num_batches_tracked"))
        more = (name for name in found.unexpected_keys if not name.startswith("AuxLogits."))
        problems = [f"it lacks {name}" for name in missing] + [f"it also has {name}" for name in more]
    if problems:
        raise BadInput(f"{asked} does not fit --model_type {settings.model_type}", problems)


def _read(path: Path, asked: str) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError:
        raise BadInput(
            f"{asked} is not a safetensors file; pickled weights (.pth, .bin) are not read"
        ) from None
    except OSError as error:
        raise BadInput(f"{asked}: {error.strerror or first_line(error)}") from None


def _try_sizes(model: PreTrainedModel, prepared: Preprocessing, settings: ImageSettings) -> None:
    """Passes one black image of each size through the model, which is left in eval mode.

    Raises:
        BadInput: The model takes no images of a size, or its patches leave a part of them unseen.
    """
    model.eval()
    sides = {"image_size": prepared.image_size, "eval_image_size": prepared.eval_image_size}
    for flag, side in sides.items():
        name = settings.model_name_or_path or settings.model_type
        try:
            with torch.no_grad(), watched_patches(model) as uneven:
                logits = model(pixel_values=torch.zeros(1, 3, side, side)).logits
            problem = "" if logits.shape == (1, model.config.num_labels) else "it returns no logits"
        except Exception as error:  # each family fails in its own way
            problem = first_line(error)
        if uneven:
            patch = max(uneven)
            least = max(side // patch, 1) * patch
            raise BadInput(
                f"--{flag} {side}: {name} cuts an image into patches of {patch} x {patch} pixels, and the "
                f"last {side % patch} of {side} would never be seen; pass --{flag} {least} or "
                f"--{flag} {least + patch}"
            )
        if problem:
            raise BadInput(f"--{flag} {side}: {name} takes no images of {side} x {side} pixels: {problem}")
