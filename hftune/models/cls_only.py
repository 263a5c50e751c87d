"""The last layer of an encoder, computed for the first token alone where the classifier reads no other.

Every token stays a key and a value of that layer's attention. What falls away are the queries of the
others, and their way through the feed-forward network: of six layers a seventh of all products, forward
and backward, of twelve layers a fourteenth. What is measured stands in benchmarks/README.md.
"""

from types import MethodType
from typing import Any

import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from hftune.models.cpu_attention import NAME, attention_forward

BERT_SHAPED = ("bert", "camembert", "electra", "roberta", "xlm-roberta")


def compute_cls_only(model: PreTrainedModel) -> None:
    """Lets the last layer of a text classifier compute the state of the first token only.

    Logits, loss and gradients stay what they are, up to rounding. The backbone's `last_hidden_state`
    becomes (B, 1, H), so this is for code that reads logits and loss alone. Nothing of it is saved. A
    model of another architecture than those below, or one that reads more than its first token, stays as
    it is.

    Args:
        model: Any model. Padding stands at the right end of its texts.
    """
    if not _reads_first_token(model):
        return
    backbone: Any = model.base_model
    if backbone.config._attn_implementation not in ("sdpa", NAME):
        return
    if backbone.config.model_type in BERT_SHAPED and not backbone.config.is_decoder:
        attention = backbone.encoder.layer[-1].attention
        attention.forward = MethodType(_attention_of_bert, attention)
    elif backbone.config.model_type == "distilbert":
        layer = backbone.transformer.layer[-1]
        layer.forward = MethodType(_layer_of_distilbert, layer)


def _reads_first_token(model: PreTrainedModel) -> bool:
    config: Any = model.config
    if config.model_type == "pooled_encoder":
        return config.pooling == "cls"
    # The classifiers that transformers has for these architectures do.
    return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None) is type(model)


def _attention_of_bert(
    attention: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Does what `BertAttention` does, (B, L, H) -> (B, 1, H)."""
    first = hidden_states[:, :1]
    layer = attention.self
    query, key, value = layer.query(first), layer.key(hidden_states), layer.value(hidden_states)
    return attention.output(_attend(layer, query, key, value, attention_mask), first), None


def _layer_of_distilbert(
    layer: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
) -> torch.Tensor:
    """Does what DistilBERT's `TransformerBlock` does, (B, L, H) -> (B, 1, H)."""
    first = hidden_states[:, :1]
    attention = layer.attention
    query, key, value = (
        attention.q_lin(first),
        attention.k_lin(hidden_states),
        attention.v_lin(hidden_states),
    )
    attended = attention.out_lin(_attend(attention, query, key, value, attention_mask))
    attended = layer.sa_layer_norm(attended + first)
    return layer.output_layer_norm(layer.ffn(attended) + attended)


def _attend(
    layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Returns what the first token sees, (B, 1, H).

    Args:
        layer: Knows the size of its heads and its dropout.
        query: Of the first token, (B, 1, H).
        key: Of all tokens, (B, L, H).
        value: As `key`.
        mask: bool (B, L), True where there is a token, or (B, 1, L, L); None where there is no padding.
    """
    query, key, value = (
        x.unflatten(-1, (-1, layer.attention_head_size)).transpose(1, 2) for x in (query, key, value)
    )
    if mask is not None and mask.dim() == 4:
        mask = mask[:, :, :1]
    dropout = layer.dropout.p if layer.training else 0.0
    seen, _ = attention_forward(layer, query, key, value, mask, dropout=dropout, scaling=layer.scaling)
    return seen.flatten(2)
