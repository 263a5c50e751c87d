"""Loads a pretrained classifier in float32, without pickles or foreign code, and refuses one with gaps."""

from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel

from hftune.data.base_model import why_not_loaded
from hftune.errors import BadInput

# What a model's constructor raises for numbers or names that do not suit it.
LOAD_ERRORS = (
    *(TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError),
    StrictDataclassError,
)


def load_pretrained(
    auto: Any, name: str, config: PreTrainedConfig, flags: str
) -> tuple[PreTrainedModel, set[str], set[str]]:
    """Loads a checkpoint under a config of other labels.

    Args:
        auto: One of transformers' Auto classes.
        name: Hub id or folder of the checkpoint.
        config: What the model becomes.
        flags: The flags that chose it, for messages.

    Returns:
        The model; the names of its weights that the checkpoint lacks, or has in another shape, which are
        random; and which of them are the latter.

    Raises:
        BadInput: There is no such checkpoint, it has only pickled weights, or does not fit the config.
    """
    try:
        model, found = auto.from_pretrained(
            name,
            config=config,
            output_loading_info=True,
            dtype=torch.float32,  # a checkpoint in half precision would train in half precision
            use_safetensors=True,  # a pickle is never opened
            ignore_mismatched_sizes=True,  # a classifier of other labels is replaced by a new one
            trust_remote_code=False,
        )
    except (OSError, SafetensorError, *LOAD_ERRORS) as error:
        if "memory" in str(error):  # there is too little for any such model
            raise
        raise BadInput(f"{flags}: {why_not_loaded(error)}") from None
    reshaped = {key for key, *_ in found["mismatched_keys"]}
    return model, {*found["missing_keys"], *reshaped}, reshaped


def refuse_random(absent: set[str], flags: str, advice: str = "") -> None:
    """Raises `BadInput` for a backbone that would start from random numbers unnoticed."""
    if absent:
        raise BadInput(
            f"{flags}: the checkpoint lacks {len(absent)} of the model's weights, or has them in another "
            f"shape{advice}",
            sorted(absent),
        )
