"""Labels become class numbers in a plain order; bad ones are named with their row."""

import numpy as np
import pyarrow as pa
import pytest

from hftune.data.labels import is_unlabelled, label_words, number_labels
from hftune.data.tables.read import Table
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
        (["2.50", "1", "1.0"], ("1", "2.5"), [1, 0, 0]),
        (["01", "1"], ("01", "1"), [0, 1]),
        (["['b']", "a", '["a"]', "{'b'}", "b"], ("a", "b"), [1, 0, 0, 1, 1]),
        ([["b"], ["a"]], ("a", "b"), [1, 0]),
        ([[7], [8]], ("7", "8"), [0, 1]),
        (['{"choices": ["b"]}', "{'choices': 'a'}"], ("a", "b"), [1, 0]),
        ([{"choices": ["b"]}, {"choices": ["a"]}], ("a", "b"), [1, 0]),
        (["(a)", "[b c]", "{d}", "1e20", "["], ("(a)", "1e20", "[", "[b c]", "{d}"), [0, 3, 4, 1, 2]),
    ],
)
def test_labels_are_numbered_in_sorted_order(train, names, numbers):
    found, labels, warnings = number(train)
    told = ("numbers with a point", "is the same number as")
    warnings = [line for line in warnings if not any(words in line for words in told)]
    assert (found, labels["train"].tolist(), warnings) == (names, numbers, [])
    assert labels["train"].dtype == np.int64


BIG = [2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1]


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(BIG, id="list"),
        pytest.param(pa.chunked_array([pa.array(BIG)]), id="int64"),
        pytest.param(pa.chunked_array([pa.array(BIG, pa.decimal128(38, 2))]), id="decimal"),
        pytest.param(pa.chunked_array([pa.array(map(str, BIG))]), id="text"),
        pytest.param([10**30 + 1, 10**30, 1, 0], id="beyond 64 bits"),
        pytest.param(
            pa.chunked_array([pa.array([2**64 - 1, 2**64 - 2, 2**63, 0], pa.uint64())]), id="uint64"
        ),
    ],
)
def test_whole_numbers_are_never_rounded_into_each_other(column):
    values = column if isinstance(column, list) else column.to_pylist()
    names, labels, _ = number_labels({"train": Table("x.parquet", {"label": column})}, "label")
    assert [names[i] for i in labels["train"]] == [str(v).removesuffix(".00") for v in values]
    assert list(names) == ([str(v).removesuffix(".00") for v in sorted(values)])


@pytest.mark.parametrize(
    "column",
    [
        ["0.5", "1.0", "1.50", "1"],
        [0.5, 1, 1.5, 1.0],
        pa.chunked_array([pa.array([0.5, 1, 1.5, 1], pa.float32())]),
    ],
)
def test_half_stars_are_classes_alike_in_every_format(column):
    names, labels, warnings = number_labels({"train": Table("x.parquet", {"label": column})}, "label")
    assert (names, labels["train"].tolist()) == (("0.5", "1", "1.5"), [0, 1, 2, 1])
    assert warnings[0].startswith("x.parquet: the labels 0.5, 1, 1.5 are numbers with a point; each ")


@pytest.mark.parametrize(
    ("train", "doubt"),
    [
        (
            ["NaN", "yes", "no", "NaN"],
            "label 'NaN' (2 rows, first: train.csv line 2) is what tools write for",
        ),
        (["yes", "<NA>", "no"], "label '<NA>' (1 row, first: train.csv line 3) is what tools write for"),
        (
            ["-1", "0", "1", "-1"],
            "label -1 (2 rows, first: train.csv line 2) is taken as a class; if it marks",
        ),
        ([-1, 0, 1], "label -1 (1 row, first: train.csv line 2) is taken as a class"),
        (["a|b", "a", "b"], "label 'a|b' (1 row, first: train.csv line 2) looks like several labels joined"),
        (["a", "b", "B & A "], "label 'B & A ' (1 row, first: train.csv line 4) looks like several labels"),
        (["b|mixed", "a", "b"], "label 'b|mixed' (1 row, first: train.csv line 2) looks like several labels"),
        (["b a", "a", "b"], "label 'b a' (1 row, first: train.csv line 2) looks like several labels joined"),
        (["a", "b", "a-b"], "label 'a-b' (1 row, first: train.csv line 4) looks like several labels joined"),
        (
            ["1", "02", "01"],
            "label '01' (1 row, first: train.csv line 4) is the same number as another class",
        ),
        (["b", "a_b", "a"], "label 'a_b' (1 row, first: train.csv line 3) looks like several labels joined"),
        (["b\u3001c", "b", "a"], "label 'b\u3001c' (1 row, first: train.csv line 2) looks like several"),
        (["b, c", "a, b", "a, c"], "label 'b, c' (1 row, first: train.csv line 2) looks like several labels"),
    ],
)
def test_classes_that_may_be_none_are_doubted(train, doubt):
    _, _, warnings = number(train)
    assert warnings[0].startswith(doubt.replace("'B & A '", "'B & A'"))


@pytest.mark.parametrize(
    "train",
    [
        ["sports/tennis", "sports/golf"],
        ["new", "new york"],
        ["C++", "C"],
        ["-2", "-1", "0"],
        ["R&D", "R&B"],
        ["01", "02", "10"],
        ["e-mail", "mail", "t-shirt"],
        ["\U0001f3f4\U000e0067\U000e0065\U000e007f", "\U0001f3f4\U000e0067\U000e0073\U000e007f"],  # flags
        ["very good", "good", "very bad", "bad"],
        ["\u0430", "a", '"', "'"],  # letters and signs to be told apart
        ["\u0440\u043e\u0441\u0442", "port", "'n' roll"],
    ],
)
def test_ordinary_classes_are_not_doubted(train):
    assert number(train)[2] == []


