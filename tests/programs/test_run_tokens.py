"""Whole runs on tagged words, with a tiny encoder: scores, files, use, and what must not change them."""

import csv
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from transformers import pipeline

from hftune import dry_run
from hftune.cli import eval as evaluation
from hftune.cli import predict
from hftune.recipes import wnut, wnut_bilstm_crf
from tests.forked import run_python
from tests.runs import digest, run_here, run_recipe, run_there, start_from
from tests.tiny import tiny_checkpoint

SENTENCE = "the film {} was made by {} and loved by all who had seen it in {} ."
NAMES = ["boring", "funny", "best", "worst", "plot", "scene", "movie", "story"]


def write_words(folder: Path, scheme: str = "BIO") -> Path:
    """Writes train.conll, validation.conll and test.conll, with names of one or two words."""
    folder.mkdir(exist_ok=True)
    first, last, single = {"BIO": "BIB", "BIOES": "BES"}[scheme]
    for split, rows in {"train": 60, "validation": 12, "test": 12}.items():
        lines = []
        for row in range(rows):
            for place, word in enumerate(SENTENCE.split()[: 8 + row % 9]):
                if word != "{}":
                    lines.append(f"{word} O")
                    continue
                kind, names = ("X", "Y")[place == 6], NAMES[(row + place) % 7 :][: 1 + row % 2]
                names = names if split == "train" else names[::-1]  # two words make a name that is new
                prefixes = [first, last] if len(names) == 2 else [single]
                lines += [f"{name} {prefix}-{kind}" for name, prefix in zip(names, prefixes, strict=True)]
            lines.append("")
        (folder / f"{split}.conll").write_text("\n".join(lines))
    return folder


