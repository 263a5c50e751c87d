"""Byte-pair tokenizers that know a word by the blank before it, made to see one before each given word."""

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


def with_prefix_space(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Returns a tokenizer that reads a word that is given alone as it reads it within a text.

    RoBERTa's and its like take the first word of a text for another one than the same word behind a blank;
    words that are given one by one would all be first ones. Others are returned as they are.
    """
    if not tokenizer.is_fast:
        return tokenizer
    source: Any = tokenizer
    state = json.loads(source.backend_tokenizer.to_str())
    if not _set(state.get("pre_tokenizer")):
        return tokenizer
    _set(state.get("post_processor"))
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        name_or_path=source.name_or_path,
        **{name: str(token) for name, token in source.special_tokens_map.items() if isinstance(token, str)},
        extra_special_tokens=list(source.extra_special_tokens),
        model_max_length=source.model_max_length,
        truncation_side=source.truncation_side,
        padding_side=source.padding_side,
        model_input_names=source.model_input_names,
        clean_up_tokenization_spaces=source.clean_up_tokenization_spaces,
        split_special_tokens=source.split_special_tokens,
    )


def _set(part: Any) -> bool:
    """Turns `add_prefix_space` on in a step of a tokenizer, or the steps in it; says whether one was off."""
    if not isinstance(part, dict):
        return False
    inner = [step for name in ("pretokenizers", "processors") for step in part.get(name, [])]
    changed = [_set(step) for step in inner]
    if part.get("type") in ("ByteLevel", "RobertaProcessing") and part.get("add_prefix_space") is False:
        part["add_prefix_space"] = True
        return True
    return any(changed)
