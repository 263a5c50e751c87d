"""Cached features are those of the whole model, and training the head on them is training it in place."""

import dataclasses

import numpy as np
import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file

from hftune.data.dataset import Data
from hftune.data.image.rows import ImageCollator, ImageRows
from hftune.errors import BadInput
from hftune.launcher import launch
from hftune.recipes import text_features
from hftune.tasks.single_label import SingleLabel
from hftune.training.cached_features import cache_features, extract_features, linear_head
from hftune.training.freezing import freeze
from hftune.training.recipe_losses import head_loss
from tests.runs import file_flags
from tests.tiny import tiny_model


def tokens(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.stack([row["input_ids"] for row in rows]),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


class Texts:
    """Rows of five random tokens."""

    def __init__(self, count: int):
        generator = torch.Generator().manual_seed(count)
        self.ids = torch.randint(5, 50, (count, 5), generator=generator)
        self.targets = np.arange(count) % 2
        self.lengths = np.full(count, 5)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict:
        return {"input_ids": self.ids[row], "label": int(self.targets[row])}


@pytest.fixture
def model():
    PartialState()
    torch.manual_seed(0)
    return tiny_model("bert", num_labels=2)


@pytest.fixture
def data():
    return Data(Texts(40), Texts(8), Texts(8), tokens, SingleLabel(("no", "yes")), None, "")


def test_the_head_on_features_is_the_whole_model(model, data):
    cached = cache_features(data, model)
    batch = cached.collate([cached.train[row] for row in range(40)])
    whole = model(**tokens([data.train[row] for row in range(40)]))
    torch.testing.assert_close(linear_head(model)(batch["features"]), whole.logits)
    torch.testing.assert_close(head_loss(model, batch), whole.loss)
    assert cached.validation is data.validation
    assert set(cached.collate([cached.validation[0]])) == {"input_ids", "labels"}


def test_only_the_head_gets_gradients_and_they_are_the_same(model, data):
    freeze(model, "backbone")
    cached = cache_features(data, model)
    head = linear_head(model)
    head_loss(model, cached.collate([cached.train[row] for row in range(40)])).backward()
    on_features = head.weight.grad.clone()
    head.weight.grad = None
    model.eval()(**tokens([data.train[row] for row in range(40)])).loss.backward()
    torch.testing.assert_close(on_features, head.weight.grad)


def test_a_head_of_two_layers_is_refused(data):
    with pytest.raises(BadInput, match="its head is not one linear layer"):
        extract_features(tiny_model("roberta", num_labels=2), data.train, tokens)


def test_images_are_seen_as_in_validation(data):
    seen = []

    def plain(image, row):
        seen.append("plain")
        return image

    def augmented(image, row):
        raise AssertionError("a training view was taken")

    images = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8)
    rows = ImageRows(images, np.arange(6) % 2, augmented)
    whole = dataclasses.replace(
        data,
        train=rows,
        validation=ImageRows(images[:2], np.arange(2), plain),
        collate=ImageCollator([0.5] * 3, [0.5] * 3),
    )
    model = tiny_image_model()
    features = cache_features(whole, model).train.features
    assert features.shape == (6, linear_head(model).in_features)
    assert seen == ["plain"] * 6


def tiny_image_model():
    from transformers import ConvNextConfig, ConvNextForImageClassification

    PartialState()
    torch.manual_seed(0)
    config = ConvNextConfig(hidden_sizes=[4, 6], depths=[1, 1], num_stages=2, patch_size=2, num_labels=2)
    return ConvNextForImageClassification(config)


def test_the_recipe_of_texts_trains_the_head_alone(reviews, encoder, here):
    flags = [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 16, "--max_steps", 20]
    results = launch(text_features.recipe, [str(flag) for flag in [*flags, "--output_dir", here / "run"]])
    saved, before = (load_file(folder / "model.safetensors") for folder in (here / "run", encoder))
    for name in (name for name in saved if name.startswith("encoder.")):
        assert torch.equal(saved[name], before[name.removeprefix("encoder.")]), name
    assert {"test_accuracy", "test_tfidf_accuracy"} <= results.keys()
    assert "test_frozen_accuracy" not in results  # which it is
    with pytest.raises(BadInput, match="--model_type textcnn: features of random weights say nothing"):
        text_features.load_data(text_features.recipe.settings.replace(model_type="textcnn"))
