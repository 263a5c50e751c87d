import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification

from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification


@pytest.fixture
def model():
    """A narrow net that has seen a batch, so that BatchNorm knows something."""
    torch.manual_seed(0)
    net = ResNet9ForImageClassification(ResNet9Config(width=4, num_labels=5))
    with torch.no_grad():
        net(pixel_values=torch.randn(16, 3, 32, 32))
    return net.eval()


def logits(model, images):
    with torch.no_grad():
        return model(pixel_values=images).logits


def test_logits_do_not_depend_on_neighbours(model):
    images = torch.randn(6, 3, 32, 32)
    together = logits(model, images)
    alone = torch.cat([logits(model, image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)  # it does look at them


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (32, 32), (64, 48)])
def test_any_image_of_8_pixels_fits(model, size):
    assert logits(model, torch.randn(2, 3, *size)).shape == (2, 5)


def test_a_layout_of_memory_changes_nothing(model):
    images = torch.randn(4, 3, 32, 32)
    expected = logits(model, images)
    model.to(memory_format=torch.channels_last)
    found = logits(model, images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_every_weight_learns(model):
    model.train()
    batch = {"pixel_values": torch.randn(10, 3, 32, 32), "labels": torch.arange(10) % 5}
    output = model(**batch)
    assert output.logits.shape == (10, 5)
    assert output.loss.item() == pytest.approx(
        torch.log(torch.tensor(5.0)).item(), abs=0.5
    )  # unsure at first
    output.loss.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_it_learns_a_batch_by_heart(model):
    model.train()
    batch = {"pixel_values": torch.randn(10, 3, 16, 16), "labels": torch.arange(10) % 5}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_width_sets_the_size():
    counts = [
        ResNet9ForImageClassification(ResNet9Config(width=width, num_labels=10)).num_parameters()
        for width in (4, 8)
    ]
    assert 3.5 < counts[1] / counts[0] < 4  # weights grow with its square


def test_it_is_found_by_name_and_travels_with_its_code(model, tmp_path):
    model.config.id2label = dict(enumerate("abcde"))
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.auto_map["AutoModelForImageClassification"] == "resnet9.ResNet9ForImageClassification"
    assert (tmp_path / "resnet9.py").is_file()
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert type(again) is ResNet9ForImageClassification
    assert again.config.id2label[4] == "e"
    images = torch.randn(2, 3, 20, 20)
    torch.testing.assert_close(logits(again, images), logits(model, images))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_strongest_response_is_that_of_max_pooling_to_the_bit(model, dtype, layout, monkeypatch):
    """The gradient too: where places share the maximum, as they often do in bf16, the first one gets it."""
    model = model.train().to(dtype)
    monkeypatch.setattr(model, "layers", torch.nn.Identity())
    monkeypatch.setattr(model, "classifier", torch.nn.Identity())
    maps = [torch.rand(4, 32, 4, 4).mul(8).floor().to(dtype).to(memory_format=layout) for _ in range(2)]
    maps[1] = maps[0].clone(memory_format=torch.preserve_format)
    ours, theirs = (each.requires_grad_() for each in maps)
    found = model(pixel_values=ours).logits
    expected = torch.nn.functional.adaptive_max_pool2d(theirs, 1).flatten(1) * model.config.logit_scale
    assert torch.equal(found, expected)
    weights = torch.randn(4, 32).to(dtype)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
