"""From settings to data: views of training images, processed scoring images, and the baseline."""

import contextlib

import albumentations as A
import numpy as np
import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from PIL import Image
from torch.utils.data import DataLoader

from hftune.data.dataset import EpochIndex
from hftune.data.image.load import _refuse_too_large, describe_sizes, is_small, load_images
from hftune.errors import BadInput
from hftune.recipes import shapes
from hftune.settings.image import ImageSettings
from hftune.training.evaluate import predict
from tests.data.image.test_splits import CLASSES, SIDE, files_of, write_class_folders
from tests.runs import run_recipe

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder with train (10 of each class) and test (4 of each)."""
    folder = tmp_path_factory.mktemp("pets")
    write_class_folders(folder / "train", 10)
    write_class_folders(folder / "test", 4, "test")
    return folder


def settings_for(pets, **changes) -> ImageSettings:
    given = {"dataset_name": str(pets), "model_type": "resnet9", "image_size": 16}
    return ImageSettings(**(given | changes))


def test_training_rows_change_and_scoring_rows_are_what_the_processor_makes(pets):
    data = load_images(settings_for(pets, eval_image_size=24))
    assert data.labels == CLASSES
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 12)
    assert data.facts == {"train_samples": 27, "validation_samples": 3, "test_samples": 12}
    views = [data.train[EpochIndex.of(0, epoch)]["pixel_values"] for epoch in range(20)]
    assert {view.shape for view in views} == {(16, 16, 3)}
    assert {view.dtype for view in views} == {np.dtype(np.uint8)}
    assert len({view.tobytes() for view in views}) > 3
    assert np.array_equal(views[7], data.train[EpochIndex.of(0, 7)]["pixel_values"])
    for row, (path, label) in enumerate(files_of(pets / "test")):
        seen = data.processor(images=Image.open(path), return_tensors="pt")["pixel_values"][0]
        assert torch.equal(data.test[row]["pixel_values"], seen)
        assert seen.shape == (3, 24, 24)
        assert data.labels[data.test[row]["labels"]] == label
        assert np.array_equal(data.image(row), np.asarray(Image.open(path)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_is_what_the_model_takes(workers, pets):
    data = load_images(
        settings_for(pets, augmentation="none", image_size=SIDE, image_mean="0.5", image_std="0.25")
    )
    loader = DataLoader(data.train, batch_size=9, collate_fn=data.collate, num_workers=workers)
    batches = list(loader)
    assert len(batches) == 3
    first = batches[0]["pixel_values"]
    assert first.shape == (9, 3, SIDE, SIDE)
    assert first.dtype == torch.float32
    image = torch.from_numpy(data.train.images[0] / 255.0).permute(2, 0, 1)
    torch.testing.assert_close(first[0].double(), (image - 0.5) / 0.25, atol=1e-5, rtol=0)
    labels = torch.cat([batch["labels"] for batch in batches])
    assert labels.tolist() == data.train.targets.tolist()


def test_the_floor_learns_from_training_images_and_answers_for_test_images(pets):
    data = load_images(settings_for(pets, max_train_samples=9))
    found = data.task.baselines(data.train.targets, len(data.test), data.baseline)
    assert found.keys() == {"majority", "thumbnails"}
    predicted = found["thumbnails"]["logits"].argmax(-1)
    assert (predicted == data.test.targets).all()  # colours tell the classes apart


def test_without_test_images_there_is_no_floor_and_nothing_to_show(pets):
    data = load_images(settings_for(pets, dataset_name=None, train_dir=str(pets / "train")))
    assert (data.test, data.baseline, data.image) == (None, None, None)
    assert "test_samples" not in data.facts


@pytest.mark.parametrize("size", [12, 18])  # of images with 20: cropped, or taken whole and shifted
@pytest.mark.parametrize("preset", ["none", "light", "standard", "strong", "randaugment"])
def test_every_preset_makes_squares(preset, size, pets):
    data = load_images(settings_for(pets, augmentation=preset, image_size=size))
    for epoch in range(5):
        assert data.train[EpochIndex.of(epoch, epoch)]["pixel_values"].shape == (size, size, 3)


def test_a_policy_of_the_recipes_own(pets, tmp_path, capsys):
    calls = []

    def invert(image, **_):
        calls.append(image.shape)
        return 255 - image

    own = A.Compose([A.CenterCrop(16, 16), A.Lambda(image=invert, p=1)])
    recipe = shapes.recipe.replace(name="own", load_data=lambda settings: load_images(settings, augment=own))
    flags = ["--dataset_name", pets, "--config_overrides", "width=4", "--image_size", 16, "--max_steps", 2]
    flags += ["--per_device_train_batch_size", 9, "--baselines", "false", "--bf16", "false"]
    results = run_recipe(recipe, flags, tmp_path / "run")
    assert calls == [(16, 16, 3)] * (1 + 18)  # one to see whether the model takes a batch of one row
    assert results["train_loss"] > 0
    assert "augmentation of the recipe's own" in capsys.readouterr().out
    row = load_images(settings_for(pets), augment=own).train
    middle = row.images[3][2:18, 2:18]
    assert np.array_equal(row[EpochIndex.of(3, 0)]["pixel_values"], 255 - middle)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            A.Compose([A.CenterCrop(16, 12)]),
            r"returns ndarray uint8 \(16, 12, 3\), expected uint8 \(S, S, 3\)",
        ),
        (A.Compose([A.CenterCrop(16, 16), A.Normalize()]), "float32"),
        (A.HorizontalFlip(), "a HorizontalFlip, expected an albumentations.Compose"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policy, message, pets):
    with pytest.raises(BadInput, match=message):
        load_images(settings_for(pets), augment=policy).train[EpochIndex.of(0, 0)]


@pytest.mark.parametrize(
    ("sizes", "side", "small"),
    [
        ([[32, 32], [40, 20]], 32, True),
        ([[32, 32], [20, 41]], 32, False),
        ([[32, 32]] * 9, 224, True),
        ([[96, 96]] * 40 + [[96, 90]], 96, True),  # nearly all alike
        ([[192, 256]] * 9, 224, False),  # photos
        ([[200, 200], [150, 150], [180, 200]], 224, False),
    ],
)
def test_small_images_are_tiny_or_squares_made_for_the_network(sizes, side, small):
    assert is_small(np.array(sizes), side) is small


def test_the_first_lines_say_which_part_of_a_image_is_shown(pets, caplog):
    caplog.set_level("INFO", "hftune")
    load_images(settings_for(pets))
    assert "augmentation standard: central_square, Pad, RandomCrop, HorizontalFlip" in caplog.text
    load_images(settings_for(pets, image_size=8))
    assert "augmentation standard: RandomResizedCrop, HorizontalFlip, ColorJitter" in caplog.text


@pytest.mark.parametrize("flag", ["image_size", "eval_image_size"])
def test_squares_that_fill_the_memory_are_refused_before_anything_is_made(flag, pets):
    message = (
        rf"^--{flag} 2000000: a batch of \d+ needs at least [\d,]+ GiB, and [\d,]+ GiB of memory are free"
    )
    with pytest.raises(BadInput, match=message):
        load_images(settings_for(pets, **{flag: 2_000_000}))


@pytest.mark.parametrize("cpu", [True, False])
def test_it_is_the_device_that_says_what_an_image_takes_and_not_the_machine(cpu, monkeypatch):
    """`accelerate launch --cpu` beside a GPU."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", str(cpu))
    monkeypatch.setattr("hftune.data.image.load.free_memory", lambda: 20 * 100 * 100)  # bytes
    settings = ImageSettings(model_type="resnet9", image_size=100, per_device_train_batch_size=1)
    with pytest.raises(BadInput) if cpu else contextlib.nullcontext():
        _refuse_too_large(settings)


def test_sizes_are_told_as_width_by_height():
    assert describe_sizes(np.array([[20, 30], [20, 30]])) == "30 x 20 pixels"
    assert describe_sizes(np.array([[20, 30], [10, 50]])) == "30 to 50 pixels wide, 10 to 20 high"


def test_the_four_parts_run_in_trainer(pets, tmp_path):
    """Data, collate, model and processor are transformers' own contract: Trainer takes them as they are."""
    changes = {"dataset_name": str(pets), "image_size": 16, "config_overrides": "width=4"}
    settings = shapes.recipe.settings.replace(**changes)
    data = shapes.recipe.load_data(settings)
    model = shapes.recipe.build_model(settings, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=8, use_cpu=True, report_to="none"
    )
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=data.train,
        data_collator=data.collate,
        processing_class=data.processor,
    )
    assert np.isfinite(trainer.train().training_loss)
    assert any(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    theirs = trainer.predict(data.test).predictions
    found = predict(data.task, model, data.test, data.collate, trainer.accelerator, rows_per_batch=8)
    np.testing.assert_allclose(found["logits"], theirs, atol=1e-5)
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved/preprocessor_config.json").exists()
