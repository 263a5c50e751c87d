import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from hftune.data.dataset import Data
from hftune.data.image.processor import load_processor
from hftune.errors import BadInput
from hftune.inference.load import load_model
from hftune.models.image import build_image_classifier
from hftune.settings.image import ImageSettings
from hftune.storage.checkpoint import load_checkpoint, save_checkpoint
from hftune.tasks.single_label import SingleLabel
from tests.forked import run_python
from tests.kinds import another

timm = pytest.importorskip("timm")

SHARED = Path(__file__).resolve().parents[3] / "shared"
LABELS = ("cat", "dog", "owl")
VIT = "hidden_size=16,num_hidden_layers=2,num_attention_heads=2,intermediate_size=24,patch_size=8"
FAMILIES = {
    "resnet9": {"image_size": 16, "config_overrides": "width=4"},
    "vit": {"image_size": 32, "config_overrides": VIT},
    "convnext": {"image_size": 32, "config_overrides": "hidden_sizes=[8,8,8,8],depths=[1,1,1,1]"},
    "resnet10t": {"image_size": 32, "eval_image_size": 48},
    "densenet121": {"image_size": 32},
    "vgg11": {"image_size": 32, "config_overrides": "mlp_ratio=0.01"},
    "inception_v3": {"image_size": 75},
    "mobilenetv2_035": {"image_size": 32, "config_overrides": "pad_type=same,drop_rate=0.2"},
    "vit_tiny_patch16_224": {"image_size": 32, "config_overrides": "depth=2,embed_dim=48"},
}
OF_TIMM = [name for name in FAMILIES if timm.is_model(name)]
ONE_OF_EACH_LIBRARY = ["resnet9", "vit", "resnet10t"]
# What a user does with the files of a run, on a machine that never heard of hftune.
CLEAN = """
import json, sys
sys.modules["hftune"] = None
import timm, torch
from PIL import Image
from transformers import pipeline
image, of_timm, *folders = sys.argv[1:]
found = {}
for folder in folders:
    classify = pipeline("image-classification", model=folder, trust_remote_code=True)
    found[folder] = {answer["label"]: answer["score"] for answer in classify(image)}
for folder in of_timm.split(","):
    model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
    view = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        scores = model(view(Image.open(image).convert("RGB"))[None]).softmax(-1)[0].tolist()
    found["timm:" + folder] = dict(zip(model.pretrained_cfg["label_names"], scores, strict=True))
print(json.dumps(found))
"""


def test_the_background_of_transparent_images_travels_in_the_models_config(tmp_path):
    for name in ("resnet9", "resnet10t"):
        settings = ImageSettings(model_type=name, **FAMILIES[name])
        assert not hasattr(build_image_classifier(settings, data_of()).config, "transparent_background")
        on_white = settings.replace(transparent_background="white")
        model = build_image_classifier(on_white, data_of())
        model.save_pretrained(tmp_path / name)
        load_processor(on_white).processor.save_pretrained(tmp_path / name)
        assert load_model(str(tmp_path / name)).inputs.background == "white"
        # Trained on without it, it is not what the new model was trained on.
        again = ImageSettings(model_name_or_path=str(tmp_path / name))
        assert build_image_classifier(again, data_of()).config.transparent_background is None


def data_of(labels=LABELS):
    return Data(
        None, None, None, collate=list, task=SingleLabel(tuple(labels)), processor=None, fingerprint=""
    )


def build(labels=LABELS, **flags):
    torch.manual_seed(0)
    return build_image_classifier(ImageSettings(dataset_name="sample", **flags), data_of(labels))


def save(folder, model, **flags):
    model.save_pretrained(folder)
    load_processor(ImageSettings(dataset_name="sample", **flags)).processor.save_pretrained(folder)
    return str(folder)


