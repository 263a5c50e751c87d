"""Labels become class numbers in a plain order; bad ones are named with their row."""

import numpy as np
import pyarrow as pa
import pytest

from hftune.data.labels import is_unlabelled, number_labels
from hftune.data.tables import Table
from hftune.errors import BadInput


def table(columns: dict, name: str = "train.csv", class_names: dict | None = None) -> Table:
    """Returns a table whose row 0 stands in line 2, as in a csv file."""
    arrow = {}
    for column, values in columns.items():
        mixed = len({type(value) for value in values} - {type(None)}) > 1
        arrow[column] = values if mixed else pa.chunked_array([pa.array(values)])
    lines = list(range(2, 2 + len(next(iter(columns.values())))))
    return Table(name, arrow, lines, class_names or {})


def number(train, test=None, class_names=None):
    names = {"label": class_names} if class_names else None
    tables = {"train": table({"label": train}, class_names=names)}
    if test is not None:
        tables["test"] = table({"label": test}, "test.csv", names)
    return number_labels(tables, "label")


@pytest.mark.parametrize(
    ("train", "names", "numbers"),
    [
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        ([" pos", "neg", " pos"], ("neg", "pos"), [1, 0, 1]),
        ([1, 0, 1], ("0", "1"), [1, 0, 1]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),
        (["10", "09", "10"], ("09", "10"), [1, 0, 1]),
        ([2.0, 1.0], ("1", "2"), [1, 0]),
        (["1.0", "0", "1"], ("0", "1"), [1, 0, 1]),
        ([1, 0.0], ("0", "1"), [1, 0]),
        ([True, False], ("False", "True"), [1, 0]),
        (["NA", "yes"], ("NA", "yes"), [0, 1]),
    ],
)
def test_labels_are_numbered_in_sorted_order(train, names, numbers):
    found, labels, warnings = number(train)
    assert (found, labels["train"].tolist(), warnings) == (names, numbers, [])
    assert labels["train"].dtype == np.int64


def test_names_that_the_data_bring_keep_their_order():
    names, labels, warnings = number([1, 0], [0], class_names=["z", "a", "unseen"])
    assert names == ("z", "a", "unseen")
    assert [labels[split].tolist() for split in ("train", "test")] == [[1, 0], [0]]
    assert warnings == ["train.csv: no row has the label unseen"]


def test_gaps_are_closed_with_a_warning():
    names, labels, warnings = number([7, 0, 7], [7])
    assert (names, labels["train"].tolist(), labels["test"].tolist()) == (("0", "7"), [1, 0, 1], [1])
    assert warnings == ["train.csv: the labels 0, 7 have gaps; the model numbers them 0 to 1"]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["a", None, "b"], None, "train.csv line 3: the label (column 'label') is missing; fill it in"),
        (["a", " ", "b"], None, "train.csv line 3: the label (column 'label') is missing; fill it in"),
        ([0.0, float("nan"), 1.0], None, "train.csv line 3: the label (column 'label') is missing"),
        ([0.0, 0.5], None, "train.csv line 3: label 0.5 is not a whole number"),
        (["0", "0.5"], None, "train.csv line 3: label 0.5 is not a whole number"),
        ([0, "b", 0], None, "train.csv line 3: label 'b' is text, but 0 (train.csv line 2) is a number"),
        ([0, "0"], None, "train.csv line 3: label '0' is text, but 0 (train.csv line 2) is a number"),
        (["pos", "1"], None, "train.csv line 3: label '1' is a number, but 'pos' (train.csv line 2) is a wo"),
        ([0, True], None, "train.csv line 3: label True is true or false, but 0"),
        ([1, True], None, "train.csv line 3: label True is true or false, but 1"),
        (["a", "b"], ["1"], "test.csv line 2: label '1' is a number, but 'a' (train.csv line 2) is a word"),
        ([0, 1, -1], None, "train.csv line 4: label -1 is negative (-1 marks rows without a label)"),
        ([0, -3], None, "train.csv line 3: label -3 is negative; remove the row"),
        ([1, 1], None, "train.csv: every row has the label 1; training needs at least two classes"),
        (["pos", "neg", "Pos"], None, "train.csv line 4: label 'Pos' differs only by case or blanks from 'p"),
        (["pos", "neg"], ["neg "], "test.csv line 2: label 'neg ' differs only by case or blanks from 'neg'"),
        (["a", "b"], ["a", "c"], "test.csv line 3: label 'c' does not occur in train.csv"),
        ([0, 1], [0, 1, 2], "test.csv line 4: label '2' does not occur in train.csv"),
        ([[0], [1, 2]], None, "train.csv line 2: the label (column 'label') is a list; only sets with one l"),
        ([f"id {i}" for i in range(150)], None, "train.csv: 150 different labels in 150 rows are not classe"),
    ],
)  # fmt: skip
def test_bad_label_is_named(train, test, message):
    with pytest.raises(BadInput) as caught:
        number(train, test)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 2], None, "train.csv line 4: label 2 is none of the 2 classes (a, b)"),
        (
            [0, 1, -1],
            None,
            "train.csv line 4: label -1 is none of the 2 classes (a, b); -1 marks rows without",
        ),
        ([0, 0], None, "train.csv: every row has the label 'a'"),
        ([0, 1], ["c"], "test.csv line 2: label 'c' is none of the 2 classes (a, b)"),
    ],
)
def test_class_numbers_must_have_a_name(train, test, message):
    with pytest.raises(BadInput) as caught:
        number(train, test, class_names=["a", "b"])
    assert message in caught.value.message


def test_other_unknown_labels_are_listed():
    with pytest.raises(BadInput) as caught:
        number(["a", "b"], ["c", "d", "c"])
    assert caught.value.details == ["test.csv line 3: label 'd'"]


@pytest.mark.parametrize(
    ("values", "unlabelled"),
    [([-1, -1], True), ([None, None], True), ([-1, 0], False), (["-1"], False), ([True], False)],
)
def test_splits_without_public_labels_are_recognised(values, unlabelled):
    assert is_unlabelled(table({"label": values}), "label") == unlabelled
