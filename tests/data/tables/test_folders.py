"""A folder's files are splits by their names, and none is dropped, merged or split without a word."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.tables.folders import find_files, read_files
from hftune.data.tables.read import SUFFIXES
from hftune.errors import BadInput


def fill(folder: Path, *names: str) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text,label\nof {name},a\n")
    return str(folder)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ("Training.csv Testing.csv", {"train": ["Training.csv"], "test": ["Testing.csv"]}),
        ("train_set.tsv evaluation.tsv", {"train": ["train_set.tsv"], "test": ["evaluation.tsv"]}),
        ("imdb_train.csv imdb_test.csv", {"train": ["imdb_train.csv"], "test": ["imdb_test.csv"]}),
        (
            "train.csv eval.csv holdout.csv",
            {"train": ["train.csv"], "validation": ["eval.csv"], "test": ["holdout.csv"]},
        ),
        ("train-0-of-2.csv train-1-of-2.csv", {"train": ["train-0-of-2.csv", "train-1-of-2.csv"]}),
        (
            "Train/a.csv Train/b_test.csv val/a.csv",
            {"train": ["Train/a.csv", "Train/b_test.csv"], "validation": ["val/a.csv"]},
        ),
        ("data/train.csv data/test.csv", {"train": ["data/train.csv"], "test": ["data/test.csv"]}),
        ("reviews.csv", {"train": ["reviews.csv"]}),
        ("train.csv", {"train": ["train.csv"]}),
        ("my_train_rows.csv", {"train": ["my_train_rows.csv"]}),
        ("data/train/a.csv data/test/a.csv", {"train": ["data/train/a.csv"], "test": ["data/test/a.csv"]}),
        ("a/b/train.csv a/b/dev.csv", {"train": ["a/b/train.csv"], "validation": ["a/b/dev.csv"]}),
        ("data/monday/a.csv data/tuesday/a.csv", {"train": ["data/monday/a.csv", "data/tuesday/a.csv"]}),
        ("entrenamiento.csv", {"train": ["entrenamiento.csv"]}),
        ("monday.csv tuesday.csv", {"train": ["monday.csv", "tuesday.csv"]}),
    ],
)  # fmt: skip
def test_files_are_sorted_by_their_names(tmp_path, names, splits):
    files = find_files(fill(tmp_path, *names.split()))
    found = {
        split: [str(Path(p).relative_to(tmp_path)) for p in paths] for split, paths in files.splits.items()
    }
    assert (found, files.warnings) == (splits, [])


def test_files_that_are_no_split_are_named(tmp_path):
    assert find_files(fill(tmp_path, "train.csv", "notes.csv")).warnings == [
        f"{tmp_path}: not used, as their names mean no split: notes.csv"
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("train.csv train_val.csv", "the name of train_val.csv means a split, but not which"),
        ("train.csv test_old_rows.csv", "the name of test_old_rows.csv means a split, but not which"),
        ("my_test_rows.csv", "the name of my_test_rows.csv means a split"),
        ("train.csv val.csv valid.csv", "val.csv and valid.csv are both the validation split; remove one"),
        ("train.csv train.tsv", "train.csv and train.tsv are both the train split"),
        ("entrenamiento.csv prueba.csv", "the name of entrenamiento.csv means a split, but not which"),
        ("train.csv Prüfung.csv", "the name of Prüfung.csv means a split, but not which"),
        ("训练集/a.csv 测试集/a.csv", "means a split, but not which; call the files train, validation"),
        ("train.csv prueba/a.csv", "holds files and the folder prueba, which means a split"),
        ("train.csv test/a.csv", "holds files and the folder test, which means a split"),
    ],
)
def test_a_name_that_means_a_split_is_never_passed_over(tmp_path, names, message):
    with pytest.raises(BadInput) as caught:
        find_files(fill(tmp_path, *names.split()))
    assert message in caught.value.message


def test_what_only_the_library_reads_is_left_to_it(tmp_path):
    assert find_files(fill(tmp_path / "a", "train.csv", "metadata.csv")) is None
    assert find_files(fill(tmp_path / "b", "train.csv", "more.csv.gz")) is None
    (tmp_path / "c").mkdir()
    assert find_files(str(tmp_path / "c")) is None
    fill(tmp_path / "d", "train.csv")
    (tmp_path / "d" / "README.md").write_text("---\nlicense: mit\n---\nconfigs: in the text\n")
    assert find_files(str(tmp_path / "d")) is not None
    (tmp_path / "d" / "README.md").write_text("---\nconfigs:\n- config_name: a\n---\n")
    assert find_files(str(tmp_path / "d")) is None


def test_files_of_one_split_stand_one_below_the_other(tmp_path):
    fill(tmp_path, "part1.csv")
    pq.write_table(pa.table({"text": ["x"], "label": ["b"], "id": [1]}), tmp_path / "part2.parquet")
    (tmp_path / "part3.csv").write_text("text,label\ny,c\n")
    with pytest.raises(BadInput, match="does not exist"):
        read_files(find_files(str(tmp_path))._replace(splits={"train": ["nothing.csv"]}))
    train = read_files(find_files(str(tmp_path)))["train"]
    assert {name: column.to_pylist() for name, column in train.columns.items()} == {
        "text": ["of part1.csv", "x", "y"],
        "label": ["a", "b", "c"],
    }
    assert [train.place(row) for row in range(3)] == [
        f"{tmp_path}/part1.csv line 2",
        f"{tmp_path}/part2.parquet row 0",
        f"{tmp_path}/part3.csv line 2",
    ]


def test_files_of_one_split_may_differ_in_columns_that_nobody_reads(tmp_path):
    folder = fill(tmp_path, "train_1.csv", "train_2.csv", "train_3.csv")
    (tmp_path / "train_2.csv").write_text("Text,Label,id\nsecond,b,7\n")
    assert read_files(find_files(folder))["train"].columns["label"].to_pylist() == ["a", "b", "a"]
    (tmp_path / "train_1.csv").write_text("text,label,note\nfirst,b,x\n")
    train = read_files(find_files(folder))["train"]
    assert train.warnings == (
        f"{tmp_path}/train_1.csv: not read, as other files of the split lack them: note",
    )
    (tmp_path / "train_3.csv").write_text("review,label\nthird,b\n")
    with pytest.raises(BadInput, match=r"train_3\.csv has no column 'text', but .*train_1\.csv has; name"):
        read_files(find_files(folder))


def test_warnings_of_all_files_are_kept(tmp_path):
    folder = fill(tmp_path, "train_1.csv", "train_2.csv")
    (tmp_path / "train_2.csv").write_text("text,label\na,b\ntext,label\nb,a\n")
    assert "repeat the header" in read_files(find_files(folder))["train"].warnings[0]


def test_a_split_in_a_format_that_is_not_read_is_named(tmp_path):
    folder = fill(tmp_path, "train.csv", "test.xlsx", "test_notes.md", "labels.txt")
    assert find_files(folder).warnings == [
        f"{tmp_path}: not read, as they are no {', '.join(SUFFIXES)}: test.xlsx"
    ]
