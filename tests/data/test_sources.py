"""From files, folders and ids to splits that are clean, reproducible, and the same however stored."""

import csv
import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hftune.data.sources import find_source
from hftune.data.text.sample import load_sample
from hftune.data.text.splits import load_splits
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from tests.forked import run_python

SHARED = Path(__file__).resolve().parents[3] / "shared"
shared = pytest.mark.shared
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no real data beside the project")
needs_hub = pytest.mark.skipif(not (SHARED / "hub").is_dir(), reason="no loopback Hub beside the project")

ROWS = [(f"text number {i}", "neg" if i % 4 else "pos") for i in range(40)]
TEST = [(f"test number {i}", "neg" if i % 2 else "pos") for i in range(10)]


def ask(**given):
    names = "dataset_name dataset_config_name dataset_revision train_file validation_file test_file "
    names += "text_column_name text_pair_column_name label_column_name split_column_name test_split "
    names += "max_train_samples samples_per_label max_eval_samples unlabeled_split unlabeled_file"
    return load_splits(
        SimpleNamespace(
            **dict.fromkeys(names.split())
            | {"train_val_split": 0.1, "data_seed": 1, "task": "single_label", "pos_label": None}
            | given
        )
    )


def write_csv(path: Path, rows: list, header=("text", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def pairs(found, split: str) -> list[tuple[str, int]]:
    return list(zip(getattr(found, split)["text"], found.targets[split].tolist(), strict=True))


def test_files_become_splits_with_numbered_labels(tmp_path):
    found = ask(
        train_file=write_csv(tmp_path / "a.csv", ROWS),
        validation_file=write_csv(tmp_path / "b.csv", TEST[:4]),
        test_file=write_csv(tmp_path / "c.csv", TEST),
    )
    assert found.task.labels == ("neg", "pos")
    assert pairs(found, "train") == [(text, int(label == "pos")) for text, label in ROWS]
    assert pairs(found, "test") == [(text, int(label == "pos")) for text, label in TEST]
    assert found.train.features == {"text": Value("string")}
    assert len(found.validation) == 4
    assert found.warnings == [
        "only 4 validation rows to choose the best model by; raise --train_val_split, or pass more "
        "validation rows"
    ]
    assert found.origin == (
        f"{tmp_path}/a.csv, test: {tmp_path}/c.csv, text column 'text', label column 'label', "
        f"validation: {tmp_path}/b.csv"
    )


def test_content_has_one_fingerprint_however_it_is_stored(tmp_path):
    csv_file = write_csv(tmp_path / "a.csv", [(label, text) for text, label in ROWS], ("label", "text"))
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps({"id": 1, "text": a, "label": b}) + "\n" for a, b in ROWS))
    texts, labels = map(list, zip(*ROWS, strict=True))
    features = Features(text=Value("large_string"), label=ClassLabel(names=["neg", "pos"]))
    numbers = [int(label == "pos") for label in labels]
    Dataset.from_dict({"text": texts, "label": numbers}, features).to_parquet(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "b.parquet", row_group_size=7)
    stored = [csv_file, str(lines), str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    assert len({ask(train_file=file).fingerprint for file in stored}) == 1


@pytest.mark.parametrize(
    "change", [("text number 3!", "neg"), ("text number 3", "pos")], ids=["a text", "a label"]
)
def test_fingerprint_sees_every_text_and_label(tmp_path, change):
    before = ask(train_file=write_csv(tmp_path / "a.csv", ROWS)).fingerprint
    after = ask(train_file=write_csv(tmp_path / "b.csv", [*ROWS[:3], change, *ROWS[4:]])).fingerprint
    assert before != after


def test_fingerprint_sees_class_names_and_where_texts_end(tmp_path):
    first = write_csv(tmp_path / "a.csv", [("ab", "x"), ("c", "y"), ("d", "x"), ("e", "y")])
    other = write_csv(tmp_path / "b.csv", [("ab", "x"), ("c", "z"), ("d", "x"), ("e", "z")])
    ends = write_csv(tmp_path / "c.csv", [("a", "x"), ("bc", "y"), ("d", "x"), ("e", "y")])
    assert len({ask(train_file=f, validation_file=f).fingerprint for f in (first, other, ends)}) == 3


def test_validation_is_cut_from_train_stratified_in_order_and_never_from_test(tmp_path):
    file, test = write_csv(tmp_path / "a.csv", ROWS), write_csv(tmp_path / "t.csv", TEST)
    found = ask(train_file=file, test_file=test, train_val_split=0.2)
    order = {text: i for i, (text, _) in enumerate(ROWS)}
    rows = {
        name: [order[text] for text in split["text"]]
        for name, split in vars(found).items()
        if name in ("train", "validation")
    }
    assert rows["train"] == sorted(rows["train"])
    assert rows["validation"] == sorted(rows["validation"])
    assert sorted(rows["train"] + rows["validation"]) == list(range(40))
    assert np.bincount(found.targets["validation"]).tolist() == [6, 2]
    assert len(found.test) == 10
    assert found.origin.endswith("validation: 20 % of train, stratified, seed 1")
    again = ask(train_file=file, test_file=test, train_val_split=0.2)
    other = ask(train_file=file, test_file=test, train_val_split=0.2, data_seed=2)
    assert again.fingerprint == found.fingerprint != other.fingerprint


def test_every_class_stays_in_train_and_is_validated_where_possible(tmp_path):
    rows = [("one only", "rare"), *((f"pair {i}", "two") for i in range(2)), *ROWS]
    found = ask(train_file=write_csv(tmp_path / "a.csv", rows), train_val_split=0.1)
    assert found.task.labels == ("neg", "pos", "rare", "two")
    assert set(found.targets["train"]) == {0, 1, 2, 3}
    assert set(found.targets["validation"]) == {0, 1, 3}


def test_nothing_to_cut_from_is_an_error(tmp_path):
    with pytest.raises(BadInput, match=r"a\.csv has too few rows to cut a validation split from"):
        ask(train_file=write_csv(tmp_path / "a.csv", [("a b", "x"), ("c d", "y")]))


def test_limits_choose_after_the_cut_and_keep_the_order(tmp_path):
    file, test = write_csv(tmp_path / "a.csv", ROWS), write_csv(tmp_path / "t.csv", TEST)
    whole = ask(train_file=file, test_file=test)
    found = ask(train_file=file, test_file=test, max_train_samples=12, max_eval_samples=3)
    assert [len(split) for split in (found.train, found.validation, found.test)] == [12, 3, 3]
    assert np.bincount(found.targets["train"]).tolist() == [9, 3]
    chosen = set(pairs(found, "train"))
    assert pairs(found, "train") == [row for row in pairs(whole, "train") if row in chosen]
    assert "12 of 36 train rows" in found.origin
    assert ask(train_file=file, test_file=test, max_train_samples=99).fingerprint == whole.fingerprint


def test_files_need_only_the_two_columns_that_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("a.csv"), [(i, *row) for i, row in enumerate(ROWS)], ("id", "text", "label"))
    write_csv(Path("b.csv"), [("x", *row[::-1]) for row in TEST], ("date", "Label", "TEXT "))
    assert ask(train_file="a.csv", test_file="b.csv").test["text"] == [text for text, _ in TEST]
    write_csv(Path("b.csv"), TEST, ("remark", "label"))
    with pytest.raises(BadInput, match=r"^b\.csv has no column 'text', but train has"):
        ask(train_file="a.csv", test_file="b.csv")


