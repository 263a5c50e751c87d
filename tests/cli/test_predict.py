"""`hftune predict`: the pipeline's answers in order, as JSON lines or a table; or one error."""

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from hftune.cli import predict
from hftune.storage import files
from hftune.tasks.single_label import SingleLabel
from tests.cli.test_cli import hftune
from tests.data.image.test_splits import painted, png
from tests.inference.test_load import LABELS, ROOT, random_texts, save_images_model, scores_of
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"), num_labels=3, id2label=LABELS)


@pytest.fixture(scope="module")
def eye(tmp_path_factory) -> Path:
    """A classifier of images."""
    return save_images_model(tmp_path_factory.mktemp("eye"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_a_terminal(monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def plain(page: str) -> str:
    """Returns a page without colours."""
    return re.sub("\x1b.*?m", "", page)


def test_many_texts_become_json_lines_in_their_order(bert, monkeypatch, capsys):
    texts = random_texts(70, longest=90)
    Path("texts.txt").write_text("\n".join(texts))
    assert hftune(monkeypatch, "predict", bert, "one good film", "texts.txt") == 0
    said = capsys.readouterr()
    answers = [json.loads(line) for line in said.out.splitlines()]
    assert [one["text"] for one in answers] == ["one good film", *texts]
    theirs = pipeline("text-classification", str(bert), top_k=None)
    for one, line in zip(answers, theirs(["one good film", *texts], truncation=True), strict=True):
        assert list(one) == ["text", "label", "score", "scores"]
        assert (one["label"], one["score"]) == next(iter(one["scores"].items()))
        assert one["label"] == line[0]["label"]
        assert list(one["scores"]) == [entry["label"] for entry in line]
        labels = tuple(LABELS.values())
        found = [one["scores"][label] for label in labels]
        np.testing.assert_allclose(found, scores_of(line, labels), atol=1e-5)
    assert said.err == ""


def test_a_blank_row_is_answered_with_null_in_its_place(bert, monkeypatch, capsys):
    Path("lines.txt").write_text("good\n\nbad\n\n")
    assert hftune(monkeypatch, "predict", bert, "lines.txt") == 0
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["text"] for answer in answers] == ["good", None, "bad"]
    assert answers[1] == {"text": None, "label": None, "score": None, "scores": None}
    assert answers[2]["label"] is not None
    assert "warning: lines.txt line 2 has no text and is answered with null\n" in err
    assert hftune(monkeypatch, "predict", bert, "lines.txt", "--format", "table") == 0
    assert "none" in capsys.readouterr().out


def test_bf16_moves_probabilities_a_little(bert, monkeypatch, capsys):
    answers = []
    for flags in ([], ["--bf16"]):
        words = ["good film", "a long bad evening", "--format", "json", *flags]
        assert hftune(monkeypatch, "predict", bert, *words) == 0
        answers.append([json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()])
    exact, rough = answers
    assert rough != exact
    for one, other in zip(exact, rough, strict=True):
        assert other == pytest.approx(one, abs=0.02)


def test_images_are_named_by_their_files(eye, monkeypatch, capsys):
    Path("photos").mkdir()
    for number in range(4):
        Path(f"photos/{number}.png").write_bytes(png(painted("green", number)))
    assert hftune(monkeypatch, "predict", eye, "photos", "photos/1.png", "--top_k", 2) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = [*(f"photos/{number}.png" for number in range(4)), "photos/1.png"]
    assert [one["file"] for one in answers] == files
    assert answers[1] == answers[4]
    for one, line in zip(answers, pipeline("image-classification", str(eye), top_k=2)(files), strict=True):
        assert list(one["scores"]) == [entry["label"] for entry in line]
        np.testing.assert_allclose(list(one["scores"].values()), [e["score"] for e in line], atol=1e-5)


def test_few_rows_on_a_terminal_are_a_table(bert, monkeypatch, capsys):
    on_a_terminal(monkeypatch)
    long = "a film " * 40
    assert hftune(monkeypatch, "predict", bert, "[bold]good[/] :smile:", f"two\nlines {long}") == 0
    page = plain(capsys.readouterr().out)
    assert "[bold]good[/] :smile:" in page
    assert "two lines" in page
    assert len(page.splitlines()) == 6, page  # four rules and headings, and a line for each row
    assert {len(line) for line in page.splitlines()} == {80}, page
    assert re.search(r"│ (bad|fair|good) +│ 0\.\d{3} │", page), page
    assert " then " in page
    assert hftune(monkeypatch, "predict", bert, "good", "--top_k", 1) == 0
    assert " then " not in plain(capsys.readouterr().out)
    Path("texts.txt").write_text("good\n" * (predict.FEW + 1))
    for words in (["texts.txt"], ["good", "--format", "json"]):
        assert hftune(monkeypatch, "predict", bert, *words) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0])["text"] == "good"


