"""What a run on images can be told, what it cannot, and what takes the place of what."""

from dataclasses import dataclass

import pytest

from hftune.errors import BadInput
from hftune.recipes import cifar10, hotdog, shapes
from hftune.settings.base import Settings
from hftune.settings.image import ImageSettings
from hftune.settings.parser import parse


@dataclass(frozen=True, kw_only=True)
class Recipe(ImageSettings):
    dataset_name: str = "owner/images"
    dataset_revision: str = "v1"
    model_name_or_path: str = "owner/network"
    freeze_batch_norm: bool = True


@dataclass(frozen=True, kw_only=True)
class FromScratch(ImageSettings):
    train_dir: str = "pets/train"
    test_dir: str = "pets/test"
    model_type: str = "resnet9"
    config_overrides: str = "width=24"
    image_mean: str = "0.4,0.5,0.6"
    image_std: str = "0.25"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"train_dir": "a", "dataset_name": "b"}, ["--train_dir and --dataset_name"]),
        ({"train_dir": "a", "train_file": "b.csv"}, ["--train_dir and --train_file"]),
        ({"test_dir": "a"}, ["--test_dir needs --train_dir"]),
        ({"validation_dir": "a"}, ["--validation_dir needs --train_dir"]),
        ({"validation_dir": "a", "dataset_name": "b"}, ["--validation_dir needs --train_dir"]),
        ({"checkpoint_path": "w.safetensors"}, ["--checkpoint_path needs --model_type"]),
        ({"model_name_or_path": "a/b", "model_type": "vit"}, ["--model_name_or_path and --model_type"]),
        ({"image_size": 7}, ["--image_size 7", "at least 8"]),
        ({"eval_image_size": 0}, ["--eval_image_size 0", "at least 8"]),
        ({"image_size": "32.5"}, ["--image_size"]),
        ({"image_mean": "0.5,0.5"}, ["--image_mean 0.5,0.5", "one number or three"]),
        ({"image_mean": "red"}, ["--image_mean red"]),
        ({"image_mean": "123,117,104"}, ["--image_mean", "not of 255", "0.482,0.459,0.408"]),
        ({"image_std": "58"}, ["--image_std", "not of 255", "0.227"]),
        ({"transparent_background": "wite"}, ["--transparent_background wite", "a colour, such as white"]),
        ({"image_mean": "0.5,-0.1,0.5"}, ["--image_mean"]),
        ({"image_mean": "0.5,,0.5"}, ["--image_mean"]),
        ({"image_std": "0.2,0,0.2"}, ["--image_std 0.2,0,0.2", "above 0"]),
        ({"augmentation": "wild"}, ["--augmentation", "none, light, standard, strong, randaugment"]),
        ({"augmentation": None}, ["--augmentation"]),
        ({"mixup": -0.1}, ["--mixup -0.1"]),
        ({"cutmix": -1}, ["--cutmix -1"]),
        ({"mixup": 0.2, "class_weight": "balanced"}, ["--class_weight and --mixup"]),
        ({"cutmix": 1, "class_weight": "1,2"}, ["--class_weight and --cutmix"]),
        ({"dataloader_num_workers": -1}, ["--dataloader_num_workers -1"]),
        ({"skip_bad_images": "perhaps"}, ["--skip_bad_images"]),
    ],
)
def test_impossible_values_are_named(changes, parts):
    with pytest.raises(BadInput) as caught:
        ImageSettings(**changes)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_dir": "a", "validation_dir": "b", "test_dir": "c"},
        {"image_mean": "0.5", "image_std": "0.2, 0.3, 0.4"},
        {"image_mean": "0"},
        {"image_size": 8, "eval_image_size": 600},
        {"mixup": 0.2, "cutmix": 1, "label_smoothing_factor": 0.1},
        {"class_weight": "balanced"},
        {"model_type": "resnet18", "checkpoint_path": "w.safetensors"},
        {"dataloader_num_workers": None},
    ],
)
def test_unusual_values_are_accepted(changes):
    assert ImageSettings(**changes)


def test_own_images_take_the_place_of_the_recipes():
    for changes in ({"train_dir": "a", "test_dir": "b"}, {"train_file": "a.csv", "test_file": "b.csv"}):
        found = Recipe().replace(**changes)
        assert (found.dataset_name, found.dataset_revision) == (None, None)
        assert [getattr(found, name) for name in changes] == [*changes.values()]
    back = FromScratch().replace(dataset_name="owner/other")
    assert (back.train_dir, back.test_dir, back.dataset_name) == (None, None, "owner/other")
    filed = FromScratch().replace(train_file="a.csv")
    assert (filed.train_dir, filed.test_dir, filed.train_file) == (None, None, "a.csv")
    other = FromScratch().replace(train_dir="zoo")
    assert (other.train_dir, other.test_dir) == ("zoo", None)  # the old test images have other classes


def test_another_model_takes_what_belonged_to_the_old_one_with_it():
    scratch = Recipe().replace(model_type="resnet18")
    assert (scratch.model_name_or_path, scratch.freeze_batch_norm) == (None, False)
    assert Recipe().replace(model_type="resnet18", freeze_batch_norm=True).freeze_batch_norm
    pretrained = FromScratch().replace(model_name_or_path="a/b")
    for name in ("model_type", "config_overrides", "image_mean", "image_std"):
        assert getattr(pretrained, name) is None
    assert FromScratch().replace(model_type="resnet9").config_overrides == "width=24"  # nothing was replaced
    kept = FromScratch().replace(model_type="vit", image_mean="0.5")
    assert (kept.config_overrides, kept.image_mean, kept.image_std) == (None, "0.5", None)


def test_flags_clear_what_a_recipe_chose():
    own = parse(hotdog.recipe.settings, ["--train_dir", "a", "--model_type", "resnet9"], "hotdog", "")
    assert (own.dataset_name, own.model_name_or_path, own.freeze_batch_norm) == (None, None, False)
    assert (own.train_dir, own.model_type) == ("a", "resnet9")
    other = parse(cifar10.recipe.settings, ["--model_type", "resnet18", "--image_size", "64"], "cifar10", "")
    assert (other.config_overrides, other.image_mean) == (None, None)
    assert other.dataset_name == "uoft-cs/cifar10"
    assert parse(shapes.recipe.settings, [], "shapes", "") == shapes.recipe.settings


def test_settings_of_images_know_no_texts():
    for name in ("max_length", "text_column_name", "pooling", "tokens_per_batch"):
        with pytest.raises(BadInput, match=f"{name}: no such setting"):
            ImageSettings(model_type="resnet9").replace(**{name: 1})
    assert issubclass(ImageSettings, Settings)