@pytest.mark.parametrize("header", [("id", "text"), ("text", "label")], ids=["no column", "empty"])
def test_a_test_file_without_labels_is_told_about_predict(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("train.csv"), ROWS)
    write_csv(Path("test.csv"), [("a b", None), ("c d", None)], header)
    with pytest.raises(
        BadInput, match=r"^test\.csv has no .*: a test split needs labels; for rows without: hf"
    ):
        ask(train_file="train.csv", test_file="test.csv")


def test_a_label_that_train_lacks_is_named_with_file_and_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("a.csv"), ROWS)
    write_csv(Path("b.csv"), [*TEST, ("x y", "meh")])
    with pytest.raises(BadInput, match=r"^b\.csv line 12: label 'meh' does not occur in a\.csv"):
        ask(train_file="a.csv", test_file="b.csv")


def test_rows_in_train_and_test_are_counted_where_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("a.csv"), ROWS)
    write_csv(Path("b.csv"), [*TEST, ROWS[9]])
    warnings = ask(train_file="a.csv", validation_file="a.csv", test_file="b.csv").warnings
    assert "1 test texts also stand in train (first: b.csv line 12 = a.csv line 11)" in warnings


def test_missing_test_split_is_a_warning(tmp_path):
    found = ask(train_file=write_csv(tmp_path / "a.csv", ROWS))
    assert found.test is None
    assert found.warnings[-1] == "no labelled test split: there will be no test scores"


