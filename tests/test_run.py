"""From flags to a run directory and an exit code, as a user meets them."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import pipeline

import hftune.run
from hftune.errors import HftuneError
from hftune.recipes import imdb
from hftune.storage.checkpoint import list_checkpoints
from hftune.training.evaluate import predict
from hftune.training.log import read_log
from tests.runs import file_flags, run_recipe

pytestmark = pytest.mark.usefixtures("quick_disk")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def flags(reviews, encoder) -> list:
    """A run of imdb.py of 24 steps with a tiny encoder."""
    small = [
        "--per_device_train_batch_size",
        8,
        "--num_train_epochs",
        2,
        "--max_length",
        48,
        "--bf16",
        "false",
    ]
    return [*file_flags(reviews), "--model_name_or_path", encoder, *small]


def failed(recipe, flags: list, run_dir: Path, capsys) -> tuple[int, str]:
    """Runs what must fail; returns the exit code and what stood on stderr."""
    with pytest.raises((HftuneError, SystemExit)) as ending:  # SystemExit: after a signal
        run_recipe(recipe, flags, run_dir)
    return getattr(ending.value, "exit_code", None) or ending.value.code, capsys.readouterr().err


def test_a_run_leaves_what_the_contract_says(flags, tmp_path, capsys):
    results = run_recipe(imdb.recipe, flags, tmp_path / "run", figures=True)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {
        *("config.json", "model.safetensors", "tokenizer.json", "all_results.json", "log.jsonl", "run.json"),
        *("exit.json", "curve.png", "test_predictions.csv", "checkpoint-24"),
    }
    assert json.loads((tmp_path / "run/all_results.json").read_text()) == results
    assert json.loads((tmp_path / "run/exit.json").read_text())["code"] == 0
    assert results["test_accuracy_low"] <= results["test_accuracy"] <= results["test_accuracy_high"]
    assert results["test_majority_accuracy"] == 0.5
    assert {"train_loss", "train_runtime", "train_samples_per_second", "epoch", "eval_loss"} <= set(results)
    shown = capsys.readouterr().out
    assert "precision: no on cpu" in shown
    assert "TF-IDF" in shown


def test_what_is_saved_is_what_was_scored(flags, reviews, tmp_path):
    """Transformers alone loads the result and gives the probabilities of test_predictions.csv, by name."""
    run_recipe(imdb.recipe, [*flags, "--baselines", "false"], tmp_path / "run")
    with (reviews / "test.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with (tmp_path / "run/test_predictions.csv").open() as file:
        written = list(csv.DictReader(file))
    classify = pipeline("text-classification", str(tmp_path / "run"), top_k=None)
    for row, answers in zip(written, classify(texts, truncation=True), strict=True):
        for answer in answers:
            assert float(row[answer["label"]]) == pytest.approx(answer["score"], abs=2e-6)
    assert load_file(tmp_path / "run/model.safetensors")["classifier.weight"].dtype == torch.float32


def test_scores_are_those_of_the_saved_files(flags, tmp_path, monkeypatch):
    """Saving is broken here: the files hold an encoder's classifier that answers the second class always."""
    save_model = hftune.run.save_model

    def save_another(model, data, run_dir, adapter):
        model.classifier.weight.data.zero_()
        model.classifier.bias.data = torch.tensor([0.0, 9.0])
        save_model(model, data, run_dir, adapter)

    monkeypatch.setattr(hftune.run, "save_model", save_another)
    results = run_recipe(imdb.recipe, [*flags, "--baselines", "false"], tmp_path)
    assert results["test_accuracy"] == 0.5
    assert results["test_loss"] == pytest.approx(4.5, abs=0.001)
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    hashes = json.loads((tmp_path / "run.json").read_text())["weights"]
    assert hashes["model.safetensors"] == digest
    assert hashes.keys() == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_the_same_command_again_trains_nothing(flags, tmp_path, capsys):
    first = run_recipe(imdb.recipe, [*flags, "--baselines", "false"], tmp_path)
    weights = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert run_recipe(imdb.recipe, [*flags, "--baselines", "false"], tmp_path) == first
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == weights
    assert "finished" in capsys.readouterr().out


def test_another_run_is_not_written_over(flags, tmp_path, capsys):
    run_recipe(imdb.recipe, [*flags, "--baselines", "false"], tmp_path)
    code, said = failed(imdb.recipe, [*flags, "--learning_rate", 1e-3], tmp_path, capsys)
    assert code == 2
    assert "learning_rate" in said
    assert "--output_dir" in said


