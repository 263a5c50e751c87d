"""Columns that name splits or reject rows are followed where they are clear, and named where they are not."""

import pyarrow as pa
import pytest

from hftune.data.tables.read import Table
from hftune.data.tables.row_marks import follow_marks
from hftune.errors import BadInput


def table(name: str = "a.csv", **columns: list) -> Table:
    """Returns a table whose row 0 stands in line 2; its texts are t0, t1, ..."""
    rows = len(next(iter(columns.values())))
    arrow = {key: pa.chunked_array([pa.array(values)]) for key, values in columns.items()}
    texts = pa.chunked_array([pa.array([f"t{row}" for row in range(rows)])])
    return Table(name, {"text": texts, **arrow}, list(range(2, rows + 2)))


def follow(tables: dict, wanted=None, used=()):
    return follow_marks(tables, wanted, used)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("split", ["train", "val", "train", "test"]),
        ("Data Set", ["Training", "Validation Set", "TRAIN", "testing"]),
        ("usage", ["train", "dev", "train", "holdout"]),
        ("ML_use", ["TRAINING", "VALIDATE", "TRAINING", "EVAL"]),
    ],
)
def test_a_column_that_names_splits_makes_them_and_keeps_the_places(column, values):
    found = follow({"train": table(**{column: values})})
    texts = {split: part.columns["text"].to_pylist() for split, part in found.tables.items()}
    assert texts == {"train": ["t0", "t2"], "validation": ["t1"], "test": ["t3"]}
    assert found.tables["train"].place(1) == "a.csv line 4"
    assert (found.column, found.warnings) == (column, [])


@pytest.mark.parametrize(
    ("column", "values", "sizes"),
    [
        ("is_valid", [False, True, False], {"train": 2, "validation": 1}),
        ("isTest", ["0", "0", "1"], {"train": 2, "test": 1}),
        ("is_train", ["yes", "no", "yes"], {"train": 2, "test": 1}),
        ("in_test", ["0", "0", "1"], {"train": 2, "test": 1}),
    ],
)
def test_a_column_of_yes_and_no(column, values, sizes):
    tables = follow({"train": table(**{column: values})}).tables
    assert {split: part.rows for split, part in tables.items()} == sizes


HOW = "; to hold rows out by it, write train, validation or test there"


@pytest.mark.parametrize(
    ("column", "values", "warned"),
    [
        ("split", ["a", "b", "a"], [f"a.csv: column 'split' (a: 2, b: 1) is not used for splits{HOW}"]),
        ("fold", [0, 1, 2], [f"a.csv: column 'fold' (0: 1, 1: 1, 2: 1) is not used for splits{HOW}"]),
        ("split", ["train", "train", "train"], []),
        ("kfold", [0, 1, 2], [f"a.csv: column 'kfold' (0: 1, 1: 1, 2: 1) is not used for splits{HOW}"]),
        (
            "kind",
            ["train", "test", "test"],
            [
                "a.csv: column 'kind' (train: 1, test: 2) is not used for splits; --split_column_name kind "
                "uses it"
            ],
        ),
        (
            "conjunto",
            ["entrenamiento", "prueba", "prueba"],
            [
                "a.csv: column 'conjunto' (entrenamiento: 1, prueba: 2) is not used for splits; "
                "--split_column_name conjunto uses it"
            ],
        ),
        (
            "test",  # it may be the result of a test
            [False, True, False],
            [
                "a.csv: column 'test' (False: 2, True: 1) is not used for splits; --split_column_name test "
                "uses it"
            ],
        ),
        ("test", [1, 2, 3], []),
        ("vehicle", ["train", "bus", "train"], []),
        ("kind", ["prueba", "prueba", "prueba"], []),
        ("kind", ["test", "val", "test"], []),
    ],
)
def test_what_is_no_split_is_left_and_named(column, values, warned):
    found = follow({"train": table(**{column: values})})
    assert (list(found.tables), found.column, found.warnings) == (["train"], None, warned)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["train", "test", "extra"],
            "a.csv line 4: column 'split' says 'extra', which is no split; write train",
        ),
        (["train", "test", None], "a.csv line 4: column 'split' says '', which is no split"),
        (["Training", "PublicTest", "Training"], "a.csv line 3: column 'split' says 'PublicTest'"),
        (
            ["训练", "测试", "训练"],
            "column 'split' says '训练', which is no split; write train, validation or",
        ),
        (["train", "trainval", "train"], "says 'trainval', which is no split"),
        (["val", "test", "test"], "a.csv: column 'split' has no train rows (val: 1, test: 2)"),
    ],
)
def test_rows_kept_apart_never_become_train_rows(values, message):
    with pytest.raises(BadInput) as caught:
        follow({"train": table(split=values)})
    assert message in caught.value.message


def test_beside_other_splits_the_column_is_only_named_unless_it_is_asked_for():
    tables = {"train": table(split=["train", "val", "train"]), "test": table("b.csv", split=["test"])}
    warned = "a.csv: column 'split' (train: 2, val: 1) is not used for splits, as other splits are given"
    assert follow(tables).warnings == [warned]
    assert follow(tables, "split").tables["validation"].rows == 1
    with pytest.raises(BadInput, match=r"names validation rows, and c\.csv is given too"):
        follow({**tables, "validation": table("c.csv", split=["val"])}, "split")
    with pytest.raises(BadInput, match=r"a\.csv has no column 'part' \(--split_column_name\)"):
        follow(tables, "part")


def test_a_column_of_yes_and_no_that_is_called_as_a_split_is_followed_when_it_is_asked_for():
    tables = follow({"train": table(test=["0", "1", "0"])}, "test").tables
    assert {split: part.rows for split, part in tables.items()} == {"train": 2, "test": 1}


def test_rows_of_another_split_in_a_test_table_are_named():
    tables = {"train": table(n=[1]), "test": table("b.csv", split=["train", "test"], fold=[1, 2])}
    warned = "b.csv: column 'split' (train: 1, test: 1) is not used: all rows are test rows"
    assert follow(tables).warnings == [warned]
    assert follow({"valid": table(split=["val", "dev"])}).warnings == []


def test_a_column_with_another_use_is_no_split():
    assert follow({"train": table(split=["train", "test"])}, used=["split"]).column is None


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("answer", ["reject", "accept", "ignore"], "column 'answer' says ignore or reject"),
        ("was_cancelled", [True, False, True], "column 'was_cancelled' says true"),
    ],
)
def test_rows_that_a_label_tool_rejected_are_left_out_and_counted(column, values, why):
    found = follow({"train": table(**{column: values})})
    assert found.tables["train"].columns["text"].to_pylist() == ["t1"]
    assert found.tables["train"].place(0) == "a.csv line 3"
    assert found.warnings == [f"a.csv: 2 of 3 rows are left out, as {why} (first: a.csv line 2)"]
    with pytest.raises(BadInput, match="no row is left"):
        follow({"train": table(answer=["reject", "reject"])})


def test_an_ordinary_column_of_answers_rejects_nothing():
    assert follow({"train": table(answer=["reject", "maybe", "accept"])}).warnings == []