def test_output_is_written_whole_or_not_at_all(bert, monkeypatch, capsys):
    Path("answers").mkdir()
    target = Path("answers/x.jsonl")
    assert (
        hftune(monkeypatch, "predict", bert, "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "--output", target)
        == 0
    )
    assert capsys.readouterr().out == ""
    before = target.read_text(encoding="utf-8")
    assert json.loads(before)["text"] == "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert "caf\N{LATIN SMALL LETTER E WITH ACUTE}" in before

    def full(path, chunks):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", full)
        assert hftune(monkeypatch, "predict", bert, "good", "--output", target) == 4
    assert target.read_text(encoding="utf-8") == before
    assert os.listdir("answers") == ["x.jsonl"]
    assert hftune(monkeypatch, "predict", bert, "good", "--output", "answers/x.txt") == 0
    assert "good" in Path("answers/x.txt").read_text(encoding="utf-8")
    assert not Path("answers/x.txt").read_text(encoding="utf-8").startswith("{")


@pytest.mark.parametrize(("name", "separator"), [("x.csv", ","), ("x.TSV", "\t")])
def test_a_csv_has_the_place_and_the_other_columns_of_each_row(name, separator, bert, monkeypatch):
    page = 'id,text,score\n007,"two\nlines, one text",5\n008,short,\n'
    Path("new.csv").write_text(page)
    Path("more.txt").write_text("from a text file\n")
    words = ["predict", bert, "new.csv", "said", "more.txt", "--output", name, "--top_k", 2]
    assert hftune(monkeypatch, *words) == 0
    with open(name, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file, delimiter=separator))
    ours = ["prediction", "score", *LABELS.values()]
    assert list(lines[0]) == ["row", "place", "text", "id", "input_score", *ours]
    found = [[line[name] for name in ("row", "place", "text", "id", "input_score")] for line in lines]
    assert found == [
        ["0", "new.csv line 2", "two\nlines, one text", "007", "5"],
        ["1", "new.csv line 4", "short", "008", ""],
        ["1", "text 2 of the command line", "said", "", ""],
        ["0", "more.txt line 1", "from a text file", "", ""],
    ]
    for line in lines:
        given = {label: float(line[label]) for label in LABELS.values() if line[label]}
        assert len(given) == 2
        assert given[line["prediction"]] == float(line["score"]) == max(given.values())


def test_texts_that_begin_with_dashes_stand_behind_a_lone_one(bert, monkeypatch, capsys):
    words = ["predict", bert, "good", "--format", "json", "--top_k", 1, "--", "--help", "--- wow", "--"]
    assert hftune(monkeypatch, *words) == 0
    answers = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert answers == ["good", "--help", "--- wow", "--"]


def test_lines_are_json_whatever_the_stream_can_write(bert, monkeypatch):
    text = "caf\u00e9 \u65e5\u672c"
    page = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", page)
    assert hftune(monkeypatch, "predict", bert, text, "--format", "json") == 0
    page.flush()
    assert json.loads(page.buffer.getvalue().decode("cp1252"))["text"] == text


def test_a_screen_gets_no_escape_sequences(bert, monkeypatch, capsys):
    on_a_terminal(monkeypatch)
    text = "good\x1b[2Jfilm\x9b2J\u202e"
    assert hftune(monkeypatch, "predict", bert, text) == 0
    assert "good\\x1b[2Jfilm\\x9b2J\\u202e" in plain(capsys.readouterr().out)
    assert hftune(monkeypatch, "predict", bert, text, "--format", "json") == 0
    line = capsys.readouterr().out
    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["text"] == text


