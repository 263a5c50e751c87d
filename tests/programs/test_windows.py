"""Whole runs that read long texts in windows: used without hftune, resumed, in two processes."""

import csv
import json

import pytest
from transformers import pipeline

from hftune.inference.load import load_model
from hftune.inference.predict import predict_rows
from hftune.recipes import imdb
from hftune.storage.checkpoint import list_checkpoints
from tests.forked import run_python
from tests.runs import file_flags, run_here, run_recipe, run_there, start_from
from tests.tiny import tiny_checkpoint

WINDOWS = ["--truncation", "window", "--max_length", 12, "--window_stride", 3, "--max_windows", 2]
# As on another machine: neither the working folder nor hftune.
PROGRAM = """
import json, sys
sys.modules["hftune"] = None
from transformers import pipeline
classify = pipeline("text-classification", sys.argv[1], trust_remote_code=True, top_k=None)
texts = json.loads(sys.argv[2])
print(json.dumps([{line["label"]: line["score"] for line in classify(text)[0]} for text in texts]))
"""


@pytest.fixture
def flags(reviews, encoder) -> list:
    small = ["--per_device_train_batch_size", 8, "--num_train_epochs", 2, "--bf16", "false"]
    saved = ["--save_strategy", "steps", "--save_steps", 1, "--save_total_limit", "none"]
    model = ["--model_name_or_path", encoder, "--baselines", "false"]
    return [*file_flags(reviews), *model, *WINDOWS, *small, *saved]


def test_pipeline_reads_all_of_a_long_text_as_it_was_scored(flags, reviews, tmp_path, capsys):
    results = run_recipe(imdb.recipe, [*flags, "--learning_rate", 0.01], tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "windows: of 12 tokens, 3 shared with the one before; 6 per train text at the median, 10" in said
    assert "41.4 % of train, 100.0 % of validation, 100.0 % of test" in said
    assert results["train_windows_max"] == 10
    assert results["test_tokens_read_share"] == 1
    assert results["train_tokens_read_share"] == pytest.approx(0.4136, abs=1e-4)
    page = (tmp_path / "README.md").read_text()
    assert "in windows of 12 tokens, each of which shares 3 with the one before" in page
    assert "41.4% of train, 100.0% of validation, 100.0% of test were read." in page
    with (reviews / "test.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with (tmp_path / "test_predictions.csv").open() as file:
        written = list(csv.DictReader(file))
    classify = pipeline("text-classification", str(tmp_path), top_k=None)
    for row, answers in zip(written, classify(texts), strict=True):  # without truncation=True
        for answer in answers:
            assert float(row[answer["label"]]) == pytest.approx(answer["score"], abs=2e-6)
    loaded = load_model(str(tmp_path))
    assert loaded.inputs.max_length == 12 + 63 * 7
    again = loaded.task.probabilities(predict_rows(loaded, loaded.inputs.rows(texts)))
    assert again[:, 1].tolist() == pytest.approx([float(row["1"]) for row in written], abs=2e-6)


def test_all_of_six_thousand_words_is_read_where_hftune_is_not_installed(reviews, tmp_path):
    encoder = tiny_checkpoint("bert", tmp_path / "encoder", max_position_embeddings=200)
    words = ["--model_name_or_path", encoder, "--truncation", "window", "--max_length", 200]
    some = ["--max_steps", 2, "--baselines", "false", "--learning_rate", 0.01]
    run_recipe(imdb.recipe, [*file_flags(reviews), *words, *some], tmp_path / "run")
    text = " ".join(["good film but boring plot"] * 1200)
    texts = json.dumps([text, text.removesuffix("plot") + "best"])
    done = run_python(["-I", "-c", PROGRAM, tmp_path / "run", texts])
    assert done.returncode == 0, done.stderr
    assert "longer than the specified maximum" not in done.stderr
    first, second = json.loads(done.stdout)
    assert first["1"] != second["1"]  # its last word alone is another one
    loaded = load_model(str(tmp_path / "run"))
    here = loaded.task.probabilities(predict_rows(loaded, loaded.inputs.rows([text])))
    assert here[0].tolist() == pytest.approx([first["0"], first["1"]], abs=2e-6)


def test_resumed_with_every_kind_of_rate_and_freezing_is_straight_through(flags, tmp_path):
    flags = [*flags, "--tokens_per_batch", 96, "--layer_decay", 0.8, "--freeze", "embeddings"]
    flags += ["--gradual_unfreezing", 0.5]
    straight = run_here(imdb, flags, tmp_path / "straight")
    step = list_checkpoints(tmp_path / "straight")[-1] // 2 + 1  # in the second epoch: other windows
    start_from(tmp_path / "straight", tmp_path / "resumed", step)
    assert run_here(imdb, [*flags, "--dataloader_num_workers", 2], tmp_path / "resumed") == straight


@pytest.mark.every_kind
def test_two_processes_are_one_with_twice_the_accumulation(flags, tmp_path):
    flags = [*flags, "--max_steps", 4]
    one = run_here(imdb, [*flags, "--gradient_accumulation_steps", 2], tmp_path / "one")
    assert run_there(imdb, flags, tmp_path / "two", 2) == one
