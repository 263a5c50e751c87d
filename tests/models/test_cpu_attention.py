"""Attention text by text is attention: the same values and gradients, whatever stands beside a text."""

import copy

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from hftune.models import cpu_attention
from hftune.models.cpu_attention import (
    NAME,
    PerSequenceAttention,
    rows_by_product,
    use_per_sequence_attention,
)
from tests.tiny import FAMILIES, tiny_model

LENGTHS = [7, 3, 1, 3]  # two of one length, which share a product
SHAPE = (4, 2, 7, 8)  # texts, heads, tokens, values of a head
IDS = torch.arange(4 * 7).view(4, 7) % 20 + 5
PADDING = torch.arange(7) < torch.tensor(LENGTHS)[:, None]  # (4, 7)


def inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


def test_values_and_gradients_are_those_of_attention():
    values = inputs(torch.float64)
    found = PerSequenceAttention.apply(*values, LENGTHS, 0.3)
    wanted = scaled_dot_product_attention(*values, attn_mask=PADDING[:, None, None], scale=0.3)
    seen = PADDING[:, None, :, None]
    assert torch.allclose(found * seen, wanted * seen, atol=1e-12)
    weight = torch.randn(SHAPE, dtype=torch.float64) * seen
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), values),
        torch.autograd.grad((wanted * weight).sum(), values),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_a_text_has_the_same_bits_with_and_without_padding_and_neighbours():
    values = inputs(torch.bfloat16)
    together = PerSequenceAttention.apply(*values, LENGTHS, 0.3)
    for row, length in enumerate(LENGTHS):
        alone = PerSequenceAttention.apply(*(x[row : row + 1, :, :length] for x in values), [length], 0.3)
        assert torch.equal(alone[0], together[row, :, :length])
        assert not together[row, :, length:].any()


def test_texts_of_one_length_share_a_product_as_far_as_they_fit(monkeypatch):
    lengths = [4, 4, 2, 4, 2, 4, 9]
    assert rows_by_product(lengths, heads=2) == [([0, 1, 3, 5], 4), ([2, 4], 2), (slice(6, 7), 9)]
    monkeypatch.setattr(cpu_attention, "MOST", 2 * 4**2 * 3)  # three texts of four tokens
    products = rows_by_product(lengths, heads=2)
    assert products == [([0, 1, 3], 4), (slice(5, 6), 4), ([2, 4], 2), (slice(6, 7), 9)]
    assert rows_by_product([2, 2, 2, 0], heads=2) == [(slice(0, 3), 2), (slice(3, 4), 0)]


def without_dropout(family: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = tiny_model(family, num_labels=3, **({"pad_token_id": 0} if family == "gpt2" else {}))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model.train()


def loss_and_gradient(model, padding, dtype) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = model(input_ids=IDS, attention_mask=padding.long(), labels=torch.tensor([0, 1, 2, 0])).loss
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(gradients)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_in_bf16_as_close_to_float32_as_with_torchs_own(family):
    stock = without_dropout(family)
    ours = copy.deepcopy(stock)
    use_per_sequence_attention(ours)
    loss, gradient = loss_and_gradient(stock, PADDING, torch.float32)
    stock_loss, stock_gradient = loss_and_gradient(stock, PADDING, torch.bfloat16)
    our_loss, our_gradient = loss_and_gradient(ours, PADDING, torch.bfloat16)
    assert abs(our_loss - loss) < 2 * abs(stock_loss - loss) + 1e-3
    assert (our_gradient - gradient).norm() < 1.5 * (stock_gradient - gradient).norm()


@pytest.fixture
def asked(monkeypatch):
    """Counts how often attention is computed text by text."""
    calls = []
    apply = PerSequenceAttention.apply

    def counted(*arguments):
        calls.append(arguments)
        return apply(*arguments)

    monkeypatch.setattr(PerSequenceAttention, "apply", counted)
    return calls


def test_an_encoder_in_training_attends_text_by_text(asked):
    model = without_dropout("bert")
    use_per_sequence_attention(model)
    loss_and_gradient(model, PADDING, torch.bfloat16)
    assert len(asked) == model.config.num_hidden_layers
    assert asked[0][3] == LENGTHS
    loss_and_gradient(model, torch.ones(4, 7), torch.bfloat16)
    assert asked[-1][3] == [7, 7, 7, 7]


@pytest.mark.parametrize(
    ("what", "family", "padding", "dtype"),
    [
        ("float32", "bert", PADDING, torch.float32),
        ("padding at the left end", "bert", PADDING.flip(1), torch.bfloat16),
        ("tokens that see only those before them", "gpt2", PADDING, torch.bfloat16),
    ],
)
def test_torchs_own_attention_does_what_cannot_be_done_so(what, family, padding, dtype, asked):
    stock = without_dropout(family)
    ours = copy.deepcopy(stock)
    use_per_sequence_attention(ours)
    theirs = loss_and_gradient(stock, padding, dtype)
    found = loss_and_gradient(ours, padding, dtype)
    assert not asked
    assert found[0] == theirs[0]
    assert torch.equal(found[1], theirs[1])


def test_dropout_of_attention_weights_stays_what_it_is(asked):
    torch.manual_seed(0)
    stock = tiny_model(
        "bert", num_labels=3, attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0
    ).train()
    ours = copy.deepcopy(stock)
    use_per_sequence_attention(ours)
    results = []
    for model in (stock, ours):
        torch.manual_seed(1)
        results.append(loss_and_gradient(model, PADDING, torch.bfloat16)[0])
    assert results[0] == results[1]
    assert not asked


@pytest.mark.parametrize("padding", [PADDING, torch.ones(4, 7, dtype=torch.bool)], ids=["padded", "whole"])
def test_answers_have_the_bits_of_torchs_own(padding, asked):
    stock = without_dropout("bert").eval()
    ours = copy.deepcopy(stock)
    use_per_sequence_attention(ours)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = [model(input_ids=IDS, attention_mask=padding.long()).logits for model in (stock, ours)]
    assert torch.equal(*logits)
    assert not asked


def test_a_window_of_tokens_is_kept(asked):
    """ModernBERT's layers see some tokens to each side only."""
    stock = without_dropout("modernbert")
    window = stock.config.sliding_window
    assert window is not None
    assert "sliding_attention" in stock.config.layer_types
    ours = copy.deepcopy(stock)
    use_per_sequence_attention(ours)
    ids = torch.arange(2 * (4 * window + 8)).view(2, -1) % 20 + 5
    losses = []
    for model in (stock, ours):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(
                model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0, 1]))
            )
    assert (losses[0].logits - losses[1].logits).abs().max() < 0.01
    assert len(asked) == stock.config.layer_types.count("full_attention")


def test_nothing_of_it_is_saved(tmp_path):
    model = without_dropout("bert")
    use_per_sequence_attention(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
