"""A whole run on pairs of texts: what is left, and that every way to use the model asks for both texts."""

import csv
import io
import json
import shutil
import sys

import accelerate
import numpy as np
import pytest
from transformers import pipeline

from hftune.cli import demo, export, predict, validate
from hftune.cli import eval as eval_command
from hftune.errors import BadInput
from hftune.inference.demo import build_page
from hftune.inference.load import load_model
from hftune.inference.occlusion import influence
from hftune.inference.onnx_export import ROWS
from hftune.recipes import mrpc
from tests.forked import run_python
from tests.hub.test_push import AT, push
from tests.runs import digest, file_flags, run_here, run_recipe, run_there, start_from
from tests.tiny import WORDS, tiny_checkpoint

pytestmark = pytest.mark.usefixtures("quick_disk")

NAMES = ("sentence1", "sentence2")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """120, 20 and 24 pairs as csv: the second sentence of every second row is the first one."""
    folder, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for name, rows in (("train", 120), ("validation", 20), ("test", 24)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*NAMES, "label"])
            for row in range(rows):
                lengths = random.integers(3, 40, 2)
                first, second = (" ".join(random.choice(WORDS[:90], length)) for length in lengths)
                writer.writerow([first, first if row % 2 else second, "same" if row % 2 else "other"])
    return folder


@pytest.fixture(scope="module")
def flags(pairs, tmp_path_factory) -> list:
    """Fifteen steps of a tiny encoder, with a checkpoint after each third one."""
    encoder = tiny_checkpoint("bert", tmp_path_factory.mktemp("encoder"))
    given = ["--model_name_or_path", encoder, "--max_length", 40, "--num_train_epochs", 1, "--bf16", "false"]
    given += ["--per_device_train_batch_size", 8, "--learning_rate", "1e-2", *file_flags(pairs)]
    return [*given, "--save_strategy", "steps", "--save_steps", 3, "--save_total_limit", "none"]