@pytest.mark.parametrize("alias", ["validation", "valid", "dev", "val"])
def test_folder_of_text_files_is_read_as_files(tmp_path, monkeypatch, alias):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    write_csv(Path("mine/train.csv"), [*ROWS, ("NA", "neg")])
    write_csv(Path(f"mine/{alias}.csv"), TEST)
    found = ask(dataset_name="mine")
    assert found.train["text"][-1] == "NA"
    columns = "text column 'text', label column 'label'"
    assert found.origin == f"mine/train.csv, {columns}, validation: mine/{alias}.csv"
    Path("mine/train.csv").write_text("text,label\na,b,c\n")
    with pytest.raises(BadInput, match=r"mine/train\.csv line 2 has 3 fields"):
        ask(dataset_name="mine")


def save(folder: Path, names=("neg", "pos"), **splits) -> str:
    features = Features(sentence=Value("string"), label=ClassLabel(names=list(names)), idx=Value("int32"))
    for split, labels in splits.items():
        columns = {
            "sentence": [f"{split} sentence {i}" for i in range(len(labels))],
            "label": labels,
            "idx": [*range(len(labels))],
        }
        Dataset.from_dict(columns, features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_folder_of_parquet_files_is_loaded_and_its_unlabelled_test_left_out(tmp_path):
    name = save(tmp_path, train=[0, 1] * 20, validation=[1, 0], test=[-1] * 3)
    found = ask(dataset_name=name)
    assert (len(found.train), len(found.validation), found.test) == (40, 2, None)
    assert found.task.labels == ("neg", "pos")
    assert found.warnings[0] == (
        f"{name}/test-00000-of-00001.parquet has no labels (all are -1 or missing) and is left out; for rows "
        "without: hftune predict RUN FILE; --test_split validation tests on the validation rows"
    )


def test_a_set_without_public_test_labels_is_tested_on_the_split_that_is_named(tmp_path):
    splits = {"train": ROWS, "validation": TEST, "test": [(text, "") for text, _ in ROWS[:3]]}
    for split, rows in splits.items():
        write_csv(tmp_path / f"{split}.csv", rows)
    found = ask(dataset_name=str(tmp_path), test_split="validation")
    assert pairs(found, "test") == [(text, int(label == "pos")) for text, label in TEST]
    assert len(found.train) + len(found.validation) == len(ROWS)
    assert "tested on validation" in found.origin
    with pytest.raises(BadInput, match=r"--test_split dev: .* has no such split to test on \(it has"):
        ask(dataset_name=str(tmp_path), test_split="dev")
    with pytest.raises(BadInput, match="--test_split train"):
        ask(dataset_name=str(tmp_path), test_split="train")


def test_splits_that_are_not_used_are_named_unless_they_have_no_labels(tmp_path):
    splits = {"train": [0, 1] * 20, "unsupervised": [-1] * 3, "extra": [0, 1]}
    save(tmp_path, **splits)
    files = [f"  - split: {split}\n    path: {split}-*.parquet\n" for split in splits]
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files:\n" + "".join(files) + "---\n"
    )
    warnings = ask(dataset_name=str(tmp_path)).warnings
    assert f"{tmp_path}: splits not used: extra" in warnings


