"""Blended rows: targets fit their images, equal addresses give equal blends, nothing is left behind."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from hftune.errors import BadInput
from hftune.seed import seed_torch
from hftune.settings.image import ImageSettings
from hftune.tasks.mixup import mixing_loss

pytest.importorskip("timm")

LABELS = 4
KINDS = {"mixup": {"mixup": 0.8}, "cutmix": {"cutmix": 1.0}, "both": {"mixup": 0.8, "cutmix": 1.0}}


class Watched(nn.Module):
    """Logits that depend on the image, and a note of what came in.

    Channel c of an image is full of 1 if its label is c, else of 0: so the mean of each channel says
    which share of a blend is whose.
    """

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(LABELS))
        self.dtype = dtype

    def forward(self, pixel_values: torch.Tensor, **others: torch.Tensor) -> SimpleNamespace:
        self.seen, self.others = pixel_values, others
        self.logits = ((pixel_values.mean((2, 3)) @ self.weight) * 3).to(self.dtype)
        return SimpleNamespace(logits=self.logits)


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    labels = torch.arange(rows) * 3 % LABELS
    images = one_hot(labels, LABELS).float()[:, :, None, None].repeat(1, 1, 16, 16)
    return {"pixel_values": images.contiguous(memory_format=torch.channels_last), "labels": labels}


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(targets * logits.float().log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 7, 8])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_targets_are_the_shares_of_the_images(kind, rows, smoothing):
    loss = mixing_loss(ImageSettings(**KINDS[kind], label_smoothing_factor=smoothing), LABELS)
    model, batch = Watched().train(), batch_of(rows)
    for step in range(6):
        seed_torch("dropout", 1, step, 0)
        value = loss(model, batch)
        shares = model.seen.mean((2, 3))  # (B, C): of which class how much is in the image
        targets = shares * (1 - smoothing) + smoothing / LABELS
        torch.testing.assert_close(value, soft_cross_entropy(model.logits, targets))
        if rows % 2:
            assert torch.equal(model.seen[-1], batch["pixel_values"][-1])
        if rows > 2:
            assert not torch.equal(model.seen, batch["pixel_values"])


def test_cutmix_pastes_and_mixup_blends():
    batch = batch_of(8)
    for kind, pure in (("mixup", False), ("cutmix", True)):
        model = Watched().train()
        seed_torch("dropout", 3, 0, 0)
        mixing_loss(ImageSettings(**KINDS[kind]), LABELS)(model, batch)
        assert bool(((model.seen == 0) | (model.seen == 1)).all()) is pure


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_says_the_blend_and_numpy_has_no_part_in_it(kind):
    loss = mixing_loss(ImageSettings(**KINDS[kind]), LABELS)
    batch = batch_of(6)

    def seen_at(step: int, numpy_seed: int) -> torch.Tensor:
        np.random.seed(numpy_seed)
        before = np.random.get_state()
        seed_torch("dropout", 1, step, 0)
        model = Watched().train()
        loss(model, batch)
        after = np.random.get_state()
        assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))
        return model.seen

    assert torch.equal(seen_at(5, numpy_seed=1), seen_at(5, numpy_seed=2))
    assert not torch.equal(seen_at(5, numpy_seed=1), seen_at(6, numpy_seed=1))


def test_numpys_state_comes_back_when_the_blend_fails():
    loss = mixing_loss(ImageSettings(mixup=0.5), LABELS)
    state = np.random.get_state()[1].copy()
    batch = {**batch_of(4), "pixel_values": torch.zeros(4, 1, dtype=torch.int64)}  # cannot be scaled in place
    with pytest.raises(RuntimeError):
        loss(Watched().train(), batch)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_is_left_as_it_was(kind):
    loss = mixing_loss(ImageSettings(**KINDS[kind]), LABELS)
    batch = {**batch_of(5), "extra": torch.ones(5)}
    copies = {name: tensor.clone() for name, tensor in batch.items()}
    model = Watched().train()
    seed_torch("dropout", 1, 0, 0)
    loss(model, batch).backward()
    assert batch.keys() == copies.keys()
    assert all(torch.equal(batch[name], copies[name]) for name in copies)
    assert model.others.keys() == {"extra"}
    assert model.seen.is_contiguous(memory_format=torch.channels_last)
    assert model.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_in_eval_mode_nothing_is_blended(smoothing):
    loss = mixing_loss(ImageSettings(mixup=1.0, label_smoothing_factor=smoothing), LABELS)
    model, batch = Watched().eval(), batch_of(6)
    value = loss(model, batch)
    assert torch.equal(model.seen, batch["pixel_values"])
    expected = cross_entropy(model.logits, batch["labels"], label_smoothing=smoothing)
    torch.testing.assert_close(value, expected)


def test_logits_in_half_precision_are_summed_in_float32():
    loss = mixing_loss(ImageSettings(mixup=1.0), LABELS)
    model = Watched(torch.bfloat16).train()
    seed_torch("dropout", 1, 0, 0)
    value = loss(model, batch_of(8))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, soft_cross_entropy(model.logits, model.seen.mean((2, 3))))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_without_timm_the_message_names_the_extra(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "timm.data.mixup", None)
    with pytest.raises(BadInput, match=rf"--{kind}.*hftune\[image\]"):
        mixing_loss(ImageSettings(**KINDS[kind]), LABELS)
