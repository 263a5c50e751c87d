"""Losses: micro-batches add up to their batch, weights are scikit-learn's, smoothing is torch's."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks.losses import build_loss, class_weights
from tests.tiny import tiny_model

NAMES = ("bad", "fair", "good")
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 1)
KINDS = {
    "plain": {},
    "weighted": {"class_weight": "balanced"},
    "numbers": {"class_weight": "0.3,0,2"},
    "smoothed": {"label_smoothing_factor": 0.2},
    "both": {"class_weight": "balanced", "label_smoothing_factor": 0.2},
}


@pytest.fixture(scope="module")
def model():
    return tiny_model("bert", num_labels=3)


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(5, 50, (rows, 7), generator=random),
        "labels": torch.randint(0, 3, (rows,), generator=random),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(8, 3), (1,) * 11, (11,), (5, 1, 5)])
def test_micro_batches_add_up_to_the_whole(model, kind, sizes):
    """Weighted by their rows, in value and in gradient: also where a window ends with a shorter one."""
    loss = build_loss(TextSettings(**KINDS[kind]), LABELS, NAMES)
    batch = batch_of(11)
    whole = loss(model, batch)
    whole_gradient = torch.autograd.grad(whole, model.classifier.weight)[0]
    parts = [
        dict(zip(batch, values, strict=True))
        for values in zip(*(tensor.split(sizes) for tensor in batch.values()), strict=True)
    ]
    total = sum(loss(model, part) * (len(part["labels"]) / 11) for part in parts)
    gradient = torch.autograd.grad(total, model.classifier.weight)[0]
    torch.testing.assert_close(total, whole)
    torch.testing.assert_close(gradient, whole_gradient, atol=1e-6, rtol=1e-4)


def value_of(kind: dict, logits: torch.Tensor, labels: list[int], train=LABELS) -> float:
    """The loss of given logits."""
    model = lambda **inputs: SimpleNamespace(logits=logits)  # noqa: E731
    loss = build_loss(TextSettings(**kind), train, NAMES)
    return float(loss(model, {"input_ids": torch.zeros(1), "labels": torch.tensor(labels)}))


def test_a_rows_weight_scales_its_loss_and_its_smoothing():
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
    one, two = (cross_entropy(logits[i : i + 1], torch.tensor([i]), label_smoothing=0.2) for i in (0, 1))
    got = value_of({"class_weight": "0.5,3,1", "label_smoothing_factor": 0.2}, logits, [0, 1])
    assert got == pytest.approx(float(0.5 * one + 3 * two) / 2)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothing_alone_is_torchs(smoothing):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = [0, 1, 2, 2, 1, 0]
    expected = cross_entropy(logits, torch.tensor(labels), label_smoothing=smoothing)
    assert value_of({"label_smoothing_factor": smoothing}, logits, labels) == pytest.approx(float(expected))


def test_logits_in_half_precision_are_summed_in_float32():
    logits = torch.tensor([[1.3, 0.7, -2.1]] * 3, dtype=torch.bfloat16)
    expected = cross_entropy(logits.float(), torch.tensor([1, 1, 2]), label_smoothing=0.3)
    assert value_of({"label_smoothing_factor": 0.3}, logits, [1, 1, 2]) == pytest.approx(
        float(expected), rel=1e-6
    )


def test_without_options_it_is_the_models_own_loss(model):
    batch = batch_of(5)
    loss = build_loss(TextSettings(), LABELS, NAMES)
    assert torch.equal(loss(model, batch), model(**batch).loss)


@given(st.lists(st.integers(0, 2), max_size=30))
def test_balanced_weights_are_scikit_learns(more):
    labels = np.array([0, 1, 2, *more])
    weights = class_weights("balanced", labels, NAMES)
    assert weights.dtype == torch.float32
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert float(weights[labels].mean()) == pytest.approx(1)  # rates need no change


def test_a_class_without_rows_has_a_finite_weight():
    assert torch.isfinite(class_weights("balanced", np.array([0, 0, 2]), NAMES)).all()


def test_weights_are_read_in_the_order_of_the_classes():
    assert class_weights("0.25, 1,2.5", LABELS, NAMES).tolist() == [0.25, 1, 2.5]


@pytest.mark.parametrize("option", ["1,2", "1,2,3,4", "1,-2,3", "1,x,3", "even", "1,,3"])
def test_weights_that_do_not_fit_are_bad_input(option):
    with pytest.raises(BadInput) as caught:
        class_weights(option, LABELS, NAMES)
    assert f"--class_weight {option}" in caught.value.message
