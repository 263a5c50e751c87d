"""Whole runs with LoRA: what they change, what they leave, and who can use it."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from hftune import dry_run
from hftune.errors import BadInput
from hftune.hub.files import files_of
from hftune.recipes import hotdog, imdb, wnut
from hftune.storage.checkpoint import list_checkpoints, load_checkpoint
from tests.forked import run_python
from tests.programs import test_run_tokens as tagged
from tests.runs import file_flags, run_recipe, write_images
from tests.tiny import saved_images, tiny_checkpoint

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.usefixtures("quick_disk")
WITHOUT = """
import csv, sys
for absent in ("hftune", "peft"):
    sys.modules[absent] = None
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, rows = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(folder)
read = AutoTokenizer.from_pretrained(folder)
answered = list(csv.DictReader(open(folder + "/test_predictions.csv")))
texts = [row["text"] for row in csv.DictReader(open(rows))]
for text, row in list(zip(texts, answered))[:8]:
    with torch.inference_mode():
        logits = model(**read(text, truncation=True, max_length=48, return_tensors="pt")).logits
    for label, chance in zip(model.config.id2label.values(), logits.softmax(-1)[0].tolist()):
        assert abs(float(row[label]) - chance) < 1e-5, (row, label, chance)
print("alike")
"""


def flags_for(reviews: Path, encoder: Path, **changes) -> list:
    given = {"model_name_or_path": encoder, "lora_r": 4, "lora_alpha": 8, "learning_rate": 2e-3}
    given |= {"max_steps": 12, "max_length": 48, "per_device_train_batch_size": 8, "bf16": False}
    given |= {"save_strategy": "steps", "save_steps": 6, "save_total_limit": "none", "baselines": False}
    return [*file_flags(reviews), *words_of(given | changes)]


def words_of(given: dict) -> list:
    return [part for name, value in given.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module", params=["single_label", "regression"])
def trained(request, reviews, encoder, tmp_path_factory) -> tuple[Path, str]:
    """A run's folder, and what the run said."""
    folder, said = tmp_path_factory.mktemp(request.param) / "run", io.StringIO()
    with contextlib.redirect_stdout(said):
        run_recipe(imdb.recipe, flags_for(reviews, encoder, task=request.param), folder)
    return folder, " ".join(said.getvalue().split())


def test_the_saved_weights_are_the_base_and_what_the_adapter_learned(trained, encoder):
    folder, _ = trained
    base, saved = load_file(encoder / "model.safetensors"), load_file(folder / "model.safetensors")
    adapter = load_file(folder / "adapter/adapter_model.safetensors")
    adapted = 0
    for name, weight in base.items():
        narrow = f"base_model.model.bert.{name.removesuffix('.weight')}.lora_"
        if f"{narrow}A.weight" in adapter:
            change = 8 / 4 * adapter[f"{narrow}B.weight"] @ adapter[f"{narrow}A.weight"]
            assert change.abs().max() > 1e-4
            torch.testing.assert_close(saved[f"bert.{name}"], weight + change, atol=1e-6, rtol=0)
            adapted += 1
        else:
            assert torch.equal(saved[f"bert.{name}"], weight), name
    assert adapted == 13
    assert torch.equal(saved["classifier.weight"], adapter["base_model.model.classifier.weight"])


def test_a_checkpoint_holds_what_is_trained_and_no_more(trained):
    folder, _ = trained
    (*_, last) = list_checkpoints(folder)
    checkpoint = load_checkpoint(folder / f"checkpoint-{last}")
    adapter = load_file(folder / "adapter/adapter_model.safetensors")
    held = {f"base_model.model.{name.replace('.default', '')}" for name in checkpoint.tensors["model"]}
    assert held == set(adapter)
    moments = [tensor for name, tensor in checkpoint.tensors["optimizer"].items() if name.endswith("exp_avg")]
    assert sum(tensor.numel() for tensor in moments) == sum(tensor.numel() for tensor in adapter.values())
    size = (folder / f"checkpoint-{last}/model.safetensors").stat().st_size
    assert size < (folder / "model.safetensors").stat().st_size / 3  # adapters of a tiny encoder are not tiny


