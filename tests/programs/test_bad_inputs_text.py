"""Every bad table and every bad setting ends a run in one line with its place and code 2, before training.

The cases are those that people meet; each writes its own file, so that it can be seen. What only looks bad
is accepted, and what then happens is the right thing.
"""

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.errors import HftuneError
from hftune.recipes import imdb_textcnn
from tests.runs import error_of, run_recipe

GOOD = "text,label\n" + "".join(
    f"a {word} film number {i},{i % 2}\n" for i, word in enumerate("abcdefghijkl")
)
TINY = [
    *("--config_overrides", "embedding_dim=4,num_filters=2", "--min_frequency", 1, "--max_steps", 1),
    *("--per_device_train_batch_size", 4, "--max_length", 16, "--baselines", "false", "--bf16", "false"),
]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(GOOD)
    return tmp_path


def refused(flags: list, capsys) -> list[str]:
    """Runs what must be refused; returns the error line and its bullets."""
    capsys.readouterr()
    with pytest.raises(HftuneError) as ending:
        run_recipe(imdb_textcnn.recipe, flags, Path("run"))
    said = capsys.readouterr()
    assert ending.value.exit_code == 2, said.err
    assert "Traceback" not in said.out
    if Path("run").exists():  # flags are refused before there is one
        assert json.loads(Path("run/exit.json").read_text())["code"] == 2
        assert not list(Path("run").glob("checkpoint-*"))
        assert not Path("run/log.jsonl").exists() or not Path("run/log.jsonl").read_text()
    return error_of(said.err)


def trained(flags: list, capsys) -> tuple[dict, str]:
    """Runs what must be accepted; returns the results and what was said."""
    capsys.readouterr()
    results = run_recipe(imdb_textcnn.recipe, [*TINY, *flags], Path("run"), figures=True)
    return results, " ".join(capsys.readouterr().out.split())


# --- tables

UTF16 = GOOD.encode("utf-16")
LATIN = GOOD.encode() + "caf\u00e9 film,1\n".encode("latin-1")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n"
BAD_TABLES = [  # what is wrong, file, its bytes, what the line must say
    ("an empty file", "x.csv", b"", "x.csv is empty"),
    ("a header only", "x.csv", b"text,label\n", "x.csv has a header .* but no rows"),
    ("no label column", "x.csv", b"text,stars\na b,1\nc d,0\n", "x.csv has no column .*label.*text, stars"),
    ("no text column", "x.csv", b"words_of,label\n1,1\n2,0\n", "x.csv has no column .*text.*words_of, label"),
    ("a column twice", "x.csv", b"text,label,label\na b,1,0\n", "x.csv line 1: .*'label' twice"),
    ("a text missing", "x.csv", GOOD.encode() + b",1\n", r"x.csv line 14: the text \(column 'text'\)"),
    ("a label missing", "x.csv", GOOD.encode() + b"a b,\n", r"x.csv line 14: the label \(column 'label'\)"),
    ("too many fields", "x.csv", GOOD.encode() + b"good, bad,1\n", "x.csv line 14 has 3 fields"),
    ("too few fields", "x.csv", GOOD.encode() + b"good\n", "x.csv line 14 has 1 field"),
    ("Latin-1", "x.csv", LATIN, r"x.csv line 14, byte 4 \(0xE9\) is not UTF-8"),
    ("UTF-16", "x.csv", UTF16[2:], "x.csv is UTF-16"),
    ("a NUL byte", "x.csv", GOOD.encode() + b"a\0b,1\n", "x.csv line 14, byte 2 is a NUL byte"),
    ("an open quote", "x.csv", GOOD.encode() + b'"a b,1\nc d,0\n', "x.csv line 14: a quote .* opens here"),
    ("two signs", "x.csv", b"text;label|id\na b;0|1\n", "x.csv: .*perhaps by semicolons or vertical bars"),
    (
        "swallowed rows",
        "x.csv",
        GOOD.encode() + b'"a b,1\nc d,0\ne f",1\n',
        "x.csv line 14: .* only in line 16",
    ),
    ("numbers and words", "x.csv", GOOD.encode() + b"a b,good\n", "x.csv line 14: label 'good'"),
    ("one class", "x.csv", b"text,label\na b,1\nc d,1\ne f,1\n", "x.csv: every row has the label"),
    ("texts of numbers", "x.csv", b"text,label\n1,0\n2,1\n3,0\n", "x.csv: column 'text', .*only numbers"),
    ("two spellings", "x.csv", b"text,label\na b,pos\nc d,neg\ne f,Pos \n", "x.csv line 4: label 'Pos '"),
    ("an error page", "x.csv", b"<!DOCTYPE html><html>404</html>", "x.csv is an HTML page"),
    ("gzip", "x.csv", gzip.compress(GOOD.encode()), "x.csv is compressed with gzip"),
    ("a Git LFS pointer", "x.csv", LFS, "x.csv is a Git LFS pointer"),
    ("a broken JSON line", "x.jsonl", b'{"text": "a b", "label": 0}\n{"text": \n', "x.jsonl line 2, column"),
    ("a JSON array", "x.jsonl", b'[["a b", 0]]', "x.jsonl is an array of arrays"),
    ("half a character", "x.jsonl", b'{"text": "a \\ud83d", "label": 0}\n', "x.jsonl line 1: column 'text'"),
    ("a text of blanks", "x.csv", GOOD.encode() + b'"  ",1\n', "x.csv line 14: .* is blank"),
    ("a list of labels", "x.jsonl", b'{"text": "a b", "label": [0, 1]}\n', "x.jsonl line 1: the label"),
    ("an Excel workbook", "x.csv", b"PK\x03\x04" + bytes(40), "x.csv is a zip archive or a workbook"),
    ("another ending", "x.txt", GOOD.encode(), "x.txt: a data file's name must end with"),
]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [case[1:] for case in BAD_TABLES],
    ids=[case[0] for case in BAD_TABLES],
)
def test_a_bad_table_is_one_line_with_its_place(name, data, message, here, capsys):
    Path(name).write_bytes(data)
    (line, *_) = refused([*TINY, "--train_file", name], capsys)
    assert re.search(message, line), line


