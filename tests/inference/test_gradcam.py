"""Heat maps: the equations, the right layer in every family, and the places that hold what was seen."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    pipeline,
)

from hftune.errors import BadInput
from hftune.inference.gradcam import heatmap, last_map
from hftune.inference.load import load_model
from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification
from hftune.report.plots import images as gallery
from tests.cli.test_cli import hftune
from tests.data.image.test_splits import painted
from tests.inference.test_load import save_images_model
from tests.tiny import tiny_checkpoint

pytest.importorskip("captum")


def resnet9() -> nn.Module:
    return ResNet9ForImageClassification(ResNet9Config(width=4, num_labels=3))


def resnet() -> nn.Module:
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    return ResNetForImageClassification(config)


def convnext() -> nn.Module:
    return ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=3)
    )


def vit() -> nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=3, attn_implementation="eager")
    return ViTForImageClassification(config)


def swin() -> nn.Module:
    config = SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2, num_labels=3
    )
    return SwinForImageClassification(config)


def of_timm(name: str) -> nn.Module:
    pytest.importorskip("timm")
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    return TimmWrapperForImageClassification(
        TimmWrapperConfig(architecture=name, num_labels=3, do_pooling=True)
    )


BUILDERS = {
    "resnet9": resnet9,
    "resnet": resnet,
    "convnext": convnext,
    "timm resnet": lambda: of_timm("test_resnet"),
    "timm convnext": lambda: of_timm("test_convnext"),
    "timm mobilenet": lambda: of_timm("mobilenetv2_035"),
    "vit": vit,
    "swin": swin,
    "timm vit": lambda: of_timm("test_vit"),
}
SIZES = {"timm vit": 160, "timm mobilenet": 64, "timm resnet": 96}  # pixels; the others: 32


def built(family: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    size = SIZES.get(family, 32)
    model = BUILDERS[family]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one batch sets it, else the signal fades from layer to layer
    with torch.no_grad():
        model.train()(pixel_values=torch.randn(8, 3, size, size))
    return model.eval(), torch.randn(1, 3, size, size)


class Corner(nn.Module):
    """Two features, the red and the blue of each 4 x 4 block; class 0 likes red, class 1 blue."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.blocks.weight.zero_()
            self.blocks.weight[0, 0], self.blocks.weight[1, 2] = 1 / 16, 1 / 16
            self.head.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.blocks(pixel_values).mean((2, 3))))


def test_the_heat_is_where_the_class_is():
    image = torch.zeros(1, 3, 32, 48)
    image[0, 0, :12, :12] = 1  # red above on the left
    image[0, 2, 20:, 36:] = 1  # blue below on the right
    red, blue = heatmap(Corner(), image, 0), heatmap(Corner(), image, 1)
    assert red.shape == blue.shape == (32, 48)
    assert red.dtype == np.float32
    assert min(red[:8, :8].min(), blue[-8:, -8:].min()) > 1 - 1e-6
    assert red[16:].max() == blue[:16].max() == 0


@pytest.mark.parametrize(
    "family", ["resnet9", "resnet", "convnext", "timm resnet", "timm convnext", "timm mobilenet"]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_heat_map_is_equations_1_and_2_of_the_paper(family, frozen):
    model, image = built(family)
    model.requires_grad_(not frozen)
    maps = []
    hook = last_map(model, image).register_forward_hook(
        lambda module, inputs, output: maps.append(
            output if output.requires_grad else output.requires_grad_()
        )
    )
    logits = model(pixel_values=image.clone().requires_grad_()).logits
    hook.remove()
    assert maps[0].ndim == 4
    warm = 0
    for label in range(3):
        (gradient,) = torch.autograd.grad(logits[0, label], maps[0], retain_graph=True)
        weights = gradient.mean((2, 3), keepdim=True)
        expected = (weights * maps[0]).sum(1, keepdim=True).relu()
        expected = interpolate(expected, image.shape[-2:], mode="bilinear")[0, 0]
        expected = (expected / expected.max().clamp(min=1e-30)).detach().numpy()
        heat = heatmap(model, image, label)
        np.testing.assert_allclose(heat, expected, atol=1e-4)
        assert heat.min() >= 0
        assert heat.max() in (0, 1)
        warm += heat.max()
    assert warm, "every map is cold: nothing was compared"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert image.grad is None


@pytest.mark.parametrize("family", ["resnet9", "resnet", "convnext", "timm resnet", "timm mobilenet"])
def test_the_last_map_is_what_is_pooled(family):
    """Nothing that mixes places comes after it: its mean or maximum over places decides the logits."""
    model, image = built(family)
    module = last_map(model, image)

    def logits_of(change) -> torch.Tensor:
        hook = module.register_forward_hook(lambda module, inputs, output: change(output))
        with torch.no_grad():
            logits = model(pixel_values=image).logits
        hook.remove()
        return logits

    torch.testing.assert_close(logits_of(lambda map_: map_.flip(2).mT.flip(3)), logits_of(lambda map_: map_))
    assert not torch.allclose(logits_of(lambda map_: map_.roll(1, 1)), logits_of(lambda map_: map_))


def test_a_smaller_image_takes_an_earlier_map():
    model, _ = built("resnet9")
    small, large = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 32, 32)
    assert last_map(model, small) is not last_map(model, large)
    assert heatmap(model, small, 0).shape == (8, 8)


@pytest.mark.parametrize("family", ["vit", "swin", "timm vit"])
def test_a_model_of_tokens_has_no_map(family):
    model, image = built(family)
    with pytest.raises(BadInput, match=type(model).__name__):
        heatmap(model, image, 0)