def test_peft_puts_the_adapter_on_the_base_model(trained, encoder):
    folder, _ = trained
    saved = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    base = AutoModelForSequenceClassification.from_pretrained(encoder, config=saved.config)
    again = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = tokenizer(["a good film", "boring"], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(again(**texts).logits, saved(**texts).logits, atol=1e-5, rtol=1e-5)


def test_what_is_said_written_and_published(trained, encoder):
    folder, said = trained
    results = json.loads((folder / "all_results.json").read_text())
    count, share = results["trained_weights"], results["trained_weights_share"]
    adapter = load_file(folder / "adapter/adapter_model.safetensors")
    assert count == sum(tensor.numel() for tensor in adapter.values())
    assert f"beside 13 linear layers; with the head {count:,} of " in said
    merged = r"merged into the weights, which moves the logits of 20 validation rows by (\S+) at most"
    assert float(re.search(merged, said)[1]) < 1e-5
    assert "learning rate: 0.002, where LoRA usually needs 0.0001 to 0.0005" in said
    card = (folder / "README.md").read_text()
    assert "adapters of rank 4 (LoRA, Hu et al. 2021; alpha 8, dropout 0.05)" in card
    assert f"with the head {count:,} weights, {share:.2%} of all" in card
    assert {*folder.glob("adapter/*")} == {path for path in files_of(folder) if path.parent.name == "adapter"}
    assert len(list(folder.glob("adapter/*"))) == 2
    assert str(encoder.parent) not in (folder / "adapter/adapter_config.json").read_text()


@pytest.mark.parametrize("trained", ["single_label"], indirect=True)
def test_a_process_without_peft_and_hftune_answers_as_the_run_was_scored(trained, reviews):
    folder, _ = trained
    done = run_python(["-c", WITHOUT, folder, reviews / "test.csv"], server="first")
    assert done.stdout.strip().endswith("alike"), done.stderr


def test_a_dry_run_finds_a_run_ready(reviews, encoder, quick_start, tmp_path):
    flags = [str(word).removeprefix("--") for word in flags_for(reviews, encoder)]
    settings = imdb.recipe.settings.replace(**dict(zip(flags[::2], flags[1::2], strict=True)))
    checks = dry_run.dry_run(imdb.recipe, settings, tmp_path / "run", Console(quiet=True))
    assert all(check.ready for check in checks), checks


def test_a_checkpoint_of_another_base_model_is_refused(reviews, encoder, tmp_path):
    """The shapes are the same, so its adapters would fit, and be worth nothing."""
    run_recipe(imdb.recipe, flags_for(reviews, encoder, max_steps=2, save_steps=2), tmp_path / "run")
    other = tiny_checkpoint("bert", tmp_path / "other", initializer_range=0.1)
    from_there = {"resume_from_checkpoint": tmp_path / "run/checkpoint-2"}
    with pytest.raises(BadInput, match="checkpoint-2 was trained beside other base weights"):
        run_recipe(imdb.recipe, flags_for(reviews, other, **from_there), tmp_path / "next")


def test_a_pooler_that_would_stay_random_is_refused(reviews, tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "masked")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="LoRA would leave them random: pass --pooling cls") as caught:
        run_recipe(imdb.recipe, flags_for(reviews, folder), tmp_path / "run")
    assert caught.value.details == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]
    short = {"pooling": "cls", "max_steps": 2, "save_steps": 2}
    run_recipe(imdb.recipe, flags_for(reviews, folder, **short), tmp_path / "run")
    saved = load_file(tmp_path / "run/model.safetensors")
    assert saved["encoder.encoder.layer.0.output.dense.weight"].shape == (16, 24)


@pytest.mark.every_kind
def test_tagged_words_and_images_take_it_too(tmp_path):
    folder = tagged.write_words(tmp_path / "words")
    tiny_checkpoint("bert", folder / "encoder")
    short = {"lora_r": 2, "max_steps": 2, "save_steps": 2, "learning_rate": 1e-3}
    run_recipe(wnut.recipe, tagged.flags(folder, **short), tmp_path / "tagger")
    pictures = write_images(tmp_path / "pictures", {"train": 24, "validation": 6, "test": 6})
    saved_images("vit", tmp_path / "vit")
    places = {f"{split}_dir": pictures / split for split in ("train", "validation", "test")}
    given = {"model_name_or_path": tmp_path / "vit", "image_size": 32, "bf16": False} | places | short
    given |= {"save_strategy": "steps", "baselines": False, "augmentation": "none"}
    run_recipe(hotdog.recipe, words_of(given), tmp_path / "vits")
    for kind, name, task in (
        (AutoModelForTokenClassification, "tagger", "TOKEN_CLS"),
        (AutoModelForImageClassification, "vits", None),
    ):
        kind.from_pretrained(tmp_path / name)
        config = json.loads((tmp_path / name / "adapter/adapter_config.json").read_text())
        assert (config["task_type"], config["modules_to_save"]) == (task, ["classifier"])
