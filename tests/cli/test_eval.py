"""`hftune eval`: a run's own scores again, the scores of any other data, and every mismatch in one line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from hftune.data.text.read import read_texts
from hftune.inference.load import load_model
from hftune.inference.predict import predict_rows
from hftune.recipes import imdb, shapes
from tests.cli.test_cli import hftune
from tests.data.image.test_splits import write_class_folders
from tests.runs import file_flags, run_recipe
from tests.tiny import tiny_checkpoint

pytestmark = pytest.mark.usefixtures("quick_disk")
SHORT = ["--max_steps", 2, "--per_device_train_batch_size", 4, "--baselines", "false"]


@pytest.fixture(scope="module")
def text_run(tmp_path_factory, reviews, encoder) -> Path:
    """A run whose test rows are a part, cut from the end, and scored in bfloat16."""
    folder = tmp_path_factory.mktemp("texts") / "run"
    flags = [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 24, *SHORT]
    flags += [
        "--truncation",
        "tail",
        "--max_eval_samples",
        13,
        "--per_device_eval_batch_size",
        5,
        "--seed",
        3,
    ]
    run_recipe(imdb.recipe, [*flags, "--bf16", "true", "--learning_rate", 0.01], folder)
    return folder


@pytest.fixture(scope="module")
def image_run(tmp_path_factory) -> Path:
    """A run on class folders, one test image of which cannot be read."""
    folder = tmp_path_factory.mktemp("images")
    for split, each in (("train", 6), ("test", 5)):
        write_class_folders(folder / "pets" / split, each, split)
    (folder / "pets/test/red/bad.png").write_bytes(b"\x89PNG")
    flags = ["--dataset_name", folder / "pets", "--skip_bad_images", "--config_overrides", "width=4"]
    flags += ["--image_size", 16, "--eval_image_size", 18, "--bf16", "false", "--learning_rate", 0.01]
    run_recipe(shapes.recipe, [*flags, *SHORT], folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    labels = {0: "positive", 1: "negative"}
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"), num_labels=2, id2label=labels)


def scores_of(path: str) -> dict[str, float]:
    return json.loads(Path(path).read_text())


def agree(run_dir: Path, found: dict[str, float]) -> None:
    """Compares with all_results.json."""
    stored = scores_of(run_dir / "all_results.json")
    own = [name for name in stored if name.startswith("test_")]
    assert {"test_loss", "test_accuracy", "test_accuracy_low", "test_samples"} <= set(own)
    for name in own:
        assert found[name] == pytest.approx(stored[name], abs=1e-5), name


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_run_gets_the_scores_of_its_results_again(kind, text_run, image_run, monkeypatch, capsys, tmp_path):
    run_dir = {"text": text_run, "image": image_run}[kind]
    output = tmp_path / "scores.json"
    monkeypatch.chdir(tmp_path)
    assert hftune(monkeypatch, "eval", run_dir, "--output", output) == 0
    agree(run_dir, scores_of(output))
    said = capsys.readouterr()
    rows = {"text": 13, "image": 15}[kind]
    assert f"{rows} rows of " in said.out
    assert "split test\n" in said.out
    assert "accuracy" in said.out
    assert ("left out" in said.err) == (kind == "image")
    assert "have changed" not in said.err
    assert hftune(monkeypatch, "eval", run_dir, "--split", "train") == 0  # of which the run validated on some
    assert "have changed" not in capsys.readouterr().err


def test_bfloat16_changes_the_scores_of_the_text_run(text_run, reviews):
    """Else the test above would not show that a run is scored again in its own precision."""
    saved = load_model(str(text_run))
    rows = saved.inputs.rows(read_texts([str(reviews / "test.csv")]).values)
    plain = predict_rows(saved, rows)["logits"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert abs(predict_rows(saved, rows)["logits"] - plain).max() > 1e-4


def test_other_data_are_matched_by_the_names_of_their_labels(bert, reviews, monkeypatch, capsys, tmp_path):
    """The data number negative 0 and positive 1, the model the other way round."""
    named = (reviews / "test.csv").read_text().replace(",0\n", ",negative\n").replace(",1\n", ",positive\n")
    (tmp_path / "test.csv").write_text(named)
    output = tmp_path / "scores.json"
    words = ["eval", bert, "--test_file", tmp_path / "test.csv", "--output", output]
    assert hftune(monkeypatch, *words) == 0
    scores = scores_of(output)
    truth = np.array([int(line.endswith(",negative")) for line in named.splitlines()[1:]])
    saved = load_model(str(bert))
    rows = saved.inputs.rows(read_texts([str(tmp_path / "test.csv")]).values)
    logits = predict_rows(saved, rows)["logits"]
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert scores["test_samples"] == len(truth) == 20
    assert scores["test_accuracy"] == pytest.approx(accuracy_score(truth, logits.argmax(-1)))
    assert scores["test_f1_macro"] == pytest.approx(f1_score(truth, logits.argmax(-1), average="macro"))
    assert scores["test_loss"] == pytest.approx(log_loss(truth, probabilities), abs=1e-5)
    assert scores["test_accuracy_low"] < scores["test_accuracy"] < scores["test_accuracy_high"]
    page = capsys.readouterr().out
    low, high = scores["test_accuracy_low"], scores["test_accuracy_high"]
    assert f"{scores['test_accuracy']:.3f} [{low:.3f}, {high:.3f}]" in page
    assert "log loss" in page


def test_a_data_set_by_name_and_its_validation_split(bert, monkeypatch, capsys, tmp_path):
    output = tmp_path / "scores.json"
    words = ["eval", bert, "--dataset_name", "sample", "--max_eval_samples", 40, "--output", output]
    assert hftune(monkeypatch, *words) == 0
    assert "40 rows of built-in sample, split test\n" in capsys.readouterr().out
    assert hftune(monkeypatch, *words, "--split", "validation") == 0
    assert "40 rows of built-in sample, split validation\n" in capsys.readouterr().out
    assert {"validation_samples", "eval_accuracy", "eval_loss_high"} <= set(scores_of(output))


def test_validation_in_the_place_of_test_is_said(bert, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    for name in ("train", "dev"):
        Path(f"set/{name}.csv").write_text("text,label\na good film,positive\na bad film,negative\n")
    assert hftune(monkeypatch, "eval", bert, "--dataset_name", "set") == 0
    assert "split validation (there is no labelled test split)" in capsys.readouterr().out


def test_images_that_are_not_the_runs_own(image_run, monkeypatch, capsys, tmp_path):
    write_class_folders(tmp_path / "more", 4, "validation")
    words = ["eval", image_run, "--test_dir", tmp_path / "more", "--per_device_eval_batch_size", 5]
    assert hftune(monkeypatch, *words) == 0
    assert f"12 rows of {tmp_path / 'more'}, split test\n" in capsys.readouterr().out


def test_data_that_have_changed_since_the_run_are_noticed(image_run, monkeypatch, capsys):
    first = sorted((image_run.parent / "pets/test/blue").iterdir())[0]
    content = first.read_bytes()
    first.unlink()
    try:
        assert hftune(monkeypatch, "eval", image_run) == 0
    finally:
        first.write_bytes(content)
    assert "warning: the run was scored on 15 rows: its data have changed" in capsys.readouterr().err


REFUSED = [
    ([], "hftune eval needs one model"),
    (["BERT", "TEXTS"], "hftune eval needs one model"),
    (["BERT"], "is no run directory, so it has no test rows of its own; pass --dataset_name, --test_file"),
    (
        ["BERT", "--test_file", "x.csv", "--dataset_name", "sample"],
        "--dataset_name and --test_file contradict",
    ),
    (["BERT", "--test_file", "x.csv", "--dataset_revision", "v1"], "--dataset_revision needs --dataset_name"),
    (["BERT", "--test_file", "gone.csv"], "gone.csv does not exist"),
    (["BERT", "--test_dir", "."], "--test_dir: "),
    (["BERT", "--dataset_name", "sample", "--image_column_name", "x"], "--image_column_name: "),
    (["PICTURES", "--dataset_name", "sample", "--text_column_name", "x"], "--text_column_name: "),
    (
        ["BERT", "--dataset_name", "sample", "--split", "gone"],
        "--split gone: built-in sample has no such split",
    ),
    (["BERT", "--dataset_name", "acme/gone"], "acme/gone is not in the cache"),
    (["BERT", "--test_file", "x.csv", "--max_eval_samples", "0"], "--max_eval_samples 0: must be at least 1"),
    (
        ["BERT", "--test_file", "x.csv", "--output", "x.jsonl"],
        "its name must end in one of .json, .csv, .tsv",
    ),
    (
        ["BERT", "--test_file", "x.csv", "--output", "x.csv"],
        "--output x.csv is what is read",
    ),
    (["BERT", "--test_file", "x.csv", "--batch_size", "4"], "no such flag; use --per_device_eval_batch_size"),
    (["BERT", "--test_file", "x.csv", "--output", "none/x.json"], "there is no folder none"),
    (["BERT", "--test_file", "x.csv", "--revision", "v2"], " is a folder, only a Hub id has revisions"),
    (["BERT", "--test_file", "plain.csv"], "no column that is plainly the label"),
    (["TEXTS", "--test_file", "x.csv"], "x.csv line 2: the model knows no label 'great' (it knows 0, 1)"),
    (
        ["PICTURES", "--dataset_name", "sample"],
        "the model knows no label 'circle' (it knows blue, green, red)",
    ),
    (["half", "--test_file", "x.csv"], "half: this run is not finished"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_scored_is_one_line_and_code_2(
    words, message, bert, text_run, image_run, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("text,label\na film,great\nanother film,poor\na third,great\n")
    Path("plain.csv").write_text("text\na film\nanother film\n")
    Path("half").mkdir()
    record = json.loads((text_run / "run.json").read_text())
    Path("half/run.json").write_text(json.dumps({**record, "finished": False}))
    named = {"BERT": bert, "TEXTS": text_run, "PICTURES": image_run}
    assert hftune(monkeypatch, "eval", *(named.get(word, word) for word in words)) == 2
    said = capsys.readouterr()
    line, *more = said.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert all(place.startswith("  - ") for place in more)
    assert said.out == ""


def test_scores_are_written_also_where_nobody_reads_the_table(bert, monkeypatch, tmp_path):
    (tmp_path / "x.csv").write_text("text,label\na film,positive\nanother film,negative\n")
    output = tmp_path / "scores.json"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert hftune(monkeypatch, "eval", bert, "--test_file", tmp_path / "x.csv", "--output", output) == 0
    assert scores_of(output)["test_samples"] == 2


def test_a_table_of_scores_and_the_class_that_they_are_of(bert, monkeypatch, capsys, tmp_path):
    (tmp_path / "rows.csv").write_text(
        "text,label\na film,positive\nanother film,negative\na third,negative\n"
    )
    words = ["eval", bert, "--test_file", tmp_path / "rows.csv", "--output"]
    found = {}
    for label in ("positive", "negative"):
        for name in ("x.csv", "x.json"):
            assert hftune(monkeypatch, *words, tmp_path / name, "--pos_label", label) == 0
        with (tmp_path / "x.csv").open(newline="") as file:
            lines = {line.pop("score"): line for line in csv.DictReader(file)}
        scores = scores_of(tmp_path / "x.json")
        assert float(lines["test_accuracy"]["value"]) == scores["test_accuracy"]
        assert float(lines["test_accuracy"]["low"]) == scores["test_accuracy_low"]
        assert lines["test_class_negative_support"] == {"value": "2", "low": "", "high": ""}
        assert f"precision, recall, F1 of '{label}'" in " ".join(capsys.readouterr().out.split())
        found[label] = scores["test_recall"]
        assert found[label] == scores[f"test_class_{label}_recall"]
    assert found["positive"] != found["negative"]


def test_unknown_labels_are_all_listed(text_run, monkeypatch, capsys, tmp_path):
    (tmp_path / "x.csv").write_text("text,label\na film,great\nanother film,poor\na third,great\n")
    assert hftune(monkeypatch, "eval", text_run, "--test_file", tmp_path / "x.csv") == 2
    _, other = capsys.readouterr().err.splitlines()
    assert other == f"  - {tmp_path}/x.csv line 3: label 'poor'"


def test_the_page_comes_without_anything_heavy():
    program = (
        "import sys\nfrom hftune.cli.main import choose\nfor name in ('predict', 'eval', 'gradcam'):\n"
        "    choose([name, '--help'])\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"torch", "transformers", "datasets", "accelerate", "sklearn", "matplotlib"} & loaded
