"""Attention for training an encoder in bf16 on a CPU: text by text, as plain products.

torch's fused attention saves memory, which on a GPU is the bottleneck. Its backward on a CPU is what takes
the time in bf16: plain products of one text at a time fit the cache, run at the processor's bf16 rate, and
meet no padding. Short texts of one length share a product, since a call takes longer than the work in it.
What is measured stands in benchmarks/README.md.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import FunctionCtx, once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

NAME = "hftune_text_by_text"
MOST = 2**18  # weights of one product, unless one text has more: half a megabyte in bf16


def use_per_sequence_attention(model: PreTrainedModel) -> None:
    """Lets an encoder compute attention by `attention_forward` from now on; nothing of that is saved.

    A model whose attention transformers cannot exchange keeps its own.
    """
    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, padding_or_mask)
    backbone = getattr(model, model.base_model_prefix, model)
    if backbone.config._attn_implementation == "sdpa" and backbone._can_set_attn_implementation():
        backbone.set_attn_implementation(NAME)


def padding_or_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = bidirectional_mask_function,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """Makes the mask that every layer of a forward pass gets (an entry of transformers' mask interface).

    Returns:
        bool (B, L), the tokens that are no padding, where all padding is at the right end and nothing else
        is hidden; None where there is no padding; otherwise what torch's own attention takes.
    """
    if mask_function is bidirectional_mask_function and q_length == kv_length and attention_mask is not None:
        padding = attention_mask.bool()
        if padding.all():
            return None
        if padding.shape == (batch_size, q_length) and (padding[:, :-1] >= padding[:, 1:]).all():
            return padding
    return sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        **kwargs,
    )


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Computes attention (an entry of transformers' attention interface).

    Text by text where it is the faster way: in bf16, with a gradient, without dropout, and with every
    token seeing all of its text. torch's own attention does everything else.

    Args:
        module: The layer.
        query: (B, heads, L, D), as `key` and `value`.
        key: See `query`.
        value: See `query`.
        attention_mask: What `padding_or_mask` made.
        dropout: Of the attention weights.
        scaling: Of the products of query and key; None: `D ** -0.5`.
        kwargs: What else the layer says, such as `is_causal`.

    Returns:
        (B, L, heads, D), and None for the weights, which are not kept.
    """
    whole = attention_mask is None or attention_mask.dim() == 2
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    plain = query.shape == key.shape == value.shape and kwargs.get("position_bias") is None
    if whole and learns and plain and not causal and not dropout and query.dtype == torch.bfloat16:
        rows, _, longest, size = query.shape
        lengths = [longest] * rows if attention_mask is None else attention_mask.sum(1).tolist()
        scale = size**-0.5 if scaling is None else scaling
        return PerSequenceAttention.apply(query, key, value, lengths, scale).transpose(1, 2), None
    if whole and attention_mask is not None:
        attention_mask = attention_mask[:, None, None, :].expand(-1, 1, query.shape[2], -1)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )


class PerSequenceAttention(torch.autograd.Function):
    """softmax(scale * query @ key^T) @ value of each text without its padding.

    The weights are kept for the backward pass, in the number format of `query`: 2 bytes for each head
    and pair of tokens of a text.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: Sequence[int],
        scale: float,
    ) -> torch.Tensor:
        """Returns (B, heads, L, D); zeros where there is padding."""
        result = torch.zeros_like(query)
        products = rows_by_product(lengths, query.shape[1])
        kept = []
        for rows, length in products:
            q, k, v = (texts(x, rows, length) for x in (query, key, value))
            weights = torch.softmax(scaled(q, k.transpose(1, 2), scale), -1, dtype=query.dtype)
            put(result, rows, length, torch.bmm(weights, v))
            kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.products, ctx.scale = products, scale  # type: ignore[attr-defined]
        return result

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None, None]:
        """Returns the gradients of query, key and value."""
        query, key, value, *kept = ctx.saved_tensors
        of_query, of_key, of_value = (torch.zeros_like(x) for x in (query, key, value))
        for (rows, length), weights in zip(ctx.products, kept, strict=True):
            q, k, v, g = (texts(x, rows, length) for x in (query, key, value, gradient))
            put(of_value, rows, length, torch.bmm(weights.transpose(1, 2), g))
            of_weights = torch.bmm(g, v.transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            put(of_query, rows, length, scaled(of_scores, k, ctx.scale))
            put(of_key, rows, length, scaled(of_scores.transpose(1, 2), q, ctx.scale))
        return of_query, of_key, of_value, None, None


def rows_by_product(lengths: Sequence[int], heads: int) -> list[tuple[list[int] | slice, int]]:
    """Returns the rows of each product, texts of one length that have `MOST` weights, and their length."""
    of_length: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        of_length.setdefault(length, []).append(row)
    products: list[tuple[list[int] | slice, int]] = []
    for length, rows in of_length.items():
        most = max(1, MOST // (heads * max(1, length) ** 2))
        for first in range(0, len(rows), most):
            some = rows[first : first + most]
            beside = some[-1] - some[0] == len(some) - 1  # a slice, which is no copy
            products.append((slice(some[0], some[-1] + 1) if beside else some, length))
    return products


def texts(x: torch.Tensor, rows: list[int] | slice, length: int) -> torch.Tensor:
    """Returns some texts of (B, heads, L, D) without their padding, (texts * heads, length, D)."""
    return x[rows, :, :length].flatten(0, 1)


def put(x: torch.Tensor, rows: list[int] | slice, length: int, values: torch.Tensor) -> None:
    """Writes what `texts` takes."""
    x[rows, :, :length] = values.unflatten(0, (-1, x.shape[1]))


def scaled(left: torch.Tensor, right: torch.Tensor, scale: float) -> torch.Tensor:
    """Returns `scale * left @ right` of (heads, M, K) and (heads, K, N), rounded once."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=scale)
