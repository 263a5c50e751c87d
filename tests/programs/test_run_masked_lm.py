"""Pretraining on texts alone: a run from top to bottom, what it leaves, and what must not change in it."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoModelForMaskedLM, pipeline

from hftune import dry_run
from hftune.cli import compare, predict
from hftune.errors import BadInput
from hftune.recipes import imdb, imdb_mlm
from hftune.report.model_use import set_repo_id
from hftune.seed import generator
from hftune.tasks import task_of
from tests.runs import digest, file_flags, run_here, run_recipe, run_there, start_from
from tests.tiny import tiny_checkpoint

pytestmark = pytest.mark.usefixtures("quick_disk")
THINGS, WORTHS = ("film", "movie", "plot", "scene"), ("boring", "funny", "good", "bad", "best", "worst")


def write_texts(folder: Path) -> Path:
    """Writes train.txt and test.csv, texts of which most words follow from those around; one is in both."""
    texts = []
    for row in range(120):
        random = generator("text", row)
        sentences = 8 if row % 20 == 0 else random.integers(2, 5)  # few are longer than is read at once
        chosen = [(random.choice(THINGS), random.choice(WORTHS)) for _ in range(sentences)]
        texts.append(" ".join(f"the {thing} was {worth} ." for thing, worth in chosen))
    (folder / "train.txt").write_text("\n".join(texts[:101]))
    with (folder / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts[100:])])
    return folder


def flags(folder: Path, **changes) -> list:
    given = {"train_file": folder / "train.txt", "test_file": folder / "test.csv", "bf16": False}
    given |= {"model_name_or_path": folder / "encoder", "max_length": 24, "per_device_train_batch_size": 8}
    given |= {"learning_rate": 1e-2, "num_train_epochs": 6, "mlm_probability": 0.2}
    given |= {"save_strategy": "steps", "save_steps": 10, "save_total_limit": "none"}
    return [part for name, value in (given | changes).items() for part in (f"--{name}", value)]


def scratch_flags(folder: Path, **changes) -> list:
    sizes = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=24"
    words = flags(folder, model_type="bert", config_overrides=sizes, vocab_size=100, **changes)
    at = words.index("--model_name_or_path")
    return words[:at] + words[at + 2 :]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    folder = write_texts(tmp_path_factory.mktemp("texts"))
    tiny_checkpoint("bert", folder / "encoder")  # without a head, as a sentence encoder
    run_recipe(imdb_mlm.recipe, flags(folder), folder / "run", figures=True)
    return folder, folder / "run"


def test_a_run_learns_and_is_scored_beside_the_frequencies(trained):
    _, run = trained
    results = json.loads((run / "all_results.json").read_text())
    assert results["test_perplexity"] < 0.7 * results["test_unigram_perplexity"]
    assert results["test_perplexity_over_unigram_high"] < 0
    assert results["test_perplexity_low"] < results["test_perplexity"] < results["test_perplexity_high"]
    assert results["test_perplexity"] == pytest.approx(math.exp(results["test_loss"]))
    assert results["eval_perplexity"] == pytest.approx(math.exp(results["eval_loss"]))
    assert 0 < results["test_mlm_accuracy"] <= 1
    assert (results["train_samples"], results["test_samples"]) == (90, 20)  # one was in both, ten validate
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = min(line["eval_loss"] for line in log if "eval_loss" in line)
    assert results["eval_loss"] == pytest.approx(best, abs=1e-6)  # the same masks each time


def test_predictions_stand_beside_their_texts(trained):
    folder, run = trained
    rows = list(csv.DictReader((run / "test_predictions.csv").open()))
    results = json.loads((run / "all_results.json").read_text())
    assert rows[1]["place"] == f"{folder}/test.csv line 3"
    masked = sum(int(row["masked"]) for row in rows)
    assert sum(int(row["right"]) for row in rows) / masked == pytest.approx(results["test_mlm_accuracy"])
    loss = sum(int(row["masked"]) * float(row["loss"]) for row in rows) / masked
    assert loss == pytest.approx(results["test_loss"])


def test_the_result_fills_masks_and_says_how(trained, tmp_path):
    _, run = trained
    fill = pipeline("fill-mask", str(run))
    assert fill("the film [MASK] good .")[0]["token_str"] == "was"
    model = AutoModelForMaskedLM.from_pretrained(run)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    card = (run / "README.md").read_text()
    assert "It predicts masked tokens of texts. The model is a `BertForMaskedLM`" in card
    assert 'classify = pipeline("fill-mask", "./run")' in card
    assert 'classify("Write a [MASK] of your own here.")' in card
    assert "of the training tokens were masked, others in every epoch" in card
    assert "pipeline_tag: fill-mask" in card
    copy = shutil.copytree(run, tmp_path / "copy")
    set_repo_id(copy, "me/mine", task_of)
    assert 'classify = pipeline("fill-mask", "me/mine")' in (copy / "README.md").read_text()


def test_commands_that_need_a_classifier_say_what_to_do(trained):
    _, run = trained
    with pytest.raises(BadInput, match=r"is a masked language model, which fills masks.*fine-tune it first"):
        predict.main([str(run), "the film was good"])


def test_other_recipes_begin_from_it(trained, reviews, tmp_path):
    _, run = trained
    given = ["--model_name_or_path", run, "--max_steps", 2, "--max_length", 24, "--bf16", "false"]
    results = run_recipe(
        imdb.recipe, [*file_flags(reviews), *given, "--baselines", "false"], tmp_path / "run"
    )
    assert math.isfinite(results["test_loss"])
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_a_run_goes_on_to_the_same_bits_and_from_its_own_head(trained, tmp_path, capsys):
    folder, run = trained
    start_from(run, tmp_path / "again", 20)
    capsys.readouterr()
    assert run_here(imdb_mlm, flags(folder), tmp_path / "again") == digest(run)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 train texts also stand in test and are left out" in said
    assert "head: the checkpoint has none" in said
    more = flags(folder, model_name_or_path=run, max_steps=4)
    results = run_recipe(imdb_mlm.recipe, more, tmp_path / "more")
    said = " ".join(capsys.readouterr().out.split())
    assert "head: the checkpoint has none" not in said
    before = json.loads((run / "all_results.json").read_text())
    assert results["test_perplexity"] < 0.9 * before["test_unigram_perplexity"]  # not from the beginning
    compare.main([str(tmp_path / "more"), str(run)])
    assert "perplexity, difference" in capsys.readouterr().out


def test_from_scratch_too_and_two_processes_are_one(trained, tmp_path):
    folder, _ = trained
    words = scratch_flags(folder, gradient_accumulation_steps=2, num_train_epochs=2, baselines=False)
    one = run_here(imdb_mlm, words, tmp_path / "one")
    config = json.loads((tmp_path / "one/config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"]) == (16, 1)
    start_from(tmp_path / "one", tmp_path / "again", 10)
    assert run_here(imdb_mlm, words, tmp_path / "again") == one
    at = words.index("--gradient_accumulation_steps")
    assert run_there(imdb_mlm, words[:at] + words[at + 2 :], tmp_path / "two", 2) == one


def test_micro_batches_add_up_to_the_batch(trained, tmp_path):
    folder, _ = trained
    losses = []
    for rows, accumulated in ((8, 1), (1, 8)):
        sizes = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulated}
        steps = {"max_steps": 4, "logging_steps": 1, "save_steps": 4, "baselines": False}
        off = {"config_overrides": "hidden_dropout_prob=0.0", "train_sampling_strategy": "random"}
        run_here(imdb_mlm, flags(folder, **sizes, **steps, **off), tmp_path / f"{rows}")
        log = [json.loads(line) for line in (tmp_path / f"{rows}" / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in log if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_test_rows_the_frequencies_stand_beside_the_validation(trained, tmp_path):
    folder, _ = trained
    words = scratch_flags(folder, max_steps=2)
    at = words.index("--test_file")
    results = run_recipe(imdb_mlm.recipe, words[:at] + words[at + 2 :], tmp_path / "run")
    assert results["eval_unigram_perplexity"] == pytest.approx(math.exp(results["eval_unigram_loss"]))
    assert "test_loss" not in results


def test_a_dry_run_finds_a_run_ready(trained, quick_start, tmp_path):
    folder, _ = trained
    words = [str(word).removeprefix("--") for word in flags(folder)]
    settings = imdb_mlm.recipe.settings.replace(**dict(zip(words[::2], words[1::2], strict=True)))
    checks = dry_run.dry_run(imdb_mlm.recipe, settings, tmp_path / "run", Console(quiet=True))
    assert all(check.ready for check in checks), checks