def train_one_step(model, side):
    """Takes one step; BatchNorm keeps the statistics of this batch alone."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    pixels = torch.randn(6, 3, side, side, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    model(pixel_values=pixels, labels=torch.tensor([0, 1, 2] * 2)).loss.backward()
    optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def small_vit(tmp_path_factory):
    flags = {"model_type": "vit", **FAMILIES["vit"]}
    model = build(**flags)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return save(tmp_path_factory.mktemp("vit"), model, **flags)


@pytest.fixture(scope="module")
def small_resnet(tmp_path_factory):
    flags = {"model_type": "resnet10t", "image_size": 32}
    return save(tmp_path_factory.mktemp("resnet"), build(**flags), **flags)


@pytest.mark.parametrize("families", [ONE_OF_EACH_LIBRARY, another([*FAMILIES])], ids=len)
def test_a_trained_model_is_the_same_without_hftune(families, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((70, 90), Image.Resampling.BICUBIC)
    image.save(tmp_path / "image.png")
    expected = {}
    for name in families:
        flags = FAMILIES[name]
        model = build(model_type=name, **flags)
        before = {key: value.clone() for key, value in model.named_parameters()}
        train_one_step(model, flags["image_size"])
        changed = [key for key, value in model.named_parameters() if not torch.equal(value, before[key])]
        assert len(changed) > 0.8 * len(before), name
        folder = save(tmp_path / name, model, model_type=name, **flags)
        processor = load_processor(ImageSettings(dataset_name="sample", model_type=name, **flags)).processor
        with torch.no_grad():
            logits = model(**processor(images=image, return_tensors="pt")).logits
        expected[folder] = dict(zip(LABELS, logits.softmax(-1)[0].tolist(), strict=True))
        if name in OF_TIMM:
            expected[f"timm:{folder}"] = expected[folder]
    folders = [str(tmp_path / name) for name in families]
    of_timm = ",".join(str(tmp_path / name) for name in OF_TIMM if name in families)
    done = run_python(["-I", "-c", CLEAN, tmp_path / "image.png", of_timm, *folders], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == expected.keys()
    for folder, scores in expected.items():
        assert found[folder] == pytest.approx(scores, abs=1e-5), folder


def test_an_architecture_of_timm_starts_as_its_authors_chose():
    model = build(model_type="resnet10t", image_size=32)
    torch.manual_seed(0)
    expected = timm.create_model("resnet10t", num_classes=3).state_dict()
    assert model.timm_model.state_dict().keys() == expected.keys()
    for name, weight in model.timm_model.state_dict().items():
        assert torch.equal(weight, expected[name]), name


@pytest.mark.parametrize("channels_last", [True, False])
def test_channels_last_is_a_layout_that_checkpoints_keep_nothing_of(channels_last, tmp_path, quick_disk):
    model = build(model_type="resnet9", channels_last=channels_last, **FAMILIES["resnet9"])
    weight = model.layers[1][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    path = save_checkpoint(tmp_path, 1, {"model": model.state_dict()}, {})
    for name, tensor in load_checkpoint(path).tensors["model"].items():
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.mark.parametrize("kind", ["small_vit", "small_resnet"])
def test_the_classifier_stays_for_the_same_labels_only(kind, request):
    folder = request.getfixturevalue(kind)
    saved = AutoModelForImageClassification.from_pretrained(folder).state_dict()
    same = build(model_name_or_path=folder)
    for name, weight in same.state_dict().items():
        assert torch.equal(weight, saved[name]), name
    pixels = torch.rand(2, 3, 32, 32)
    turned = build(("owl", "cat", "dog"), model_name_or_path=folder)
    assert turned.config.id2label == {0: "owl", 1: "cat", 2: "dog"}
    logits = same(pixel_values=pixels).logits
    assert len(logits.unique()) == 6
    torch.testing.assert_close(turned(pixel_values=pixels).logits, logits[:, [2, 0, 1]])
    for labels in (("owl", "dog", "cow"), ("ant", "bee")):
        model = build(labels, model_name_or_path=folder)
        assert not model(pixel_values=torch.rand(2, 3, 32, 32)).logits.any()
        assert [model.config.id2label[number] for number in range(len(labels))] == list(labels)
        new = {name for name, weight in model.state_dict().items() if not torch.equal(weight, saved[name])}
        assert {name.rsplit(".", 1)[0] for name in new} <= {"classifier", "timm_model.fc"}


def test_a_run_of_our_own_net_can_be_fine_tuned(tmp_path):
    """Its convolutions have as many outputs as there are labels, and stay."""
    flags = {"model_type": "resnet9", **FAMILIES["resnet9"]}
    eight = tuple("abcdefgh")
    first = build(eight, **flags)
    save(tmp_path, first, **flags)
    model = build(tuple("stuvwxyz"), model_name_or_path=str(tmp_path))
    for name, weight in model.state_dict().items():
        kept = torch.equal(weight, first.state_dict()[name])
        assert kept is not (name == "classifier.weight"), name
    assert not model.classifier.weight.any()


def test_new_names_of_labels_reach_the_files_that_timm_reads(small_resnet, tmp_path):
    build(("x", "y", "z"), model_name_or_path=small_resnet).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label_names"] == ["x", "y", "z"]
    assert config["num_classes"] == 3
    assert "/" not in json.dumps(config["pretrained_cfg"])  # no place of any machine


def test_a_bare_backbone_gets_a_classifier_that_starts_at_zero(small_vit, tmp_path):
    model = AutoModelForImageClassification.from_pretrained(small_vit)
    config = AutoConfig.from_pretrained(small_vit, num_labels=2)  # names them LABEL_0 and LABEL_1
    model.base_model.config = config
    save(tmp_path, model.base_model, model_type="vit", **FAMILIES["vit"])
    found = build(("ant", "bee"), model_name_or_path=str(tmp_path))
    assert not found.classifier.weight.any()
    for name, weight in found.vit.named_parameters():
        assert torch.equal(weight, model.vit.get_parameter(name)), name


def test_a_checkpoint_is_fed_as_the_settings_say(small_resnet, tmp_path):
    flags = {"model_name_or_path": small_resnet, "image_size": 40, "image_mean": "0.3", "image_std": "0.2"}
    folder = save(tmp_path, build(**flags), **flags)
    white = Image.new("RGB", (50, 60), "white")
    pixels = AutoImageProcessor.from_pretrained(folder)(images=white, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, torch.full((1, 3, 40, 40), 3.5))


def test_half_precision_checkpoints_train_in_full(small_vit, tmp_path):
    model = AutoModelForImageClassification.from_pretrained(small_vit).half()
    save(tmp_path, model, model_type="vit", **FAMILIES["vit"])
    assert {p.dtype for p in build(model_name_or_path=str(tmp_path)).parameters()} == {torch.float32}


def test_a_backbone_that_would_stay_random_is_bad_input(small_vit, tmp_path):
    for file in Path(small_vit).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in tensors if "layer" in name and name.endswith("weight"))
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match="lacks 1 of the model's weights") as caught:
        build(model_name_or_path=str(tmp_path))
    assert len(caught.value.details) == 1


def test_pickled_weights_are_never_opened(small_vit, tmp_path):
    for file in Path(small_vit).glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(BadInput, match="--model_name_or_path"):
        build(model_name_or_path=str(tmp_path))


def test_weights_from_a_file(small_resnet, tmp_path):
    file = str(Path(small_resnet, "model.safetensors"))
    flags = {"model_type": "resnet10t", "image_size": 32, "checkpoint_path": file}
    expected = load_file(file)
    for name, weight in build(**flags).timm_model.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    fewer = build(("ant", "bee"), **flags)
    assert not fewer(pixel_values=torch.rand(1, 3, 32, 32)).logits.any()
    assert torch.equal(fewer.timm_model.conv1[0].weight, expected["conv1.0.weight"])
    fewer.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == expected.keys()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model_type": "resnet14t"}, "does not fit --model_type resnet14t"),
        ({"model_type": "resnet9"}, "--model_type resnet9 is no architecture of timm"),
        ({"checkpoint_path": "{tmp}/weights.pth"}, "is not a safetensors file; pickled weights"),
        ({"checkpoint_path": "{tmp}/none.safetensors"}, "No such file"),
    ],
)
def test_a_file_of_weights_that_does_not_fit(small_resnet, flags, message, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 a zip file of pickles")
    file = flags.get("checkpoint_path", f"{small_resnet}/model.safetensors").format(tmp=tmp_path)
    with pytest.raises(BadInput, match=message) as caught:
        build(**{"model_type": "resnet10t", "image_size": 32, **flags, "checkpoint_path": file})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model_type": "resnt18"}, "--model_type resnt18: .* did you mean resnet18"),
        ({"model_type": "resnet18.a1_in1k"}, "did you mean resnet18"),
        ({"model_type": "bert"}, "neither timm nor transformers"),
        ({"model_type": "resnet9", "config_overrides": "widht=8"}, "did you mean width"),
        ({"model_type": "resnet9", "config_overrides": "width=-1"}, "--config_overrides width=-1"),
        ({"model_type": "vit", "config_overrides": "hidden_size=big"}, "hidden_size"),
        ({"model_type": "resnet10t", "config_overrides": "drop_rat=0.1"}, "drop_rat"),
        ({"model_type": "resnet10t", "config_overrides": "num_classes=9"}, "num_classes"),
        ({"model_type": "resnet10t", "config_overrides": "features_only=true"}, "features_only"),
        ({"model_type": "inception_v3", "config_overrides": "aux_logits=true"}, "aux_logits"),
        ({"model_type": "vit", "config_overrides": "image_size=64"}, "pass --image_size"),
        ({"model_type": "inception_v3", "image_size": 32}, "--image_size 32: inception_v3 takes no images"),
        (
            {"model_type": "vit", "eval_image_size": 48, **FAMILIES["vit"]},
            "--eval_image_size 48: vit takes no images of 48 x 48",
        ),
        ({"model_name_or_path": "/no/such/folder"}, "--model_name_or_path /no/such/folder"),
        ({}, "--model_name_or_path .* or --model_type"),
    ],
)
def test_a_model_that_cannot_be_is_bad_input(flags, message):
    with pytest.raises(BadInput, match=message) as caught:
        build(**flags)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("kind", ["vit", "vit_tiny_patch16_224"])
def test_positions_are_resampled_for_another_square(kind, tmp_path):
    """As both libraries do it, and so that the saved model loads at its new size."""
    source = build(model_type=kind, **FAMILIES[kind])
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_(std=0.3)
    folder = save(tmp_path / "small", source, model_type=kind, **FAMILIES[kind])
    model = build(model_name_or_path=folder, image_size=64).eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = model(pixel_values=pixels).logits
        if kind == "vit":
            expected = source.eval()(pixel_values=pixels, interpolate_pos_encoding=True).logits
        else:
            theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, **model.config.model_args)
            expected = theirs.eval()(pixels)
        torch.testing.assert_close(found, expected)
        model.save_pretrained(tmp_path / "large")
        again = AutoModelForImageClassification.from_pretrained(tmp_path / "large")
        torch.testing.assert_close(again(pixel_values=pixels).logits, found)


def test_positions_that_cannot_be_resampled_name_the_checkpoints_size(tmp_path):
    sizes = "hidden_size=16,num_attention_heads=2,intermediate_size=24,patch_size=8"
    flags = {"image_size": 32, "config_overrides": f"{sizes},use_relative_position_bias=True"}
    folder = save(tmp_path / "beit", build(model_type="beit", **flags), model_type="beit", **flags)
    with pytest.raises(BadInput, match=r"weights.*; --image_size 32 is the checkpoint's own"):
        build(model_name_or_path=folder, image_size=64)


@pytest.mark.parametrize(
    ("kind", "flag", "near"),
    [
        ("vit", "image_size", "40 or --image_size 48"),
        ("vit", "eval_image_size", "40 or --eval_image_size 48"),
        ("vit_tiny_patch16_224", "image_size", "32 or --image_size 48"),
    ],
)
def test_a_square_that_the_patches_do_not_cover_is_refused(kind, flag, near):
    with pytest.raises(BadInput, match=f"--{flag} 44: .* never be seen; pass --{flag} {near}"):
        build(model_type=kind, **{**FAMILIES[kind], flag: 44})


@pytest.mark.shared
def test_a_real_checkpoint_is_what_timm_makes_of_it():
    folder = SHARED / "models" / "mobilenetv2_100"
    if not folder.is_dir():
        pytest.skip("no ../shared")
    source = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    pixels = torch.randn(2, 3, 96, 96)
    names = AutoModelForImageClassification.from_pretrained(folder).config.id2label.values()
    whole = build(names, model_name_or_path=str(folder), image_size=96)
    with torch.no_grad():
        torch.testing.assert_close(whole(pixel_values=pixels).logits, source(pixels), atol=1e-4, rtol=1e-4)
        swapped = build(("hot dog", "not"), model_name_or_path=str(folder), image_size=96)
        features = swapped.timm_model.forward_features(pixels)
        torch.testing.assert_close(features, source.forward_features(pixels), atol=1e-4, rtol=1e-4)
        assert not swapped(pixel_values=pixels).logits.any()
    assert swapped.config.model_args == {"pad_type": "same"}
