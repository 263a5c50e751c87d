"""The last layer of every kind of model: on another scale, and in float32 under autocast."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification

from hftune.errors import BadInput
from hftune.models.heads import head_layers
from hftune.models.scale import exact_output, last_layers, rescale
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification
from hftune.models.standalone.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification
from hftune.models.standalone.textcnn import TextCNNConfig, TextCNNForSequenceClassification
from tests.tiny import tiny_model

SMALL = {"vocab_size": 50, "num_labels": 1, "embedding_dim": 8}
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def of_texts(config_class, model_class, **changes):
    return lambda: model_class(config_class(**SMALL, **changes))


def deit():
    config = AutoConfig.for_model("deit", **VISION, image_size=32, patch_size=8, num_labels=1)
    from transformers import DeiTForImageClassificationWithTeacher

    return DeiTForImageClassificationWithTeacher(config)


def vit():
    config = AutoConfig.for_model("vit", **VISION, image_size=32, patch_size=8, num_labels=1)
    return AutoModelForImageClassification.from_config(config)


def of_timm(architecture: str):
    pytest.importorskip("timm")
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    return TimmWrapperForImageClassification(TimmWrapperConfig(architecture=architecture, num_labels=1))


def pooled(pooling: str):
    encoder = tiny_model("bert", num_hidden_layers=1).config
    config = PooledEncoderConfig(encoder_config=encoder, pooling=pooling, num_labels=1)
    return PooledEncoderForSequenceClassification(config)


MODELS = {
    "bag": of_texts(BagConfig, BagForSequenceClassification, num_buckets=50, hidden_size=1),
    "textcnn": of_texts(TextCNNConfig, TextCNNForSequenceClassification, num_filters=4),
    "bilstm": of_texts(BiLSTMConfig, BiLSTMForSequenceClassification, hidden_size=6),
    "attention": lambda: pooled("attention"),
    "mean": lambda: pooled("mean"),
    "bert": lambda: tiny_model("bert", num_labels=1),
    "electra": lambda: tiny_model("electra", num_labels=1),
    "distilbert": lambda: tiny_model("distilbert", num_labels=1),
    "roberta": lambda: tiny_model("roberta", num_labels=1),
    "modernbert": lambda: tiny_model("modernbert", num_labels=1),
    "resnet9": lambda: ResNet9ForImageClassification(ResNet9Config(width=4, num_labels=1)),
    "vit": vit,
    "two heads": deit,
    "timm": lambda: of_timm("resnet18"),
}


def batch_for(model) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(4, 3, 32, 32, generator=random)}
    ids = torch.randint(5, 30, (4, 7), generator=random)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def answers(model, batch) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(**batch).logits.double().numpy()


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_answers_on_another_scale(kind):
    torch.manual_seed(0)
    model = MODELS[kind]()
    with torch.no_grad():
        for layer in last_layers(model):
            layer.weight.normal_()
            layer.bias.fill_(0.3)
    batch = batch_for(model)
    before = answers(model, batch)
    assert before.std() > 1e-3
    rescale(model, {name: row[:1] for name, row in batch.items()}, 12_000.0, 50_000.0)
    after = answers(model, batch)
    np.testing.assert_allclose(after, 12_000 * before + 50_000, rtol=2e-6)
    rescale(model, batch, 1 / 12_000, -50_000 / 12_000)
    np.testing.assert_allclose(answers(model, batch), before, atol=2e-5)


def test_a_device_without_float64_is_scaled(device_without_float64):
    model = MODELS["textcnn"]()
    before = model.classifier.weight.tolist()
    rescale(model, batch_for(model), 2.0, 1.0)
    np.testing.assert_allclose(model.classifier.weight.tolist(), 2 * np.array(before), rtol=1e-6)


def test_rounding_is_that_of_one_weight():
    """Both, sigma W and sigma b + mu are rounded to float32 once, from float64."""
    torch.manual_seed(0)
    model = tiny_model("bert", num_labels=1)
    head = model.classifier
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    rescale(model, batch_for(model), 1234.5678, 9876.54321)
    assert torch.equal(head.weight, (1234.5678 * weight).float())
    assert torch.equal(head.bias, (1234.5678 * bias + 9876.54321).float())


def test_a_last_layer_without_a_bias_is_refused():
    with pytest.raises(BadInput, match="GPT2ForSequenceClassification has a last layer without a bias"):
        last_layers(tiny_model("gpt2", num_labels=1))


def test_a_model_that_bends_its_output_is_refused():
    class Bent(BagForSequenceClassification):
        def forward(self, *args, **kwargs):
            found = super().forward(*args, **kwargs)
            found.logits = found.logits.sigmoid()
            return found

    model = Bent(BagConfig(**SMALL, num_buckets=50))
    with pytest.raises(BadInput, match="Bent changes what its last layer puts out"):
        rescale(model, batch_for(model), 2.0, 1.0)


def test_the_attention_of_a_pooling_is_no_head():
    assert list(head_layers(pooled("attention"))) == ["classifier"]


def test_the_output_is_float32_under_autocast():
    torch.manual_seed(0)
    model = tiny_model("bert", num_labels=1).eval()
    batch = batch_for(model)
    rescale(model, batch, 1.0, 100_003.0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(**batch).logits.double()
        with exact_output(model):
            exact = model(**batch).logits.double()
    assert (rounded - 100_003).abs().min() > 100  # bf16 has no such number
    assert (exact - 100_003).abs().max() < 10
    assert "forward" not in vars(model.classifier)
    assert isinstance(model.classifier, nn.Linear)
