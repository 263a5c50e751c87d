import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    ConvNextImageProcessor,
    MobileViTImageProcessor,
    ViTConfig,
    ViTImageProcessor,
)

from hftune.data.image.processor import load_processor
from hftune.errors import BadInput
from hftune.settings.image import ImageSettings

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def prepared(**flags):
    return load_processor(ImageSettings(dataset_name="sample", **flags))


def image(width, height):
    """Noise, so that every pixel tells where it came from."""
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(processor, array):
    return processor(images=Image.fromarray(array), return_tensors="pt")["pixel_values"][0]


def normalised(array, mean, std):
    values = (torch.from_numpy(array) / 255 - torch.tensor(mean)) / torch.tensor(std)
    return values.permute(2, 0, 1)


def checkpoint(folder, processor):
    """Saves a config and a processor; weights are not read here."""
    ViTConfig().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("model_type", ["resnet9", "vit", "resnet10t"])
@pytest.mark.parametrize("size", [32, 96])
def test_a_small_square_is_seen_whole(model_type, size):
    found = prepared(model_type=model_type, image_size=size)
    assert (found.image_size, found.eval_image_size) == (size, size)
    array = image(size, size)
    expected = normalised(array, found.mean, found.std)
    torch.testing.assert_close(pixels(found.processor, array), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("model_type", "size", "colour"),
    [
        ("resnet9", 32, IMAGENET),
        ("vit", 224, IMAGENET),
        ("resnet10t", 176, IMAGENET),
        ("inception_v3", 299, ((0.5,) * 3, (0.5,) * 3)),
    ],
)
def test_what_an_architecture_is_fed_by_itself(model_type, size, colour):
    found = prepared(model_type=model_type)
    assert (found.image_size, found.eval_image_size) == (size, size)
    assert (found.mean, found.std) == colour
    assert pixels(found.processor, image(300, 200)).shape == (3, size, size)


def test_a_large_photo_loses_a_margin():
    array = image(256, 256)  # 224 of 256 pixels remain
    found = prepared(model_type="vit", image_size=224)
    expected = normalised(array[16:240, 16:240], found.mean, found.std)
    torch.testing.assert_close(pixels(found.processor, array), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("model_type", ["resnet9", "resnet10t"])
def test_settings_override(model_type):
    flags = {"image_size": 24, "eval_image_size": 40, "image_mean": "0.1,0.2,0.3", "image_std": "0.5"}
    found = prepared(model_type=model_type, **flags)
    assert (found.image_size, found.eval_image_size) == (24, 40)
    assert found.mean == (0.1, 0.2, 0.3)
    assert found.std == (0.5, 0.5, 0.5)
    array = image(40, 40)
    expected = normalised(array, found.mean, found.std)
    torch.testing.assert_close(pixels(found.processor, array), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("processor", "side", "flags", "cut"),
    [
        (ViTImageProcessor(), 224, {}, 0),
        (ViTImageProcessor(), 64, {"image_size": 64}, 0),
        (ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.75), 48, {}, 8),
        (ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.75), 96, {"eval_image_size": 96}, 16),
    ],
)
def test_a_checkpoint_brings_its_own(processor, side, flags, cut, tmp_path):
    found = prepared(model_name_or_path=checkpoint(tmp_path, processor), **flags)
    assert found.eval_image_size == side
    assert found.mean == pytest.approx(processor.image_mean, abs=1e-6)
    array = image(side + 2 * cut, side + 2 * cut)
    inner = array[cut : cut + side, cut : cut + side]
    expected = normalised(inner, found.mean, found.std)
    torch.testing.assert_close(pixels(found.processor, array), expected, atol=1e-5, rtol=0)


def test_a_checkpoint_with_another_mean(tmp_path):
    folder = checkpoint(tmp_path, ViTImageProcessor(do_normalize=False))
    assert prepared(model_name_or_path=folder).mean == pytest.approx((0, 0, 0), abs=1e-6)
    found = prepared(model_name_or_path=folder, image_mean="0.3", image_std="0.2")
    assert found.mean == (0.3, 0.3, 0.3)
    assert found.std == pytest.approx((0.2, 0.2, 0.2), abs=1e-6)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (MobileViTImageProcessor(size={"shortest_edge": 256}), "does more to images"),  # RGB becomes BGR
        (MobileViTImageProcessor(), "does more to images"),  # 224 pixels and a border
        (ViTImageProcessor(size={"height": 32, "width": 48}), "48 x 32 pixels of an image, no square"),
        (ViTImageProcessor(do_resize=False), "no square"),
    ],
)
def test_a_processor_that_training_cannot_follow(processor, message, tmp_path):
    with pytest.raises(BadInput, match=message) as caught:
        prepared(model_name_or_path=checkpoint(tmp_path, processor))
    assert str(tmp_path) in caught.value.message


def test_a_folder_without_a_processor(tmp_path):
    with pytest.raises(BadInput, match=f"--model_name_or_path {tmp_path}"):
        prepared(model_name_or_path=str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(BadInput, match=f"--model_name_or_path {tmp_path}: its image processor"):
        prepared(model_name_or_path=str(tmp_path))


@pytest.mark.parametrize("model_type", ["resnet9", "vit"])
def test_what_is_saved_is_what_was_scored_with(model_type, tmp_path):
    found = prepared(model_type=model_type, image_size=40, image_std="0.3,0.2,0.1")
    found.processor.save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path)
    array = image(77, 50)
    torch.testing.assert_close(pixels(again, array), pixels(found.processor, array), atol=1e-6, rtol=0)


def test_timms_description_is_written_beside_the_model(tmp_path):
    found = prepared(model_type="resnet10t", image_size=40)
    found.processor.save_pretrained(tmp_path / "run")
    (file,) = (tmp_path / "run").iterdir()
    values = json.loads(file.read_text())
    assert file.name == "preprocessor_config.json"
    assert values["image_processor_type"] == "TimmWrapperImageProcessor"
    assert values["pretrained_cfg"] == found.processor.pretrained_cfg
    assert values["pretrained_cfg"]["input_size"] == [3, 40, 40]


@pytest.mark.parametrize("model_type", ["resnet9", "resnet10t"])
def test_processors_travel_to_the_processes_of_a_loader(model_type):
    found = prepared(model_type=model_type, image_size=16)
    sent = copy.deepcopy(found.processor)  # asks an object for the same as sending it does
    assert torch.equal(pixels(sent, image(30, 20)), pixels(found.processor, image(30, 20)))


@pytest.mark.shared
def test_a_real_checkpoint_of_timm():
    import timm

    folder = Path(__file__).resolve().parents[4] / "shared" / "models" / "mobilenetv2_100"
    if not folder.is_dir():
        pytest.skip("no ../shared")
    found = prepared(model_name_or_path=str(folder))
    assert (found.image_size, found.mean, found.std) == (224, (0.5,) * 3, (0.5,) * 3)
    model = timm.create_model(f"local-dir:{folder}")
    view = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    array = image(320, 240)
    torch.testing.assert_close(
        pixels(found.processor, array), view(Image.fromarray(array)), atol=1e-6, rtol=0
    )