def flags(folder: Path, **changes) -> list:
    given = {f"{split}_file": folder / f"{split}.conll" for split in ("train", "validation", "test")}
    given |= {"model_name_or_path": folder / "encoder", "max_length": 16, "window_stride": 4, "bf16": False}
    given |= {"per_device_train_batch_size": 8, "learning_rate": 2e-2, "num_train_epochs": 4}
    given |= {"save_strategy": "steps", "save_steps": 7, "save_total_limit": "none"}
    return [part for name, value in (given | changes).items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    folder = write_words(tmp_path_factory.mktemp("words"), "BIOES")
    tiny_checkpoint("bert", folder / "encoder")
    run_recipe(wnut.recipe, flags(folder), folder / "run", figures=True)
    return folder, folder / "run"


def test_a_run_learns_scores_and_writes_what_a_person_needs(trained):
    _, run = trained
    results = json.loads((run / "all_results.json").read_text())
    assert results["test_f1"] > 0.5 > results["test_majority_f1"]
    assert results["test_f1_low"] <= results["test_f1"] <= results["test_f1_high"]
    assert {"test_f1_unseen", "test_f1_strict", "test_window_f1", "test_dictionary_f1"} < results.keys()
    assert results["train_windows"] > results["train_samples"] == 60
    assert (run / "entities.png").is_file()
    card = (run / "README.md").read_text()
    assert 'pipeline("token-classification", "./run", aggregation_strategy="first")' in card
    assert "entities.png" in card
    assert "It marks entities of 2 types in texts: **X**, **Y**." in card
    assert "how many of the entities given this class have it" in card


def test_predictions_stand_beside_the_words_in_the_users_scheme(trained):
    folder, run = trained
    rows = [json.loads(line) for line in (run / "test_predictions.jsonl").read_text().splitlines()]
    given = [block.splitlines() for block in (folder / "test.conll").read_text().split("\n\n")]
    assert [row["tokens"] for row in rows] == [[line.split()[0] for line in block] for block in given]
    assert [row["tags"] for row in rows] == [[line.split()[1] for line in block] for block in given]
    assert any(tag[0] in "ES" for row in rows for tag in row["predicted"])
    for row in rows:
        assert all(row["text"][one["start"] : one["end"]] == one["word"] for one in row["entities"])
    assert rows[1]["place"] == f"{folder}/test.conll line {len(given[0]) + 2}"


def test_the_saved_model_answers_in_the_pipeline_as_in_predict(trained, tmp_path):
    _, run = trained
    text = "the film funny best was made by boring ."
    predict.main([str(run), text, "--output", str(tmp_path / "answers.jsonl")])
    (answer,) = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    theirs = pipeline("token-classification", str(run), aggregation_strategy="first")(text)
    assert [(e["entity_group"], e["start"], e["end"]) for e in answer["entities"]] == [
        (e["entity_group"], e["start"], e["end"]) for e in theirs
    ]
    assert answer["entities"]


def test_entities_stand_in_tables_too(trained, tmp_path):
    folder, run = trained
    for name in ("answers.csv", "answers.txt"):
        predict.main([str(run), str(folder / "test.conll"), "--output", str(tmp_path / name)])
    rows = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert len(rows) == 12
    assert rows[0]["place"] == f"{folder}/test.conll line 1"
    assert re.fullmatch(r"\w+( \w+)? \([XY]\)(\|.*)?", rows[0]["prediction"])
    assert rows[0]["prediction"].split("|")[0] in (tmp_path / "answers.txt").read_text()


def test_eval_gives_the_scores_of_the_run(trained, tmp_path):
    folder, run = trained
    before = json.loads((run / "all_results.json").read_text())
    for number, data in enumerate(([], ["--test_file", str(folder / "test.conll")])):
        output = tmp_path / f"{number}.json"
        evaluation.main([str(run), *data, "--output", str(output)])
        after = json.loads(output.read_text())
        for name in ("f1", "f1_high", "f1_seen", "f1_unseen"):
            assert after[f"test_{name}"] == before[f"test_{name}"]


def crf_flags(folder: Path, **changes) -> list:
    sizes = "embedding_dim=8,char_filters=6,hidden_size=8"
    given = {"config_overrides": sizes, "learning_rate": 1e-2, "num_train_epochs": 2, "baselines": False}
    words = flags(folder, **(given | changes))
    at = words.index("--model_name_or_path")
    return words[:at] + words[at + 2 :]


def test_a_crf_from_scratch_loads_and_answers_without_hftune(trained, tmp_path):
    folder, _ = trained
    run = tmp_path / "run"
    run_here(wnut_bilstm_crf, crf_flags(folder), run)
    card = (run / "README.md").read_text()
    assert 'aggregation_strategy="first", trust_remote_code=True)' in card
    assert "bilstm_crf.py" in card
    text = "the film funny best was made by boring ."
    program = f"""
import sys
sys.modules["hftune"] = None
from transformers import pipeline
use = pipeline("token-classification", {str(run)!r}, aggregation_strategy="first", trust_remote_code=True)
print([(one["entity_group"], one["start"], one["end"]) for one in use({text!r})])
"""
    done = run_python(["-I", "-c", program])
    assert done.returncode == 0, done.stderr
    predict.main([str(run), text, "--output", str(tmp_path / "answer.jsonl")])
    found = json.loads((tmp_path / "answer.jsonl").read_text())["entities"]
    assert str([(one["entity_group"], one["start"], one["end"]) for one in found]) == done.stdout.strip()


@pytest.mark.every_kind
def test_two_processes_are_one(trained, tmp_path):
    folder, _ = trained
    words = crf_flags(folder, gradient_accumulation_steps=2, num_train_epochs=1)
    one = run_here(wnut_bilstm_crf, words, tmp_path / "one")
    at = words.index("--gradient_accumulation_steps")
    assert run_there(wnut_bilstm_crf, words[:at] + words[at + 2 :], tmp_path / "two", 2) == one


def test_a_dry_run_finds_a_run_ready(trained, quick_start, tmp_path):
    folder, _ = trained
    words = [str(word).removeprefix("--") for word in flags(folder)]
    settings = wnut.recipe.settings.replace(**dict(zip(words[::2], words[1::2], strict=True)))
    checks = dry_run.dry_run(wnut.recipe, settings, tmp_path / "run", Console(quiet=True))
    assert all(check.ready for check in checks), checks


def test_a_run_goes_on_to_the_same_bits(trained, tmp_path):
    folder, run = trained
    start_from(run, tmp_path / "again", 14)
    assert run_here(wnut, flags(folder), tmp_path / "again") == digest(run)


def test_a_crf_goes_on_to_the_same_bits(trained, tmp_path):
    folder, _ = trained
    straight = run_here(wnut_bilstm_crf, crf_flags(folder), tmp_path / "straight")
    start_from(tmp_path / "straight", tmp_path / "again", 7)
    assert run_here(wnut_bilstm_crf, crf_flags(folder), tmp_path / "again") == straight


def test_micro_batches_add_up_to_the_batch(trained, tmp_path):
    folder, _ = trained
    config = "hidden_dropout_prob=0.0"
    losses = []
    for rows, accumulated in ((8, 1), (1, 8)):
        sizes = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulated}
        steps = {"max_steps": 4, "logging_steps": 1, "save_steps": 4, "config_overrides": config}
        given = flags(folder, **sizes, **steps, train_sampling_strategy="random")
        run_here(wnut, [*given, "--baselines", False], tmp_path / f"{rows}")
        log = [json.loads(line) for line in (tmp_path / f"{rows}" / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in log if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