def test_blank_texts_are_an_error_in_files_and_a_warning_in_sets(tmp_path):
    rows = [*ROWS, (" ", "neg")]
    with pytest.raises(BadInput, match=r"a\.csv line 42: the text \(column 'text'\) is blank"):
        ask(train_file=write_csv(tmp_path / "a.csv", rows))
    texts, labels = map(list, zip(*rows, strict=True))
    (tmp_path / "set").mkdir()
    Dataset.from_dict({"text": texts, "label": labels}).to_parquet(tmp_path / "set" / "train.parquet")
    found = ask(dataset_name=str(tmp_path / "set"))
    assert len(found.train) + len(found.validation) == 41
    assert found.warnings[0].endswith(
        f"train.parquet: 1 texts are blank and kept (first: {tmp_path}/set/train.parquet row 40)"
    )


def test_numbered_files_are_one_split(tmp_path):
    write_csv(tmp_path / "train-1.csv", ROWS[:20])
    write_csv(tmp_path / "train-2.csv", ROWS[20:])
    write_csv(tmp_path / "test.csv", TEST)
    whole = write_csv(tmp_path / "whole.csv", ROWS)
    alone = ask(train_file=whole, test_file=str(tmp_path / "test.csv"))
    os.remove(whole)
    assert ask(dataset_name=str(tmp_path)).fingerprint == alone.fingerprint
    os.rename(tmp_path / "train-1.csv", tmp_path / "train.csv")
    assert len(ask(dataset_name=str(tmp_path)).train) == 36


def test_part_of_a_larger_table_is_hashed_as_what_it_is(tmp_path, monkeypatch):
    texts, labels = map(list, zip(*ROWS, strict=True))
    longer = Dataset.from_dict({"text": ["left out", *texts], "label": ["neg", *labels]})
    sliced = DatasetDict(train=longer.select(range(1, 41)), validation=longer.select(range(1, 9)))
    monkeypatch.setattr("hftune.data.text.splits.load_sample", lambda: sliced)
    files = write_csv(tmp_path / "a.csv", ROWS), write_csv(tmp_path / "b.csv", ROWS[:8])
    expected = ask(train_file=files[0], validation_file=files[1])
    assert ask(dataset_name="sample").fingerprint == expected.fingerprint


def test_empty_train_split_is_an_error(tmp_path):
    with pytest.raises(BadInput, match=r"train-00000-of-00001\.parquet has columns .* but no rows"):
        ask(dataset_name=save(tmp_path, train=[], test=[0, 1]))


def test_no_train_split_lists_the_splits(tmp_path):
    with pytest.raises(BadInput, match=r"has no train split \(splits: validation, test\)"):
        ask(dataset_name=save(tmp_path, validation=[0, 1], test=[0, 1]))


def test_row_with_an_unlabelled_row_in_train_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"train.*parquet row 2: label -1 is none of the 2 classes"):
        ask(dataset_name=save(tmp_path, train=[0, 1, -1]))