def test_features_in_the_last_place_are_no_map():
    class FeaturesLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.norm, self.head = (
                nn.Conv2d(3, 40, 4, stride=4),
                nn.LayerNorm(40),
                nn.Linear(40, 2),
            )

        def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(
                logits=self.head(self.norm(self.blocks(pixel_values).movedim(1, 3)).mean((1, 2)))
            )

    with pytest.raises(BadInput, match="FeaturesLast"):
        last_map(FeaturesLast(), torch.zeros(1, 3, 64, 64))


def test_a_class_that_nothing_speaks_for_is_all_cold():
    blue = torch.zeros(1, 3, 16, 16)
    blue[0, 2] = 1
    assert np.array_equal(heatmap(Corner(), blue, 0), np.zeros((16, 16), np.float32))


def test_a_model_in_training_is_read_in_eval_mode_and_no_hook_stays():
    model, image = built("resnet9")
    means = model.layers[0][1].running_mean.clone()
    expected = heatmap(model, image, 0)
    with torch.no_grad():
        assert np.array_equal(heatmap(model.train(), image, 0), expected)
    assert torch.equal(model.layers[0][1].running_mean, means)
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_without_captum_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(BadInput, match=r"hftune\[explain\]"):
        heatmap(Corner(), torch.zeros(1, 3, 8, 8), 0)


def test_the_command_refuses_a_model_of_texts_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("one.png")
    tiny_checkpoint("bert", tmp_path / "texts", num_labels=2)
    capsys.readouterr()
    assert hftune(monkeypatch, "gradcam", "texts", "one.png") == 2
    assert capsys.readouterr().err == "error: texts classifies texts; heat maps are drawn of images\n"
    assert not (tmp_path / "texts/gradcam.png").exists()


def test_the_command_names_the_class_that_it_explains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    eye = save_images_model(tmp_path / "eye")
    Image.fromarray(painted("red", 1)).save("one.png")
    drawn = {}
    monkeypatch.setattr(
        gallery, "draw_overlays", lambda *parts: drawn.update(zip("phto", parts, strict=True))
    )
    assert hftune(monkeypatch, "gradcam", "eye", "one.png") == 0
    (best, *_) = pipeline("image-classification", str(eye))("one.png")
    assert drawn["t"] == [f"one.png: {best['label']} {100 * best['score']:.0f}%"]
    assert [heat.shape for heat in drawn["h"]] == [(16, 16)]
    assert drawn["o"] == Path("eye/gradcam.png")
    assert capsys.readouterr().out == "look at eye/gradcam.png\n"


def test_the_command_shows_true_colours_and_names_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_images_model(tmp_path / "eye")
    (tmp_path / "photos").mkdir()
    colour = (200, 120, 40)
    Image.new("RGB", (32, 32), colour).save("photos/b.png")
    (tmp_path / "photos/a.svg").write_text("<svg/>")
    (tmp_path / "photos/c.png").write_bytes(b"\x89PNG")
    drawn = {}
    monkeypatch.setattr(
        gallery, "draw_overlays", lambda *parts: drawn.update(zip("phto", parts, strict=True))
    )
    assert hftune(monkeypatch, "gradcam", "eye", "photos") == 2
    assert "photos/c.png is not an image of a known format" in capsys.readouterr().err
    assert hftune(monkeypatch, "gradcam", "eye", "photos", "--skip_bad_images") == 0
    left_out, skipped = capsys.readouterr().err.splitlines()
    assert left_out == (
        "warning: photos: 1 file left out, of a format that is not read (the first: photos/a.svg)"
    )
    assert skipped.startswith("warning: the images: 1 of 2 image")
    (image,) = drawn["p"]
    assert abs(image.astype(int) - colour).max() <= 1


def test_an_image_is_shown_in_its_own_colours(tmp_path):
    eye = save_images_model(tmp_path / "eye")
    saved = load_model(str(eye))
    dull = np.full((16, 16, 3), (100, 120, 140), np.uint8)
    dull[:8] = (90, 130, 135)
    assert saved.inputs.as_seen(saved.inputs.pixels(dull))[[1, -2], 5] == pytest.approx(
        dull[[1, -2], 5], abs=1
    )


def test_the_command_leaves_out_what_cannot_be_read_when_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_images_model(tmp_path / "eye")
    for number in range(14):
        Image.fromarray(np.full((20, 20), 4000 * number, np.uint16)).save(f"{number:02d}.png")
    Path("01.png").write_bytes(b"no image")
    (tmp_path / "eye" / "gradcam.png").unlink(missing_ok=True)
    drawn = []
    monkeypatch.setattr(gallery, "draw_overlays", lambda *parts: drawn.append(parts))
    capsys.readouterr()
    assert hftune(monkeypatch, "gradcam", "eye", ".") == 2
    message = "./01.png is a text file, not an image; --skip_bad_images leaves such images out\n"
    assert capsys.readouterr().err == f"error: {message}"
    assert hftune(monkeypatch, "gradcam", "eye", ".", "--skip_bad_images") == 0
    images, _, titles, _ = drawn[0]
    assert [title[:6] for title in titles] == [f"{number:02d}.png" for number in (0, *range(2, 12))]
    assert images[1].mean() == pytest.approx(8000 / 65535 * 255, abs=1)  # 16 bits are scaled
    told = capsys.readouterr()
    assert "1 of 12 images cannot be read and is left out (the first: ./01.png is a text file" in told.err
    assert told.out == "look at eye/gradcam.png (the first 12 of 14 images)\n"