def test_in_a_library_s_set_minus_one_has_no_label():
    with pytest.raises(BadInput, match=r"train.csv line 4: label -1 marks rows without a label; rem"):
        number_labels({"train": table({"label": [0, 1, -1]})}, "label", own=False)


def test_other_splits_may_code_accents_otherwise():
    names, labels, _ = number(["caf\u00e9", "bad"], ["bad", "cafe\u0301"])
    assert (names, labels["test"].tolist()) == (("bad", "caf\u00e9"), [0, 1])


def test_labels_as_words_for_a_model_that_knows_its_classes():
    given = table({"label": [" pos ", "['neg']", "7.0", None, "1.50"]})
    assert label_words(given, "label") == ["pos", "neg", "7", "", "1.5"]
    assert label_words(table({"label": [1, 0]}, class_names={"label": ["a", "b"]}), "label") == ["b", "a"]


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
        ([0.0, 2.0**53], None, "train.csv line 3: label 9007199254740992.0 is beyond 2**53, where numbers w"),
        (["0", "9007199254740993.0"], None, "train.csv line 3: label 9007199254740993.0 is beyond 2**53"),
        ([0.0, float("inf")], None, "train.csv line 3: label inf is not a number that a class can have"),
        ([0, "b", 0], None, "train.csv line 3: label 'b' is text, but 0 (train.csv line 2) is a number"),
        ([0, "0"], None, "train.csv line 3: label '0' is text, but 0 (train.csv line 2) is a number"),
        (["pos", "1"], None, "train.csv line 3: label '1' is a number, but 'pos' (train.csv line 2) is a wo"),
        ([0, True], None, "train.csv line 3: label True is true or false, but 0"),
        ([1, True], None, "train.csv line 3: label True is true or false, but 1"),
        (["a", "b"], ["1"], "test.csv line 2: label '1' is a number, but 'a' (train.csv line 2) is a word"),
        (["1", "nan"], None, "tools write 'nan' for a missing label: fill it in or remove the row"),
        (["pos", "caf\u00e9", "cafe\u0301"], None, "has U+0065 U+0301 where there is U+00E9, and so only lo"),
        (["pos", "neg", "\u201cpos\u201d"], None, "train.csv line 4: label '“pos”' has "),
        (["pos", "neg", "'neg'"], None, "and so only looks like 'neg' (train.csv line 3); write both alike"),
        (["cat", "dog", "\u0441at"], None, "has U+0441 where there is U+0063, and so only looks like 'cat'"),
        (["good", "bad"], ["go\u00adod"], "test.csv line 2: label 'go\\xadod' has U+00AD where there is not"),
        (["1", "1.0", "02"], None, "train.csv line 3: label '1.0' is the same number as '1' (train"),
        (["\u2764\ufe0f", "\u2764"], None, "has nothing where there is U+FE0F, and so only looks like"),
        (["good", "\uff47ood\u200b"], None, "has U+FF47 U+006F U+006F U+0064 U+200B where there is"),
        (["a", "b"], ["-1"], "-1' is a number, but 'a'"),
        (["a", "b"], ["-1"], "; if -1 marks rows without a label, remove them: hftune predict RUN FILE "),
        ([0, 1], [-1], "test.csv line 2: label '-1' does not occur in train.csv, so it cannot be learned; r"),
        (["a", "\u200b"], None, "train.csv line 3: the label (column 'label') is missing"),
        (["a", "[]"], None, "train.csv line 3: the label (column 'label') is missing"),
        ([1, 1], None, "train.csv: every row has the label 1; training needs at least two classes"),
        (["pos", "neg", "Pos"], None, "train.csv line 4: label 'Pos' differs only by case or blanks from 'p"),
        (["pos", "neg"], ["neg "], "test.csv line 2: label 'neg ' differs only by case or blanks from 'neg'"),
        (["a", "b"], ["a", "c"], "test.csv line 3: label 'c' does not occur in train.csv"),
        ([0, 1], [0, 1, 2], "test.csv line 4: label '2' does not occur in train.csv"),
        ([[0], [1, 2]], None, "train.csv line 3: the label (column 'label') is a list of 2 ([1, 2]); for s"),
        (["a", "['a', 'b']"], None, "train.csv line 3: the label (column 'label') is a list of 2 (['a', 'b'"),
        (["a", "['a' 'b']"], None, "is a list of 2"),
        (["a", "[a, b]"], None, "is a list of 2"),
        (["a", "('a', 'b')"], None, "is a list of 2 (('a', 'b'))"),
        (["a", "{'b'}", "{'a', 'b'}"], None, "train.csv line 4: the label (column 'label') is a list of 2"),
        (["a", "[0. 1. 0.]"], None, "is a list of 3 (['0.', '1.', '0.'])"),
        (["a", "[0, 1, 0]"], None, "is a list of 3 ([0, 1, 0]); for one-hot rows write the class's name"),
        ([[0, 1], [1, 0]], None, "train.csv line 2: the label (column 'label') is a list of 2 ([0, 1]); for"),
        (["a", '{"choices": ["a", "b"]}'], None, "is a list of 2 (['a', 'b'])"),
        ([{"choices": ["a", "b"]}], None, "is a list of 2 (['a', 'b'])"),
        (["a", '{"start": 1}'], None, "train.csv line 3: the label (column 'label') is an object ({'start':"),
        ([f"id {i}" for i in range(40)], None, "train.csv: 40 different labels in 40 rows are not classes ("),
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