def test_bad_rows_end_in_one_line_before_training(flags, reviews, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text('text,label\n"good film",1\n"bad film",0\n"no label",\n')
    at = flags.index("--train_file") + 1
    code, said = failed(imdb.recipe, [*flags[:at], bad, *flags[at + 1 :]], tmp_path / "run", capsys)
    assert code == 2
    assert [line for line in said.splitlines() if line.startswith("error:")] == [said.splitlines()[-1]]
    assert f"{bad}" in said
    assert "line 4" in said
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run/exit.json").read_text())["code"] == 2
    assert not list_checkpoints(tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_before_it_spreads(flags, tmp_path, capsys):
    calls = []

    def loss(model, batch):
        calls.append(len(batch["labels"]))
        return model(**batch).loss * (torch.nan if len(calls) == 5 else 1.0)

    recipe = imdb.recipe.replace(loss=loss)
    always = ["--save_strategy", "steps", "--save_steps", 1, "--save_total_limit", "none"]
    code, said = failed(recipe, [*flags, *always], tmp_path, capsys)
    assert code == 3
    assert "step 5" in said
    assert "training rows" in said
    assert list_checkpoints(tmp_path) == [1, 2, 3, 4]
    assert torch.isfinite(load_file(tmp_path / "checkpoint-4/model.safetensors")["classifier.weight"]).all()
    assert json.loads((tmp_path / "exit.json").read_text())["code"] == 3


@pytest.mark.parametrize("stop_at", [5, 24])  # of 24 steps: the last one has nothing behind it to stop at
def test_sigterm_leaves_a_checkpoint_and_the_same_command_goes_on(stop_at, flags, tmp_path, capsys):
    flags = [*flags, "--baselines", "false"]
    straight = run_recipe(imdb.recipe, flags, tmp_path / "straight")

    left = [stop_at]

    def stop(steps, model):
        if steps in left:
            left.remove(steps)
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = imdb.recipe.replace(after_step=stop)
    code, said = failed(recipe, flags, tmp_path / "stopped", capsys)
    assert code == 143
    assert "the same command" in said
    assert list_checkpoints(tmp_path / "stopped")[-1] in (stop_at, stop_at + 1)
    again = run_recipe(recipe, flags, tmp_path / "stopped")
    timed = {"train_runtime", "train_samples_per_second"}
    assert {k: v for k, v in again.items() if k not in timed} == {
        k: v for k, v in straight.items() if k not in timed
    }


def test_the_best_model_is_kept_and_waiting_ends(flags, tmp_path):
    """At a rate of 0 nothing gets better: two evaluations without gain end it, the first is the best."""
    flags[flags.index("--num_train_epochs") + 1] = 6
    still = ["--learning_rate", 0, "--early_stopping_patience", 2, "--baselines", "false"]
    results = run_recipe(imdb.recipe, [*flags, *still], tmp_path)
    assert results["epoch"] == 3
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["best_step"] == 12
    assert record["last_step"] == 36
    assert {12, 36} <= set(list_checkpoints(tmp_path))


def test_the_log_has_losses_and_scores_by_step(flags, tmp_path):
    every = ["--logging_steps", 4, "--eval_strategy", "steps", "--eval_steps", 0.5, "--baselines", "false"]
    run_recipe(imdb.recipe, [*flags, *every, "--report_to", "tensorboard"], tmp_path)
    log = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in log if "loss" in line] == [4, 8, 12, 16, 20, 24]
    assert [line["step"] for line in log if "eval_loss" in line] == [12, 24]
    assert all(line["grad_norm"] > 0 for line in log if "loss" in line)
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_gradient_checkpointing_changes_no_result(flags, tmp_path):
    flags = [*flags, "--baselines", "false", "--max_steps", 4]
    run_recipe(imdb.recipe, flags, tmp_path / "plain")
    run_recipe(imdb.recipe, [*flags, "--gradient_checkpointing"], tmp_path / "saved")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "saved"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, msg=name)


def test_the_four_parts_run_in_trainer(flags, tmp_path):
    """Data, collate, model and scores are transformers' own contract: its Trainer takes them as they are."""
    named = zip(flags[::2], flags[1::2], strict=True)
    settings = imdb.recipe.settings.replace(**{name.removeprefix("--"): str(value) for name, value in named})
    data = imdb.recipe.load_data(settings)
    model = imdb.recipe.build_model(settings, data)
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=3, per_device_train_batch_size=8, use_cpu=True, remove_unused_columns=False
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=data.train, data_collator=data.collate)
    assert np.isfinite(trainer.train().training_loss)
    theirs = trainer.predict(data.test).predictions
    found = predict(data.task, model, data.test, data.collate, trainer.accelerator, rows_per_batch=8)
    np.testing.assert_allclose(found["logits"], theirs, atol=1e-5)


def test_without_a_network_it_says_what_to_pass(tmp_path):
    """A closed port stands for no network; the ids are in no cache."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "recipes/imdb.py"), "--output_dir", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "stanfordnlp/imdb" in line
    assert "--dataset_name sample" in line


@pytest.mark.parametrize(
    ("part", "flag"),
    [
        ({"loss": lambda model, batch: model(**batch).loss}, ["--class_weight", "balanced"]),
        ({"loss": lambda model, batch: model(**batch).loss}, ["--label_smoothing_factor", 0.1]),
        ({"after_step": lambda steps, model: None}, ["--gradual_unfreezing", 1]),
    ],
    ids=["weights", "smoothing", "unfreezing"],
)
def test_a_flag_that_the_recipe_would_drop_is_refused(part, flag, flags, tmp_path, capsys):
    code, said = failed(imdb.recipe.replace(**part), [*flags, *flag], tmp_path, capsys)
    assert code == 2
    assert flag[0] in said


@pytest.mark.parametrize("metric", ["loss", "log_loss"])
def test_the_loss_can_choose_the_best_model(metric, flags, tmp_path):
    run_recipe(imdb.recipe, [*flags, "--baselines", "false", "--metric_for_best_model", metric], tmp_path)
    scores = [line for line in read_log(tmp_path / "log.jsonl") if "eval_loss" in line]
    best = min(scores, key=lambda line: line["eval_loss"])
    assert json.loads((tmp_path / "run.json").read_text())["best_step"] == best["step"]
