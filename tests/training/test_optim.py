"""Who learns at which rate: depth of parameters, groups, freezing, optimizers, schedules."""

import warnings

import pytest
import torch

from hftune.errors import BadInput
from hftune.models.layers import layers_of
from hftune.settings.base import SCHEDULERS
from hftune.settings.text import TextSettings
from hftune.training import optim
from hftune.training.freezing import freeze
from tests.tiny import FAMILIES

BACKBONES = [*FAMILIES, "pooled"]


def test_a_small_model_is_one_layer(models):
    model = models["textcnn"]
    assert set(layers_of(model).values()) == {0}
    groups = optim.parameter_groups(model, TextSettings(head_lr_multiplier=10, layer_decay=0.5))
    assert {group["lr"] for group in groups} == {TextSettings().learning_rate}


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("family", [*BACKBONES, "textcnn"])
def test_no_parameter_is_lost_or_twice(models, family, layer_decay):
    model = models[family]
    groups = optim.parameter_groups(model, TextSettings(layer_decay=layer_decay))
    names = optim.names_in_groups(model, groups)
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize("family", BACKBONES)
def test_rates_fall_from_the_head_to_the_embeddings(models, family):
    model = models[family]
    settings = TextSettings(learning_rate=1e-3, layer_decay=0.5, head_lr_multiplier=10)
    groups = optim.parameter_groups(model, settings)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == {"head": 1e-2, "layer 2": 1e-3, "layer 1": 5e-4, "layer 0": 2.5e-4}
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        layer = layers_of(model)[name]
        assert rate_of[id(parameter)] == (1e-2 if layer is None else 1e-3 * 0.5 ** (2 - layer))


def test_without_layer_decay_there_are_a_backbone_and_a_head(models):
    groups = optim.parameter_groups(models["bert"], TextSettings(learning_rate=1e-3, head_lr_multiplier=10))
    assert {(group["name"], group["lr"]) for group in groups} == {("backbone", 1e-3), ("head", 1e-2)}
    head = sum(parameter.numel() for parameter in models["bert"].classifier.parameters())
    rest = sum(parameter.numel() for parameter in models["bert"].parameters()) - head
    assert optim.describe_groups(groups) == f"backbone {rest:,} at 0.001, head {head:,} at 0.01"


