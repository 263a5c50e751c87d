"""Fine-tuning from a model that hftune trained: its weights go on, its head is new for other labels."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hftune.recipes import imdb, imdb_bag, imdb_bilstm, imdb_textcnn, shapes
from tests.forked import run_python
from tests.runs import file_flags, run_recipe

pytestmark = pytest.mark.usefixtures("quick_disk", "shapes_once")
SHORT = ["--max_steps", 2, "--baselines", "false", "--bf16", "false", "--per_device_train_batch_size", 8]
FIRST = {
    "bag": (imdb_bag, ["--config_overrides", "embedding_dim=8,num_buckets=64"]),
    "bilstm": (imdb_bilstm, ["--config_overrides", "embedding_dim=8,hidden_size=8"]),
    "textcnn": (imdb_textcnn, ["--config_overrides", "embedding_dim=8,num_filters=4"]),
    "pooled": (imdb, ["--pooling", "mean"]),
}
GENTLE = ["--learning_rate", 1e-5, "--head_lr_multiplier", 1, "--warmup_steps", 0]


def kept(before: Path, after: Path) -> dict[str, bool]:
    """Says of each tensor of the new model whether it is the old one, but for two small steps."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {
        name: name in old and old[name].shape == value.shape and torch.allclose(old[name], value, atol=1e-3)
        for name, value in new.items()
    }


def relabelled(reviews: Path, folder: Path) -> list:
    """Writes the reviews with three labels; returns their flags."""
    flags = []
    for split in ("train", "validation", "test"):
        with (reviews / f"{split}.csv").open() as file:
            rows = list(csv.DictReader(file))
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([row["text"], "abc"[number % 3]] for number, row in enumerate(rows))
        flags += [f"--{split}_file", folder / f"{split}.csv"]
    return flags


@pytest.mark.parametrize("kind", FIRST)
def test_a_trained_text_model_is_a_checkpoint(kind, reviews, encoder, tmp_path):
    module, flags = FIRST[kind]
    flags = [*flags, "--max_length", 48, *SHORT]
    flags += ["--model_name_or_path", encoder] if kind == "pooled" else ["--min_frequency", 1]
    run_recipe(module.recipe, [*file_flags(reviews), *flags], tmp_path / "first")
    again = ["--model_name_or_path", tmp_path / "first", "--max_length", 48, *SHORT, *GENTLE]
    run_recipe(imdb.recipe, [*file_flags(reviews), *again], tmp_path / "same")
    assert all(kept(tmp_path / "first", tmp_path / "same").values())
    run_recipe(imdb.recipe, [*relabelled(reviews, tmp_path), *again], tmp_path / "other")
    new = {name for name, same in kept(tmp_path / "first", tmp_path / "other").items() if not same}
    assert new == {"classifier.weight", "classifier.bias"}


def test_a_trained_resnet9_is_a_checkpoint(tmp_path):
    flags = ["--max_train_samples", 48, "--max_eval_samples", 24, "--image_size", 16, *SHORT]
    run_recipe(shapes.recipe, [*flags, "--config_overrides", "width=4"], tmp_path / "first")
    again = ["--model_name_or_path", tmp_path / "first", "--freeze_batch_norm", "true", *GENTLE]
    run_recipe(shapes.recipe, [*flags, *again], tmp_path / "same")
    assert all(kept(tmp_path / "first", tmp_path / "same").values())


def test_trained_models_are_known_before_any_is_built():
    """The runs above share a process, in which the first has made its architecture known."""
    program = """
import hftune.data.base_model
from transformers import AutoConfig
from hftune.models.standalone import STANDALONE, model_class
for kind in STANDALONE:
    assert type(AutoConfig.for_model(kind)) is model_class(kind).config_class
"""
    done = run_python(["-c", program])
    assert done.returncode == 0, done.stderr
