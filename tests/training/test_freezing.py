"""What is frozen stays, thaws when its time comes, and BatchNorm keeps its statistics."""

import copy
from types import SimpleNamespace

import pytest
import torch

from hftune.errors import BadInput
from hftune.models.layers import layers_of
from hftune.training.freezing import (
    check_unfreezing,
    freeze,
    freeze_statistics,
    gradual_unfreezing,
    rows_needed,
)
from tests.tiny import FAMILIES

BACKBONES = [*FAMILIES, "pooled"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "not a regular expression"), ("nosuch", "no parameter has such a name"), (".", "nothing is left")],
)
def test_freeze_says_what_is_wrong(models, pattern, message):
    with pytest.raises(BadInput, match=message) as caught:
        freeze(models["bert"], pattern)
    assert f"--freeze {pattern}" in caught.value.message
    if pattern == "nosuch":
        assert "classifier.weight" in caught.value.details


def trainable(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", BACKBONES)
def test_thawing_goes_down_from_the_head(models, family):
    model = models[family]
    after_step = gradual_unfreezing(0.5, steps_per_epoch=8)  # a layer every 4 steps
    lowest = []
    for steps in range(14):
        after_step(steps, model)
        depths = {layers_of(model)[name] for name in trainable(model)}
        assert depths == {None, *(depth for depth in (0, 1, 2) if depth >= 3 - steps // 4)}
        lowest.append(len(depths))
    assert lowest == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 2


@pytest.mark.parametrize("steps", [0, 1, 4, 7, 8, 11, 12, 99])
def test_thawing_depends_on_the_number_of_steps_alone(pristine, steps):
    """A resumed run calls it with its first step directly."""
    through, at_once = copy.deepcopy(pristine["bert"]), copy.deepcopy(pristine["bert"])
    stepping, resumed = (gradual_unfreezing(0.5, steps_per_epoch=8) for _ in range(2))
    for model in (through, at_once):
        freeze(model, r"layer\.1\..*bias|classifier\.bias")
    for step in range(steps + 1):
        stepping(step, through)
    resumed(steps, at_once)
    assert trainable(through) == trainable(at_once)


def test_thawing_leaves_frozen_what_the_user_froze(models):
    model = models["bert"]
    freeze(model, "embeddings")
    after_step = gradual_unfreezing(1, steps_per_epoch=1)
    after_step(0, model)
    after_step(100, model)
    every = {name for name, _ in model.named_parameters()}
    assert trainable(model) == {name for name in every if "embeddings" not in name}


@pytest.mark.parametrize("family", BACKBONES)
def test_the_backbone_is_everything_but_the_head(models, family):
    model = models[family]
    freeze(model, "backbone")
    layers = layers_of(model)
    assert trainable(model) == {name for name, layer in layers.items() if layer is None} != set()


def test_a_model_without_a_backbone_has_none_to_freeze(models):
    with pytest.raises(BadInput, match="has no backbone apart from its head"):
        freeze(models["textcnn"], "backbone")


def small_network() -> torch.nn.Sequential:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4))
    network[2].running_mean.fill_(0.5)
    return network


def statistics(network) -> list[torch.Tensor]:
    return [
        tensor.clone()
        for norm in (network[1], network[2])
        for tensor in (norm.running_mean, norm.running_var)
    ]


def test_kept_statistics_stay_and_are_used_while_training():
    network, images = small_network(), torch.rand(8, 3, 6, 6)
    expected = network.eval()(images)
    freeze_statistics(network, everywhere=True)
    before = statistics(network)
    torch.testing.assert_close(network.train()(images), expected)
    for was, now in zip(before, statistics(network), strict=True):
        torch.testing.assert_close(was, now, rtol=0, atol=0)
    assert network[0].training
    assert network[1].weight.requires_grad


def test_statistics_stay_with_frozen_weights_alone():
    network = small_network()
    freeze_statistics(network, everywhere=False)
    network[2].weight.requires_grad_(False)
    before = statistics(network)
    network.train()(torch.rand(8, 3, 6, 6))
    after = statistics(network)
    assert [torch.equal(was, now) for was, now in zip(before, after, strict=True)] == [
        False,
        False,
        True,
        True,
    ]
    network[2].weight.requires_grad_(True)  # thawed, as gradual unfreezing does
    network.train()(torch.rand(8, 3, 6, 6))
    assert not torch.equal(after[2], network[2].running_mean)


def test_a_copy_keeps_its_own_statistics():
    """Averaged weights are a copy of the model, and must not reach back into it."""
    network = small_network()
    freeze_statistics(network, everywhere=True)
    twin = copy.deepcopy(network).eval()
    network.train()
    assert not twin[1].training
    twin[1].train()
    assert network[0].training


@pytest.mark.parametrize("kind", ["textcnn", "bert", "frozen"])
def test_unfreezing_needs_a_head_that_trains_first(models, kind):
    if kind == "textcnn":
        with pytest.raises(BadInput, match="TextCNNForSequenceClassification has no backbone apart from"):
            check_unfreezing(models["textcnn"])
        return
    freeze(models["bert"], "encoder|classifier.bias" if kind == "bert" else "classifier")
    if kind == "bert":
        check_unfreezing(models["bert"])
        return
    with pytest.raises(BadInput, match="the head trains first, but --freeze keeps all of it"):
        check_unfreezing(models["bert"])


class Pooling(torch.nn.Module):
    """Normalises images, and what is pooled of them."""

    def __init__(self, places: int):
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.pool = torch.nn.AdaptiveAvgPool2d(places)
        self.norm = torch.nn.BatchNorm2d(4)
        self.seen = []

    def forward(self, pixel_values):
        self.seen.append(len(pixel_values))
        return self.norm(self.pool(self.stem(pixel_values))).mean((2, 3))


def one_row(batch_of=dict) -> SimpleNamespace:
    rows = {0: {"pixel_values": torch.rand(3, 6, 6), "labels": 1}}

    def collate(rows):
        return batch_of(pixel_values=torch.stack([row["pixel_values"] for row in rows]), labels=None)

    return SimpleNamespace(train=rows, collate=collate)


@pytest.mark.parametrize(
    ("places", "frozen", "needed", "tried"),
    [(1, None, 2, [1]), (2, None, 1, [1]), (1, "everywhere", 1, []), (1, "weights", 1, [1])],
)
def test_rows_that_batch_norm_needs(places, frozen, needed, tried):
    network = Pooling(places)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if frozen == "weights":
        network.norm.requires_grad_(False)
    freeze_statistics(network, everywhere=frozen == "everywhere")
    assert rows_needed(network, one_row()) == needed
    assert network.seen == tried  # no model is tried that has nothing to be found out
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    network.train()
    if needed == 2:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            network(torch.rand(1, 3, 6, 6))
    else:
        network(torch.rand(1, 3, 6, 6))


def test_a_batch_that_only_its_loss_reads_says_nothing():
    assert rows_needed(Pooling(1), one_row(lambda **_: {"pair": torch.ones(1)})) == 1