def test_frozen_parameters_are_in_no_group(models):
    model = models["bert"]
    count = freeze(model, r"embeddings|layer\.0\.")
    groups = optim.parameter_groups(model, TextSettings())
    names = optim.names_in_groups(model, groups)
    assert count + len(names) == len(list(model.named_parameters()))
    assert not any("embeddings" in name or "layer.0." in name for name in names)
    assert any("layer.1." in name for name in names)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw_torch", "AdamW"),
        ("adamw_torch_fused", "AdamW"),
        ("sgd", "SGD"),
        ("adagrad", "Adagrad"),
        ("timm_lamb", "Lamb"),
    ],
)
def test_every_optimizer_keeps_the_groups_rates_and_learns(models, name, kind):
    if name.startswith("timm_"):
        pytest.importorskip("timm")
    model = models["bert"]
    settings = TextSettings(optim=name, learning_rate=1e-2, head_lr_multiplier=2, weight_decay=0.3)
    groups = optim.parameter_groups(model, settings)
    expected = [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups]
    optimizer = optim.build_optimizer(groups, settings)
    assert type(optimizer).__name__ == kind
    got = [(group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    assert got == expected
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    ids = torch.randint(5, 50, (4, 9))
    model(input_ids=ids, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    optimizer.step()
    for name in ("classifier.weight", "bert.encoder.layer.0.attention.self.query.weight"):
        assert not torch.equal(dict(model.named_parameters())[name], before[name])


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(2, 2))


def test_optimizer_arguments_arrive():
    def build(**changes):
        return optim.build_optimizer([{"params": [parameter()], "name": "all"}], TextSettings(**changes))

    assert build(optim="sgd").defaults["momentum"] == 0.9
    assert build(optim="sgd", optim_args="momentum=0.5,nesterov=true").defaults["nesterov"] is True
    assert tuple(build(optim="adamw_torch", optim_args="betas=[0.9,0.98]").defaults["betas"]) == (0.9, 0.98)
    assert build(optim="adamw_torch_fused").defaults["fused"]
    assert not build(optim="adamw_torch").defaults["fused"]


@pytest.mark.parametrize(
    "changes",
    [
        {"optim": "sgd", "optim_args": "beta=1"},
        {"optim": "sgd", "optim_args": "momentum=-1"},
        {"optim": "adamw_torch", "optim_args": "eps=small"},
        {"optim": "adamw_torch", "optim_args": "betas=[0.9]"},
        {"optim": "adamw_torch", "optim_args": "lr=0.1"},
        {"optim": "adamw_torch_fused", "optim_args": "foreach=true"},
        {"optim": "adagrad", "optim_args": "momentum=0.9"},
        {"optim": "timm_lamb", "optim_args": "nosuch=1"},
        {"optim": "timm_nosuch"},
    ],
)
def test_what_an_optimizer_does_not_take_is_bad_input(changes):
    if changes["optim"].startswith("timm_"):
        pytest.importorskip("timm")
    settings = TextSettings(**changes)
    with pytest.raises(BadInput) as caught:
        optim.build_optimizer([{"params": [parameter()]}], settings)
    assert f"--optim {settings.optim}" in caught.value.message
    assert "\n" not in caught.value.message


NEEDED = {"cosine_with_min_lr": "min_lr_rate=0.1", "cosine_warmup_with_min_lr": "min_lr_rate=0.1"}
BY_SCORE = ("reduce_lr_on_plateau", "greedy")


def rates(name: str, steps: int = 20, **changes) -> list[float]:
    """Returns the rate of each step of a run."""
    settings = TextSettings(
        lr_scheduler_type=name, learning_rate=1.0, **{"lr_scheduler_kwargs": NEEDED.get(name), **changes}
    )
    optimizer = torch.optim.SGD([{"params": [parameter()], "lr": 1.0}])
    schedule = optim.build_schedule(optimizer, settings, steps, greater_is_better=True)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step(0.1 * step) if name in BY_SCORE else schedule.step()
            schedule.load_state_dict(schedule.state_dict())
    return found


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_schedule_lasts_for_the_run(name):
    found = rates(name, warmup_steps=0 if name in BY_SCORE else 0.25)
    assert len(found) == 20
    assert max(found) == pytest.approx(1)
    if name in ("linear", "cosine", "polynomial"):
        assert found[5] == 1
        assert 0 < found[-1] < 0.15
    if "warmup" in name or name in ("linear", "cosine", "inverse_sqrt"):
        assert found[0] < 0.3
        assert found[:5] == sorted(found[:5])


@pytest.mark.parametrize(("warmup", "steps"), [(0.25, 5), (5, 5), (0.99, 20), (1, 1), (0, 0)])
def test_warmup_below_one_is_a_share_of_the_run(warmup, steps):
    found = rates("constant_with_warmup", warmup_steps=warmup)
    assert found == pytest.approx([min(1, step / max(1, steps)) for step in range(20)] if steps else [1] * 20)


@pytest.mark.parametrize("better", [True, False])
def test_schedules_by_score_know_its_direction(better):
    """A score that rises for ever never lowers the rate, or does, if lower is better."""
    for name in BY_SCORE:
        settings = TextSettings(lr_scheduler_type=name, lr_scheduler_kwargs="patience=2,factor=0.5")
        optimizer = torch.optim.SGD([{"params": [parameter()], "lr": 1e-4}])
        schedule = optim.build_schedule(optimizer, settings, 20, greater_is_better=better)
        for step in range(8):
            schedule.step(0.1 * step)
        rate = optimizer.param_groups[0]["lr"]
        assert (rate >= 1e-4) == better, name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linear", "nosuch=1"),
        ("cosine_with_min_lr", None),
        ("reduce_lr_on_plateau", "factor=2"),
        ("polynomial", "lr_end=3"),
        ("constant", "num_cycles=2"),
        ("constant_with_warmup", "num_cycles=2"),
    ],
)
def test_what_a_schedule_does_not_take_is_bad_input(name, arguments):
    with pytest.raises(BadInput, match="lr_scheduler_kwargs") as caught:
        rates(name, lr_scheduler_kwargs=arguments)
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adahessian", "needs second derivatives"),
        ("bnbadam8bit", "CUDA required"),
        ("fusedlamb", "CUDA required"),
    ],
)
def test_an_optimizer_that_does_not_work_here_is_refused(name, words, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    groups = [{"params": [torch.nn.Parameter(torch.ones(2, 2))]}]
    with pytest.raises(BadInput, match=words) as caught:
        optim.build_optimizer(groups, TextSettings(optim=f"timm_{name}"))
    assert caught.value.message.startswith(f"--optim timm_{name}")