REFUSED = [
    ([], "hftune predict needs a model and what to classify"),
    (["BERT"], "hftune predict needs a model and what to classify"),
    (["BERT", "good", "--top_k", "0"], "--top_k 0: must be at least 1"),
    (["BERT", "good", "--topk", "1"], "--topk: no such flag; did you mean --top_k?"),
    (["BERT", "good", "--format", "xml"], "--format: expected one of json, table"),
    (["BERT", "good", "--output", "x.xml"], "x.xml: its name must end in one of .csv, .tsv, .jsonl"),
    (
        ["BERT", "good", "--output", "x.csv", "--format", "json"],
        "--output x.csv and --format json contradict",
    ),
    (["BERT", "--- wow"], "a text that begins with dashes stands behind a lone --"),
    (["BERT", "good", "--output", "none/x.jsonl"], "--output none/x.jsonl: there is no folder none"),
    (["BERT", "good", "--output", "."], "--output . is a folder; pass a file"),
    (["BERT", "good", "--output", "pipe"], "--output pipe is no ordinary file; pass another, or write to it"),
    (["BERT", "good", "--revision", "v2"], " is a folder, only a Hub id has revisions"),
    (["BERT", "good", "--skip_bad_images"], "--skip_bad_images: "),
    (["BERT", "good", "--image_column_name", "x"], "--image_column_name: "),
    (["EYE", "one.png", "--text_column_name", "x"], "--text_column_name: "),
    (["--top_k", "1", "BERT", "good"], "(what a command works on stands before its flags)"),
    (["--bf16", "BERT", "good"], "(what a command works on stands before its flags)"),
    (["BERT", "gone.csv"], "gone.csv does not exist"),
    (["BERT", "hollow.csv"], "hollow.csv line 2: the text (column 'text') is missing"),
    (["EYE", "what is this"], "what is this does not exist; pass images"),
    (["EYE", "gap.csv"], "gap.csv: which column holds the images?"),
    (["acme/gone", "good"], "acme/gone"),
    ([".", "good"], "no model could be loaded: it has no config.json"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_answered_is_one_line_and_code_2(words, message, bert, eye, monkeypatch, capsys):
    Path("gap.csv").write_text("text,label\ngood,1\n,0\n")
    Path("hollow.csv").write_text("text,label\n,1\n")
    os.mkfifo("pipe")
    named = {"BERT": bert, "EYE": eye}
    assert hftune(monkeypatch, "predict", *(named.get(word, word) for word in words)) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert said.out == ""


def test_bad_images_are_left_out_on_request(eye, monkeypatch, capsys):
    for number in range(3):
        Path(f"{number}.png").write_bytes(png(painted("blue", number)))
    Path("1.png").write_bytes(b"\x89PNG")
    words = ["predict", eye, "0.png", "1.png", "2.png"]
    assert hftune(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: 1.png is not an image of a known format")
    assert "--skip_bad_images" in said.err
    assert said.out == ""
    assert hftune(monkeypatch, *words, "--skip_bad_images") == 0
    said = capsys.readouterr()
    assert [json.loads(line)["file"] for line in said.out.splitlines()] == ["0.png", "2.png"]
    assert said.err.startswith("warning: the images: 1 of 3")


def test_an_answer_that_is_no_number_is_code_3(bert, monkeypatch, capsys):
    from hftune.inference import predict as answers

    def broken(model, rows, **options):
        logits = np.zeros((len(rows), 3), np.float32)
        logits[1, 2] = np.nan
        return {"logits": logits}

    monkeypatch.setattr(answers, "predict_rows", broken)
    assert hftune(monkeypatch, "predict", bert, "good", "bad") == 3
    assert "'bad' with NaN or infinity" in capsys.readouterr().err


def test_probabilities_of_huge_logits_are_numbers():
    logits = np.array([[1e4, -1e4, 9999.0], [-1e4, -1e4, -1e4]], np.float32)
    first, second = predict.answer_rows(
        ["text"], SingleLabel(("x", "y", "z")), ["a", "b"], {"logits": logits}, None
    )
    assert first["scores"] == {"x": 0.731059, "z": 0.268941, "y": 0.0}
    assert second["scores"] == dict.fromkeys("xyz", 0.333333)


def test_the_command_as_it_is_typed(bert):
    """A process of its own: standard input, a reader that has enough, nothing but answers on stdout."""
    program = "from hftune.cli.main import main; main()"
    line = f"'{sys.executable}' -c '{program}' predict {bert} - --top_k 1 | head -n 1"
    texts = "good film\n" * 1500  # more than a pipe holds
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        input=texts,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["text"] == "good film"