@pytest.fixture(scope="module")
def run(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    results = run_recipe(mrpc.recipe, flags, folder / "mrpc")
    return folder / "mrpc", results


def table(run) -> list[dict]:
    with (run[0] / "test_predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_table_and_card_tell_of_pairs(run):
    folder, results = run
    for name in ("tfidf", "overlap", "first_only", "second_only"):
        assert f"test_{name}_accuracy_low" in results
    assert 0 <= results["test_swap_consistency_low"] <= results["test_swap_consistency"] <= 1
    assert list(table(run)[0])[:5] == ["row", "place", "text", "text_pair", "label"]
    config = json.loads((folder / "config.json").read_text())
    assert (config["text_pair"], config["truncation"]) == (True, "longest_first")
    page = (folder / "README.md").read_text()
    call = 'classify({"text": "A text of your own.", "text_pair": "Another one."}, truncation=True)'
    assert call in page
    for said in ("text pairs into 2 classes", "from the second text alone", "change places.", "of a pair, b"):
        assert said in page


def test_pipeline_answers_as_the_table_says(run):
    classify = pipeline("text-classification", str(run[0]), top_k=None)
    for row in table(run):
        found = classify({"text": row["text"], "text_pair": row["text_pair"]}, truncation=True)
        for answer in found:
            assert abs(answer["score"] - float(row[answer["label"]])) < 1e-5


def test_eval_gives_the_scores_of_the_run(run, tmp_path, capsys):
    eval_command.main([str(run[0]), "--output", str(tmp_path / "scores.json")])
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["test_accuracy"] == run[1]["test_accuracy"]
    assert scores["test_loss"] == pytest.approx(run[1]["test_loss"], abs=1e-6)


def answers(capsys, *words: str) -> list[dict]:
    capsys.readouterr()
    predict.main(list(words))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_predict_takes_pairs_in_every_form(run, pairs, tmp_path, monkeypatch, capsys):
    folder, rows = str(run[0]), table(run)
    first, second = rows[3]["text"], rows[3]["text_pair"]
    (one,) = answers(capsys, folder, first, "--text_pair", second)
    assert (one["text"], one["text_pair"], one["label"]) == (first, second, rows[3]["prediction"])
    every = answers(capsys, folder, str(pairs / "test.csv"))
    assert [row["label"] for row in every] == [row["prediction"] for row in rows]
    lines = f"{first}\t{second}\n\n{second}\t{first}\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    tabbed = answers(capsys, folder, "-")
    assert [row["text"] for row in tabbed] == [first, None, second]
    assert tabbed[0]["score"] == pytest.approx(one["score"], abs=1e-5)
    named = [dict(zip(NAMES, pair, strict=True)) for pair in ((first, second), ("a", None))]
    objects = "".join(json.dumps(line) + "\n" for line in named)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(objects.encode())))
    assert [row["label"] is None for row in answers(capsys, folder, "-")] == [False, True]
    predict.main([folder, str(pairs / "test.csv"), "--output", str(tmp_path / "answers.csv")])
    with (tmp_path / "answers.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0])[:5] == ["row", "place", "text", "text_pair", "label"]
    assert [row["text_pair"] for row in written] == [row["text_pair"] for row in rows]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one text", "another"], "'one text' is one text, and .* reads pairs: pass the second one with"),
        (["a", "b", "--text_pair", "c"], "--text_pair .* goes with one text"),
        (["lines.txt"], "lines.txt line 2: 0 tabs; a line holds two texts with one tab between them"),
        (["three.csv"], "which two columns hold the pairs of texts"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_one_line(words, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("a\tb\nonly one\n")
    (tmp_path / "three.csv").write_text("a,b,c\nx y,y z,z z\n")
    with pytest.raises(BadInput, match=said):
        predict.main([str(run[0].resolve()), *words])


def test_words_of_either_text_are_left_out(run):
    loaded = load_model(str(run[0]))
    pair = ("the film was great", "the plot was bad")
    whole = influence(loaded, pair, part=0)
    other = influence(loaded, pair, part=1)
    np.testing.assert_allclose(whole.logits, other.logits, atol=1e-5)
    assert len(whole.words) == len(other.words) == 4
    by_hand = influence(loaded, ("film was great", pair[1])).logits
    label = int(whole.logits.argmax())
    odds = loaded.task.evidence({"logits": np.stack([whole.logits, by_hand])}, label)
    assert whole.drops[0] == pytest.approx(odds[0] - odds[1], abs=1e-4)


def test_a_run_goes_on_to_the_bit(run, flags, tmp_path, capsys):
    start_from(run[0], tmp_path / "again", 6)
    assert run_here(mrpc, flags, tmp_path / "again") == digest(run[0])
    assert "again/checkpoint-6" in capsys.readouterr().out  # and did not begin at the first step


@pytest.mark.every_kind
def test_two_processes_are_one_with_twice_the_accumulation(flags, tmp_path):
    few = [*flags, "--no_baselines", "--max_steps", 2]
    one = run_here(mrpc, [*few, "--gradient_accumulation_steps", 2], tmp_path / "one")
    assert run_there(mrpc, few, tmp_path / "two", 2) == one


@pytest.mark.every_kind
def test_a_dry_run_tries_pairs_without_hftune_too(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "hftune.inference.isolated.subprocess.run",
        lambda command, env=None, **named: run_python(command[1:], env=env),
    )
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    validate.main(["mrpc", *map(str, flags), "--output_dir", str(tmp_path / "never")])
    said = " ".join(capsys.readouterr().out.split())
    assert "120 train, 20 validation, 24 test" in said
    assert "in a process without hftune, logits equal" in said
    assert "not ready" not in said
    assert not (tmp_path / "never").exists()


def test_a_published_card_shows_both_texts(run, hub, tmp_path):
    shutil.copytree(run[0], tmp_path / "runs/mrpc")
    ended = push(hub, tmp_path / "runs/mrpc", *AT)
    assert ended.returncode == 0, ended.stderr
    files = hub.files("ann/model", "main")
    page = files["README.md"].decode()
    assert 'classify = pipeline("text-classification", "ann/model"' in page
    assert 'classify({"text": "A text of your own.", "text_pair": "Another one."}, truncation=True)' in page
    assert json.loads(files["config.json"])["text_pair"]
    assert files["model.safetensors"] == (run[0] / "model.safetensors").read_bytes()


def test_onnx_is_compared_on_pairs_of_the_test_rows(run):
    loaded = load_model(str(run[0]))
    rows = export._rows(loaded, {})
    known = [(row["text"], row["text_pair"]) for row in table(run)]
    of_run = loaded.inputs.rows(known)
    assert len(rows) == ROWS + 2  # the test rows, some to validate on, and two that may well differ
    for row in range(len(known)):
        assert rows[row]["input_ids"].tolist() == of_run[row]["input_ids"].tolist()


def test_a_page_to_try_it_has_two_texts_and_pairs_of_the_test_rows(run, tmp_path):
    gradio = pytest.importorskip("gradio")
    loaded = load_model(str(run[0]))
    examples = demo._examples(loaded)
    known = {(row["text"], row["text_pair"]): row for row in table(run)}
    assert len(examples) == demo.EXAMPLES
    assert known.keys() >= set(examples)
    page = build_page(loaded, examples, tmp_path)
    boxes = [block.label for block in page.blocks.values() if isinstance(block, gradio.Textbox)]
    assert boxes == ["First text", "Second text"]
    (classify,) = [function.fn for function in page.fns.values() if function.api_name == "classify"]
    scores = next(iter(classify(*examples[0])))[0]
    assert max(scores, key=scores.get) == known[examples[0]]["prediction"]