def test_sample_is_built_in():
    found = ask(dataset_name="sample")
    assert len(found.task.labels) >= 2
    assert found.test is not None
    columns = "text column 'text', label column 'label'"
    assert found.origin == f"built-in sample, {columns}, validation: its own split"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no training data: pass --dataset_name"),
        ({"dataset_name": "sample", "train_file": "a.csv"}, "--dataset_name sample and --train_file a.csv a"),
        ({"dataset_name": "sample", "dataset_revision": "v1"}, "sample has no configurations or revisions"),
        ({"dataset_name": ""}, "--dataset_name is empty"),
        ({"dataset_name": "./nothing"}, "--dataset_name ./nothing: no such folder"),
        ({"dataset_name": "a/b/c"}, "--dataset_name a/b/c: no such folder"),
        ({"dataset_name": "a\\b"}, "no such folder"),
        ({"dataset_name": "imdb"}, "--dataset_name imdb: no such folder, and a data set's id is OWNER/NAME"),
        ({"dataset_name": "bad id!/x"}, "--dataset_name bad id!/x: no such folder, and not a Hub id"),
        ({"dataset_name": "https://huggingface.co/datasets/stanfordnlp/imdb"}, "pass stanfordnlp/imdb"),
        ({"train_file": "nothing.csv"}, "nothing.csv does not exist"),
    ],
)  # fmt: skip
def test_impossible_requests_are_explained(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        ask(**given)
    assert message in caught.value.message


def test_folder_without_data_and_folder_with_a_revision(tmp_path):
    with pytest.raises(BadInput, match="holds no data files"):
        ask(dataset_name=str(tmp_path))
    with pytest.raises(BadInput, match=r"--dataset_revision v1 is for Hub ids, but .* is a folder"):
        ask(dataset_name=str(tmp_path), dataset_revision="v1")


def test_folder_whose_file_cannot_be_read(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(BadInput, match=r"train\.parquet is cut off: its end is missing"):
        ask(dataset_name=str(tmp_path))


def test_saved_dataset_dict_is_a_folder_too(tmp_path):
    rows = {"text": [f"number {i}" for i in range(20)], "label": [0, 1] * 10}
    DatasetDict(train=Dataset.from_dict(rows)).save_to_disk(tmp_path / "saved")
    assert len(ask(dataset_name=str(tmp_path / "saved")).train) == 18


def test_a_folder_that_the_library_reads_is_read_again_when_it_changed_whatever_its_times_say(tmp_path):
    def texts_of(words: str) -> set[str]:
        rows = [json.dumps({"text": f"{words} {i}", "label": "neg" if i % 2 else "pos"}) for i in range(20)]
        file = tmp_path / "rows.jsonl.gz"
        file.write_bytes(gzip.compress("\n".join(rows).encode(), mtime=0))
        os.utime(file, (1, 1))
        return {text.rpartition(" ")[0] for text in ask(dataset_name=str(tmp_path)).train["text"]}

    assert [texts_of(words) for words in ("one", "two", "one")] == [{"one"}, {"two"}, {"one"}]


@shared
@needs_data
@pytest.mark.parametrize(
    ("name", "label", "rows", "classes"),
    [
        ("imdb", None, (22500, 2500, 25000), 2),
        ("sst2", None, (67349, 872, 0), 2),
        ("chnsenticorp", None, (9600, 1200, 1200), 2),
        ("waimai_10k", None, (10788, 1199, 0), 2),
        ("ag_news_subset", None, (4500, 500, 7600), 4),
        ("banking77", None, (9003, 1000, 3080), 77),
        ("trec", "fine_label", (4907, 545, 500), 50),
    ],
)
def test_real_sets(name, label, rows, classes):
    found = ask(dataset_name=str(SHARED / "data" / name), label_column_name=label)
    assert (len(found.train), len(found.validation), len(found.test or [])) == rows
    assert len(found.task.labels) == classes == len(set(found.targets["train"]))


@shared
@needs_data
def test_trec_has_two_label_columns():
    with pytest.raises(BadInput, match="each of coarse_label, fine_label could be the label column"):
        ask(dataset_name=str(SHARED / "data" / "trec"))


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_sources import BadInput, ask
for request in json.loads(sys.argv[2]):
    try:
        found = ask(**request)
        print(json.dumps([found.origin, len(found.train), found.fingerprint]))
    except BadInput as error:
        print(json.dumps(str(error)))
"""


def in_child(requests: list[dict], **environment: str) -> list:
    """Asks in a fresh process: the clients read their environment when they are imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = {**inherited, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", **environment}
    done = run_python(["-c", CHILD, Path(__file__).parent, json.dumps(requests)], env=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_offline_with_nothing_cached_says_what_to_do(tmp_path):
    request = {"dataset_name": "acme/reviews"}
    assert in_child([request], HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)) == [
        "--dataset_name acme/reviews is not in the cache, and the Hub cannot be reached; pass --dataset_name "
        "FOLDER, --train_file FILE or --dataset_name sample, or run once with a network"
    ]


def seeds(folder: Path) -> Path:
    """Writes small repositories, one for each way in which the Hub can refuse, and their mapping."""
    data = {
        split: [(f"{split} {i}", i % 2) for i in range(20)]
        for split in ("locked", "hidden", "a", "b", "script")
    }
    for name in ("locked", "hidden", "script", "several", "hollow"):
        (folder / name).mkdir()
    for name in ("locked", "hidden", "script"):
        write_csv(folder / name / "train.csv", data[name])
    (folder / "script" / "script.py").write_text("raise SystemExit('a script was run')\n")
    (folder / "hollow" / "README.md").write_text("---\nlicense: mit\n---\n")
    configs = ""
    for config in ("a", "b"):
        write_csv(folder / "several" / f"{config}.csv", data[config])
        configs += f"- config_name: {config}\n  data_files: {config}.csv\n"
    (folder / "several" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    repos = {f"datasets/acme/{name}": name for name in ("script", "several", "hollow")}
    repos["datasets/acme/locked"] = {"path": "locked", "gated": "manual"}
    repos["datasets/acme/hidden"] = {"path": "hidden", "private": True}
    repos["datasets/stanfordnlp/imdb"] = str(SHARED / "data" / "imdb")
    (folder / "mapping.json").write_text(json.dumps({"repos": repos}))
    return folder / "mapping.json"


@shared
@needs_data
@needs_hub
@pytest.mark.every_kind
def test_what_the_hub_answers_is_explained(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SHARED / "hub"))
    from hub import Hub

    expected = [
        ("acme/nothing", None, None, "--dataset_name acme/nothing does not exist on the Hub, or is private"),
        ("acme/hidden", None, None, "--dataset_name acme/hidden does not exist on the Hub, or is private"),
        ("acme/locked", None, None, "--dataset_name acme/locked is gated: ask for access on its page"),
        ("acme/several", None, "v9", "--dataset_name acme/several has no revision 'v9' (--dataset_revision)"),
        (
            "acme/several",
            None,
            None,
            "several configurations; pass --dataset_config_name with one of 'a', 'b'",
        ),
        ("acme/several", "c", None, "no configuration 'c'; pass --dataset_config_name with one of 'a', 'b'"),
        ("acme/script", None, None, "--dataset_name acme/script is made by a script, which is never run"),
        ("acme/hollow", None, None, "--dataset_name acme/hollow holds no data files"),
    ]
    names = ("dataset_name", "dataset_config_name", "dataset_revision")
    requests = [dict(zip(names, request, strict=True)) for *request, _ in expected]
    requests += [
        {"dataset_name": "stanfordnlp/imdb"},
        {"dataset_name": "acme/several", "dataset_config_name": "a"},
    ]
    (tmp_path / "seeds").mkdir()
    (tmp_path / "root").mkdir()
    with Hub(str(tmp_path / "root"), str(seeds(tmp_path / "seeds"))) as hub:
        home = tmp_path / "home"
        *refused, imdb, loaded = in_child(requests, **hub.env(token=None, home=home))
        wrong = in_child(requests[-1:], **hub.env(token="hf_wrong", home=tmp_path / "other"))
    for message, (*_, part) in zip(refused, expected, strict=True):
        assert part in message
        assert "\n" not in message
    assert imdb[0].startswith("stanfordnlp/imdb (revision ")
    assert imdb[0].endswith("validation: 10 % of train, stratified, seed 1")
    assert imdb[1:] == [22500, ask(dataset_name=str(SHARED / "data" / "imdb")).fingerprint]
    assert loaded[0].startswith("acme/several (a, revision ")
    assert loaded[1] == 18
    assert "the token is invalid or expired" in wrong[0]
    stale = {**requests[-1], "dataset_revision": "0123456"}
    cached, other = in_child([requests[-1], stale], HF_HUB_OFFLINE="1", HF_HOME=str(home))
    assert cached == loaded
    assert "--dataset_revision 0123456 of acme/several cannot be fetched" in other


def test_class_folders_of_texts_are_named_with_the_remedy(tmp_path, monkeypatch):
    """`datasets` would take their lines for rows, without a label."""
    monkeypatch.chdir(tmp_path)
    for path in ("set/train/pos/1.txt", "set/train/neg/2.txt", "set/README.md"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("some words")
    message = r"holds folders of text files \('train/.*', \.\.\.\), .* --train_file$"
    with pytest.raises(BadInput, match=message):
        find_source(TextSettings(dataset_name="set"), load_sample)
