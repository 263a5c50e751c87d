"""Adapters beside linear layers: who learns, what is merged, and what peft makes of the files."""

import copy
import json
import sys

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from hftune.errors import BadInput
from hftune.models import lora
from hftune.models.cls_only import compute_cls_only
from hftune.models.cpu_attention import use_per_sequence_attention
from hftune.models.layers import layers_of
from hftune.settings.text import TextSettings
from hftune.training.optim import parameter_groups
from tests.tiny import FAMILIES, tiny_model

peft = pytest.importorskip("peft")
SETTINGS = TextSettings(lora_r=4, lora_dropout=0, model_name_or_path="acme/encoder", learning_rate=1e-3)
ROWS = {
    "input_ids": torch.arange(5, 53).reshape(4, 12),
    "attention_mask": torch.tensor([[1] * length + [0] * (12 - length) for length in (12, 9, 5, 2)]),
}


@pytest.fixture
def models(models):
    models["gpt2"].config.pad_token_id = 0
    return models


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**ROWS).logits


def learned(model, settings: TextSettings = SETTINGS):
    """Returns the model with adapters and a head that have learned something."""
    lora.inject(model, settings, ROWS)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("family", [*FAMILIES, "pooled"])
def test_merged_and_unmerged_and_the_base_with_the_adapter_in_peft_answer_alike(models, family, tmp_path):
    model, base = models[family], copy.deepcopy(models[family])
    kind, names, depths = type(model), list(model.state_dict()), layers_of(model)
    before = logits(model)
    lora.inject(copy.deepcopy(model), SETTINGS, ROWS)
    unmerged = logits(learned(model))
    adapter = lora.merge(model)
    merged = logits(model)
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=0)
    assert (merged - before).abs().max() > 0.1
    assert (type(model), list(model.state_dict())) == (kind, names)
    assert not hasattr(model, "peft_config")

    adapter.save(model, tmp_path / "adapter")
    assert {path.name for path in tmp_path.glob("*/*")} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(again), merged, atol=1e-5, rtol=0)
    assert type(again) is peft.PeftModelForSequenceClassification
    kept = [name for name, module in base.named_modules() if hasattr(module, "modules_to_save")]
    below = tuple(f"{name}." for name in kept)
    assert {name for name in depths if name.startswith(below)} == set(adapter.head)  # the head, nothing else
    assert set(adapter.head) == {name for name, depth in depths.items() if depth is None}


@pytest.mark.parametrize("family", ["bert", "pooled"])
def test_at_first_nothing_changes_and_only_adapters_and_head_learn(models, family):
    model, settings = models[family], SETTINGS.replace(head_lr_multiplier=10.0)
    head = {name for name, depth in layers_of(model).items() if depth is None}
    before, weights = logits(model), sum(parameter.numel() for parameter in model.parameters())
    lora.inject(model, settings, ROWS)
    assert torch.equal(logits(model), before)
    learn = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in learn if "lora_" not in name} == head
    rates = {group["name"]: group["lr"] for group in parameter_groups(model, settings)}
    assert rates == pytest.approx({"backbone": 1e-3, "head": 1e-2})
    trained, every = lora.count_learning(model)
    assert trained == sum(parameter.numel() for parameter in learn.values())
    assert every == weights + sum(p.numel() for name, p in learn.items() if name not in head)
    assert lora.merge(model).facts == {"trained_weights": trained, "trained_weights_share": trained / every}


def test_the_first_weights_have_an_address(models):
    drawn = []
    for state, seed in ((1, 42), (2, 42), (1, 7)):
        torch.manual_seed(state)
        model = copy.deepcopy(models["bert"])
        lora.inject(model, SETTINGS.replace(seed=seed), ROWS)
        drawn.append(model.bert.encoder.layer[1].output.dense.lora_A.default.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_which_layers_get_an_adapter(models, caplog):
    caplog.set_level("INFO", logger="hftune")
    model = models["bert"]
    model.bert.unused = torch.nn.Linear(4, 4)  # an adapter there would never learn
    lora.inject(copy.deepcopy(model), SETTINGS, ROWS)
    assert "no adapter beside 1 layers that are never called, such as bert.unused" in caplog.text
    assert "LoRA: rank 4, alpha 16, beside 13 linear layers; with the head " in caplog.text
    lora.inject(model, SETTINGS.replace(lora_target_modules=r"layer\.1\..*(query|value)"), ROWS)
    adapted = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert adapted == {f"bert.encoder.layer.1.attention.self.{name}" for name in ("query", "value")}


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_what_replaces_attention_passes_through_the_adapters(models, family):
    """Text by text on a CPU, and in the last layer for the first token alone."""
    model = learned(models[family])
    before = logits(model)
    use_per_sequence_attention(model)
    compute_cls_only(model)
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=0)
    model(**ROWS, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    learn = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name, gradient in learn.items() if not gradient.abs().sum() > 0] == []
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model(**ROWS, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_activations_computed_again_give_the_same_gradients():
    """What a frozen embedding puts out needs no gradient, which an older kind of it takes for the end."""
    model = tiny_model("bert", 3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    learned(model).train()
    found = []
    for again in (False, True):
        if again:
            model.activation_checkpointing_enable()
        model.zero_grad()
        model(**ROWS, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())
    torch.testing.assert_close(found[1], found[0])


def test_a_base_model_in_a_folder_is_named_without_its_place(models, tmp_path):
    folder = tmp_path / "my encoder"
    folder.mkdir()
    for name, said in ((str(folder), "my encoder"), ("acme/encoder", "acme/encoder")):
        model = learned(copy.deepcopy(models["bert"]), SETTINGS.replace(model_name_or_path=name))
        lora.merge(model).save(model, tmp_path / "adapter")
        text = (tmp_path / "adapter/adapter_config.json").read_text()
        assert json.loads(text)["base_model_name_or_path"] == said
        assert str(tmp_path) not in text


def test_what_has_nothing_to_adapt_is_refused(models):
    with pytest.raises(BadInput, match=r"^--lora_r 4: TextCNNFor.* has no backbone apart from its head"):
        lora.inject(models["textcnn"], SETTINGS, ROWS)
    convolutions = ResNetForImageClassification(ResNetConfig(hidden_sizes=[8], depths=[1], num_labels=2))
    with pytest.raises(BadInput, match=r"^--lora_r 4: ResNetFor.* has linear layers in its head alone"):
        lora.inject(convolutions, SETTINGS, {"pixel_values": torch.zeros(1, 3, 32, 32)})
    pattern = SETTINGS.replace(lora_target_modules="nosuch")
    with pytest.raises(BadInput, match=r"^--lora_target_modules nosuch: no linear layer") as caught:
        lora.inject(models["bert"], pattern, ROWS)
    assert "bert.encoder.layer.0.attention.self.query" in caught.value.details
    assert not any("classifier" in name for name in caught.value.details)
    models["bert"].bert.unused = torch.nn.Linear(4, 4)
    with pytest.raises(BadInput, match=r"^--lora_target_modules unused: .* calls none of these layers"):
        lora.inject(models["bert"], SETTINGS.replace(lora_target_modules="unused"), ROWS)


def test_without_peft_the_command_that_installs_it_is_said(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(BadInput, match=r"^--lora_r 4 needs peft: pip install 'hftune\[lora\]'$"):
        lora.inject(models["bert"], SETTINGS, ROWS)
