"""The encoder of texts that `--model_name_or_path` names: what its config says and becomes."""

import logging
from collections.abc import Collection
from typing import Any, NamedTuple

from torch.nn import Module
from transformers import PreTrainedConfig

from hftune.data.base_model import checkpoint_config
from hftune.data.text.tokenizer import longest_text
from hftune.errors import BadInput
from hftune.models.config import checked_overrides
from hftune.runtime.device import computes_on_cpu
from hftune.settings.base import Settings

log = logging.getLogger(__name__)

# What the families of encoders call the dropout of their attention weights.
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


class NamedEncoder(NamedTuple):
    """A checkpoint, before its weights are read.

    Args:
        name: Hub id or folder.
        flags: Those that chose it, for messages.
        config: Its own.
        changes: What the model's config has otherwise, whatever it is to answer.
    """

    name: str
    flags: str
    config: PreTrainedConfig
    changes: dict[str, Any]


def named_encoder(settings: Settings, tokenizer: Any) -> NamedEncoder:
    """Reads the config of `--model_name_or_path`, and `--config_overrides` for it.

    Raises:
        BadInput: There is no such checkpoint, it reads no texts, or `--config_overrides` has a name that its
            config lacks.
    """
    name = str(settings.model_name_or_path)
    flags = f"--model_name_or_path {name}"
    config = checkpoint_config(name, "texts")
    chosen = checked_overrides(config, settings)
    if chosen:
        flags += f" --config_overrides {settings.config_overrides}"
    changes = without_attention_dropout(config, chosen) | chosen
    return NamedEncoder(name, flags, config, changes | {"pad_token_id": tokenizer.pad_token_id})


def without_attention_dropout(config: PreTrainedConfig, chosen: Collection[str]) -> dict[str, float]:
    """Returns the change to a config that spares a CPU the dropout of attention weights, and says so.

    With it torch computes no fused attention there and keeps every weight of every head: a step of a small
    encoder at 512 tokens takes about twice the time and three times the memory (benchmarks/README.md). The
    dropout of hidden states stays as it is.

    Args:
        config: The checkpoint's.
        chosen: Names in `--config_overrides`, which rule.
    """
    found = {name: getattr(config, name) for name in ATTENTION_DROPOUT if getattr(config, name, 0)}
    if not computes_on_cpu():
        for name, rate in found.items():
            if name not in chosen:
                log.info("attention dropout: %s, as in the checkpoint's config; on a CPU none", rate)
        return {}
    spared = {name: rate for name, rate in found.items() if name not in chosen}
    for name, rate in spared.items():
        log.info(
            "attention dropout: none on a CPU, where it doubles the time of a step; "
            "--config_overrides %s=%s brings it back",
            name,
            rate,
        )
    return dict.fromkeys(spared, 0.0)


def refuse_longer(model: Module, tokens: int, max_length: int, said: str) -> None:
    """Raises `BadInput` where rows have more tokens than a model has positions.

    Args:
        model: What reads them.
        tokens: Of the longest row, or of the longest that may come.
        max_length: `--max_length`.
        said: The model, for the message.
    """
    limit = longest_text(model)
    if limit is not None and tokens > limit:
        raise BadInput(
            f"--max_length {max_length}: {said} reads {limit} tokens at most; pass --max_length {limit}"
        )
