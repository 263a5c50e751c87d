"""A tokenizer is set up in one way for training, for use, and for the files that are saved."""

from __future__ import annotations

import re
from typing import Any

from tokenizers import Regex, pre_tokenizers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

# Said when a tokenizer is made: whatever stands in a text is text, `</s>` and `[SEP]` too.
AS_WRITTEN = {"split_special_tokens": True}


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, *, pooled: bool = False
) -> PreTrainedTokenizerBase:
    """Makes a tokenizer read texts as they are written, and pad as its model needs it.

    All of it goes into the files that `save_pretrained` writes, so `pipeline` does the same.

    Args:
        tokenizer: Made with `AS_WRITTEN`.
        config: Of the model; it gets the `pad_token_id` if it has none.
        pooled: Whether a pooling of ours reads the states, which finds the last token itself.

    Returns:
        The tokenizer, or another with the same ids (see `_split_in_words`).

    Raises:
        ValueError: It has no words.
    """
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes up without a file
        raise ValueError("it has no words; copy the tokenizer's files of the model that it began as")
    if not tokenizer.is_fast and len(tokenizer.get_added_vocab()) > len(tokenizer.all_special_ids):
        tokenizer.split_special_tokens = False  # it would split the user's own tokens too
    elif tokenizer.is_fast:
        tokenizer = _split_in_words(tokenizer)
    if tokenizer.pad_token_id is None:  # the mask keeps it from being read, so any token will do
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or _plain_token(tokenizer)
    # A model that reads the last state (XLNet) has to find a token there; all others count positions from
    # the left.
    reads_last = getattr(config, "summary_type", None) == "last" and not pooled
    tokenizer.padding_side = "left" if reads_last else "right"
    tokenizer.init_kwargs["padding_side"] = tokenizer.padding_side  # what it is not made with is not saved
    inner = config.get_text_config()
    if getattr(inner, "pad_token_id", None) is None:  # such a model looks where the padding begins
        inner.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def obeyed(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Returns the special tokens that become the special token where a text has them written.

    The unknown token is none of them: as text it would be unknown as well.
    """
    found = []
    roles = [token for name, token in tokenizer.special_tokens_map.items() if name != "unk_token"]
    for token in dict.fromkeys([*roles, *tokenizer.extra_special_tokens]):
        number = tokenizer.convert_tokens_to_ids(token)
        # What is one sign, or looks like a word, cannot be cut: such a token pads where there was no other.
        if len(token) < 2 or not re.search(r"[^\w\s]", token):
            continue
        written = (token, f"a {token} a", f"a{token}a")
        ids = tokenizer(list(written), add_special_tokens=False, verbose=False)["input_ids"]
        if any(number in row for row in ids):
            found.append(token)
    return found


def _split_in_words(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Splits special tokens that are words of the vocabulary as well, as those of SentencePiece are.

    transformers no longer looks for them in a text, but the vocabulary still finds them. A cut behind the
    first sign hinders it; texts without such a token keep their ids. Only the general class of fast
    tokenizers reads such a cut back from tokenizer.json.
    """
    if not (tokens := obeyed(tokenizer)):
        return tokenizer
    source: Any = tokenizer
    backend = source.backend_tokenizer
    cuts = "|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in tokens)
    steps = [backend.pre_tokenizer] if backend.pre_tokenizer else []
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*steps, pre_tokenizers.Split(Regex(cuts), behavior="isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        name_or_path=source.name_or_path,
        **{name: str(token) for name, token in source.special_tokens_map.items() if isinstance(token, str)},
        extra_special_tokens=list(source.extra_special_tokens),
        model_max_length=source.model_max_length,
        truncation_side=source.truncation_side,
        model_input_names=source.model_input_names,
        clean_up_tokenization_spaces=source.clean_up_tokenization_spaces,
        **AS_WRITTEN,
    )


def _plain_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a special token, or else the last word of the vocabulary that `obeyed` passes over."""
    vocabulary = tokenizer.get_vocab()
    words = sorted(vocabulary, key=lambda word: vocabulary[word])
    added = tokenizer.get_added_vocab()
    plain = [word for word in words if re.fullmatch(r"[A-Za-z0-9]+", word) and word not in added]
    return [*(plain or words), *tokenizer.all_special_tokens][-1]


def longest_text(model: nn.Module) -> int | None:
    """Returns how many tokens a model's positions or windows allow; None where nothing limits them."""
    config: Any = model.config
    if in_windows := getattr(config, "longest_text", None):
        return in_windows
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is None or limit < 1:  # XLNet says -1
        return None
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            limit -= padding + 1  # RoBERTa and models like it count from behind the padding's position
    return limit