def test_a_parquet_file_that_was_cut_off_is_named(here, capsys):
    pq.write_table(pa.table({"text": ["a b", "c d"] * 20, "label": [0, 1] * 20}), "x.parquet")
    Path("x.parquet").write_bytes(Path("x.parquet").read_bytes()[:-9])
    (line,) = refused([*TINY, "--train_file", "x.parquet"], capsys)
    assert line.startswith("error: x.parquet is cut off")


def test_a_label_that_only_the_test_rows_have_is_named(here, capsys):
    Path("test.csv").write_text("text,label\na b,0\nc d,2\n")
    (line, *_) = refused([*TINY, "--train_file", "good.csv", "--test_file", "test.csv"], capsys)
    assert line.startswith("error: test.csv line 3: label '2' does not occur in good.csv")


def test_five_places_are_listed_and_the_rest_counted(here, capsys):
    Path("x.csv").write_text(GOOD + ",1\n" * 40)
    line, *bullets = refused([*TINY, "--train_file", "x.csv"], capsys)
    assert "x.csv line 14" in line
    assert bullets == [
        *(f"  - x.csv line {number}" for number in range(15, 19)),
        "  - and 35 more",
    ]


GOOD_TABLES = [  # what looks bad, the bytes, rows that must be there, what must be said of it
    ("a byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), 12, "labels 0, 1"),
    ("line ends of Windows", GOOD.replace("\n", "\r\n").encode(), 12, ""),
    ("line ends of old Macs", GOOD.replace("\n", "\r").encode(), 12, ""),
    ("blank lines", GOOD.replace("\n", "\n\n").encode(), 12, ""),
    ("the word NA", GOOD.encode() + b"NA,1\nnull,0\nnan,1\n", 15, ""),
    ("a cell of 200,000 letters", GOOD.encode() + b"word " * 40_000 + b",1\n", 13, "max_length 16"),
    ("labels 0 and 7", GOOD.replace(",1\n", ",7\n").encode(), 12, "the labels 0, 7 have gaps"),
    ("control characters", GOOD.encode() + "\x07bell\u2028 film\u200b,1\n".encode(), 13, ""),
    ("a text without a word", GOOD.encode() + "\u200b,1\n\U0001f600,0\n".encode(), 14, ""),
    ("commas within quotes", GOOD.encode() + b'"good, bad, and ""so""\non",1\n', 13, ""),
    ("rows that repeat", GOOD.encode() + GOOD.encode().split(b"\n", 1)[1], 24, "train rows repeat"),
]


@pytest.mark.parametrize(
    ("data", "rows", "message"), [case[1:] for case in GOOD_TABLES], ids=[case[0] for case in GOOD_TABLES]
)
def test_what_only_looks_bad_is_trained_on(data, rows, message, here, capsys):
    Path("x.csv").write_bytes(data)
    results, said = trained(["--train_file", "x.csv"], capsys)
    assert results["train_samples"] + results["validation_samples"] == rows
    assert message in said


def test_a_row_in_train_and_test_is_told_with_both_places(here, capsys):
    Path("test.csv").write_text("text,label\na a film number 0,0\nnew film,1\n")
    _, said = trained(["--train_file", "good.csv", "--test_file", "test.csv"], capsys)
    assert "1 test texts also stand in train (first: test.csv line 2 = good.csv line 2)" in said


# --- settings

BAD_SETTINGS = [  # what is wrong, flags, run.yaml or None, what the line must say
    ("an unknown key", [], "learning_rte: 1\n", r"run.yaml:1:1: learning_rte: .*did you mean learning_rate"),
    ("a wrong type", [], "seed: 1\nmax_steps: many\n", "run.yaml:2:12: max_steps: .*'many'"),
    ("a negative rate", ["--learning_rate", "-1"], None, "--learning_rate -1.0: must be at least 0"),
    (
        "no epochs",
        ["--num_train_epochs", 0, "--max_steps", -1],
        None,
        "--num_train_epochs 0.0: must be above",
    ),
    ("a batch of 0", ["--per_device_eval_batch_size", 0], None, "--per_device_eval_batch_size 0: must be at"),
    (
        "accumulation 0",
        ["--gradient_accumulation_steps", 0],
        None,
        "--gradient_accumulation_steps 0: must be",
    ),
    ("warmup beyond the end", ["--warmup_steps", 9], None, "--warmup_steps 9.0: must be below --max_steps 1"),
    ("an unknown optimizer", ["--optim", "adamv"], None, "--optim adamv: no such optimizer"),
    ("an unknown schedule", ["--lr_scheduler_type", "cosinus"], None, "--lr_scheduler_type cosinus: no such"),
    ("an unknown metric", ["--metric_for_best_model", "acuracy"], None, "metric 'acuracy': did you mean"),
    (
        "two data sets",
        ["--dataset_name", "sample"],
        None,
        "--train_file.* contradict|contradict.*--train_file",
    ),
    ("YAML that is none", [], "seed: [1\n", r"run.yaml:2:1: not YAML"),
    ("a tab", [], "seed: 1\n\tmax_length: 9\n", "run.yaml:2:1: not YAML: a tab"),
    ("a key twice", [], "seed: 1\nseed: 2\n", "run.yaml:2:1: seed was given before"),
    (
        "a Python tag",
        [],
        "seed: !!python/object/apply:os.getpid []\n",
        "run.yaml:1:7: seed: the tag .* is not",
    ),
    ("no such file", ["--config", "gone.yaml"], None, "--config gone.yaml: no such file"),
    ("a folder", ["--config", "."], None, r"--config \.: is a directory"),
    ("half precision on a CPU", ["--bf16", "none", "--fp16", "true"], None, "--fp16"),
    ("unknown overrides", ["--config_overrides", "num_filtres=2"], None, "did you mean num_filters"),
    ("a tracker that is none", ["--report_to", "wandbb"], None, "--report_to wandbb: no such tracker"),
    (
        "a model that is none",
        ["--model_name_or_path", "acme/nothing"],
        None,
        "acme/nothing is not in the cache",
    ),
    ("a flag without a value", ["--seed"], None, "--seed needs a value"),
    ("a share of 2", ["--train_val_split", 2], None, "--train_val_split 2.0: must be a share"),
]


@pytest.mark.parametrize(
    ("flags", "text", "message"), [case[1:] for case in BAD_SETTINGS], ids=[case[0] for case in BAD_SETTINGS]
)
def test_a_bad_setting_is_one_line_that_names_it(flags, text, message, here, capsys):
    if text is not None:
        Path("run.yaml").write_text(text)
        flags = ["--config", "run.yaml"]
    given = {str(word) for word in flags}
    kept = [
        word
        for name, value in zip(TINY[::2], TINY[1::2], strict=True)
        if name not in given and not (text and name == "--max_steps")
        for word in (name, value)
    ]
    (line, *_) = refused(["--train_file", "good.csv", *kept, *flags], capsys)
    assert re.search(message, line), line


def test_what_only_looks_bad_is_accepted(here, capsys):
    """A rate that YAML takes for text, a batch of more rows than there are, a warmup that is a share."""
    Path("run.yaml").write_text('learning_rate: "1e-5"\nwarmup_steps: 0.5\nseed: 1_000\n')
    flags = ["--train_file", "good.csv", "--config", "run.yaml"]
    flags = [*flags, *TINY, "--per_device_eval_batch_size", 99]
    flags[flags.index("--per_device_train_batch_size") + 1] = 99
    results = run_recipe(imdb_textcnn.recipe, flags, Path("run"), figures=True)
    assert results["train_steps"] == 1
    settings = json.loads(Path("run/run.json").read_text())["settings"]
    assert (settings["learning_rate"], settings["seed"]) == (1e-5, 1000)
