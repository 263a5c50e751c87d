"""What stands under the name of a model: one of texts, one of images, no model; do its parts fit?"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from hftune.errors import BadInput, first_line
from hftune.models import standalone

Kind = Literal["texts", "images"]
standalone.register_all()  # what reads a checkpoint imports this file
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.gguf", "*.onnx", "*.msgpack")


def kind_of(config: dict[str, Any]) -> Kind | None:
    """Says what a model reads, by the content of its config.json; None where that does not tell.

    A file of timm on the Hub has no `model_type`, but an `architecture` and a `pretrained_cfg`.
    """
    if "pretrained_cfg" in config and "architecture" in config:
        return "images"
    name = str(config.get("model_type"))
    ours = {*standalone.TEXT, *standalone.POOLED, *standalone.TOKENS}
    texts = name in {*MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, *ours}
    images = name in {*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, *standalone.IMAGE}
    if texts == images:  # Perceiver reads both
        return None
    return "texts" if texts else "images"


def checkpoint_config(name: str, kind: Kind) -> PreTrainedConfig:
    """Returns the config of the checkpoint that `--model_name_or_path` names.

    Raises:
        BadInput: If there is none, it is one of a model of the other kind, or timm is missing.
    """
    flag = f"--model_name_or_path {name}"
    check_folder(name, flag, kind)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except ImportError as error:
        raise BadInput(f"{flag} is a model of timm: pip install 'hftune[image]'") from error
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{flag}: {why_not_loaded(error)}") from None
    check_kind(config.to_dict(), flag, kind)
    return config


def check_folder(name: str, said: str, kind: Kind | None = None) -> None:
    """Refuses a folder that holds no model, or one of the other kind; a Hub id passes.

    Args:
        name: A folder or a Hub id.
        said: What the user gave, for the message: `--model_name_or_path NAME`, or the name alone.
        kind: What the model has to read; None: either will do.

    Raises:
        BadInput: The folder is something else; the message says what, and what to pass instead.
    """
    folder = Path(os.path.expanduser(name))
    if not folder.is_dir():
        return
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput(f"{said}: {what_it_is(folder)}")
    check_kind(_read(path), said, kind)


def check_kind(config: dict[str, Any], said: str, kind: Kind | None) -> None:
    """Raises `BadInput` for a model of images where one of texts is needed, or the other way round."""
    found = kind_of(config)
    if kind and found and found != kind:
        named = config.get("model_type") or config.get("architecture")
        raise BadInput(f"{said}: a model of {found} ({named}); this recipe needs a model of {kind}")


def what_it_is(folder: Path) -> str:
    """Says of a folder without config.json what it is instead of a model, and what to pass."""
    inside = {path.name for path in folder.iterdir()}
    if not inside:
        return "an empty folder; pass a run directory, the folder of a model or a Hub id"
    if "adapter_config.json" in inside:
        base = _read(folder / "adapter_config.json").get("base_model_name_or_path")
        of = f" of {base}" if base else ""
        return (
            f"a PEFT adapter{of}, no whole model; merge the two (merge_and_unload of peft), save the result "
            "with its tokenizer and pass that folder"
        )
    if "manifest.json" in inside:
        run = folder.resolve().parent
        when = "" if (run / "config.json").is_file() else " when its run is finished"
        whole = f"the run directory that this checkpoint lies in ({folder.parent}){when}"
        return f"it has no config.json; pass {whole}"
    if "run.json" in inside:
        return "this run is not finished, so it has no model yet; repeat its command"
    if any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        return "weights without a config.json; put the config.json of their model beside them"
    near = sorted(
        path.parent for place in ("*", "snapshots/*") for path in folder.glob(f"{place}/config.json")
    )
    advice = f"did you mean {near[0]}?" if near else "pass a run directory, the folder of a model or a Hub id"
    return f"it has no config.json; {advice}"


def check_embeddings(model: nn.Module, tokenizer: Any, name: str) -> None:
    """Refuses a tokenizer with more tokens than the model has embeddings; fewer are fine.

    Args:
        model: Any; one without a table of embeddings passes.
        tokenizer: Any processor; what is no tokenizer passes.
        name: What the user calls the model.

    Raises:
        BadInput: A token has no embedding.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    try:
        rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    except (NotImplementedError, AttributeError):  # Canine hashes its characters
        return
    vocabulary = tokenizer.get_vocab()
    last = max(vocabulary, key=lambda token: vocabulary[token])
    if (needed := vocabulary[last] + 1) > rows:
        raise BadInput(
            f"{name}: its tokenizer has {needed:,} tokens (the last is {last!r}), but the model has "
            f"embeddings for {rows:,}; pass both as they belong together, or call "
            f"model.resize_token_embeddings({needed}) and save them again"
        )


def why_not_loaded(error: Exception) -> str:
    """Returns one line for what the libraries raise where they can load nothing."""
    line = first_line(error).strip()
    if isinstance(error, SafetensorError):
        return f"{line}; model.safetensors is damaged, or was not downloaded whole"
    if line.startswith("Couldn't instantiate the backend tokenizer"):
        return "it has no tokenizer.json; copy the tokenizer's files of the model that it began as"
    if found := re.match(r"Unrecognized configuration class .*?(\w+)Config'>", line):
        return f"transformers has no such classifier of the kind {found[1]}; pass another model"
    return line.removesuffix(":")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
