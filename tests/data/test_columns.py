"""Columns are inferred only where they are clear; bad texts are named with their row."""

import pyarrow as pa
import pytest

from hftune.data.columns import TEXT, check_texts, choose_columns, unread_texts
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


def words(*columns: str, **others: list) -> Table:
    return table({column: ["a good film", "a bad one"] for column in columns} | others)


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        (words("text", label=[0, 1]), ("text", "label")),
        (words("sentence", label=[0, 1], idx=[7, 8]), ("sentence", "label")),
        (words("text", "title", "label_text", label=[0, 1]), ("text", "label")),
        (words("text", label=[0, 1], topic=[2, 3]), ("text", "label")),
        (words("Review", Sentiment=["pos", "neg"]), ("Review", "Sentiment")),
        (words(" text", "title", **{"label ": [0, 1]}), (" text", "label ")),
        (words("remark", id=["r1", "r2"], target=[0, 1]), ("remark", "target")),
        (table({"remark": ["很好", "不好"], "label": [0, 1], "id": ["a", "b"]}), ("remark", "label")),
        (table({"x": ["a b"], "kind": [0]}, class_names={"kind": ["p", "q"]}), ("x", "kind")),
    ],
)
def test_clear_columns_are_inferred(given, columns):
    assert choose_columns(given, TEXT, None, None) == columns


@pytest.mark.parametrize(
    ("given", "text", "label", "message"),
    [
        (words("text", coarse_label=[0, 1], fine_label=[3, 4]), None, None, "each of coarse_label, fine_lab"),
        (words("text"), None, None, "no column that is plainly the label (columns: text); name it with --la"),
        (words("review", "question", label=[0, 1]), None, None, "each of review, question could be the text"),
        (words("remark", "reply", label=[0, 1]), None, None, "each of remark, reply could be the text colum"),
        (table({"id": [1, 2], "label": [0, 1]}), None, None, "no column that is plainly the text (columns:"),
        (words("text", label=[0, 1]), "txt", None, "no column 'txt' (--text_column_name); did you mean 'tex"),
        (words("text", label=[0, 1]), None, "zzz", "no column 'zzz' (--label_column_name) (columns: text, l"),
        (words("text", label=[0, 1]), "text", "text", "are both 'text'"),
        (table({"I loved it": ["a b"], "1": ["0"]}), None, None, "is the header line missing?"),
    ],
)  # fmt: skip
def test_unclear_columns_are_an_error_that_names_the_flag(given, text, label, message):
    with pytest.raises(BadInput) as caught:
        choose_columns(given, TEXT, text, label)
    assert message in caught.value.message


def test_a_given_column_wins_over_the_inferred_one():
    given = words("text", "title", label=[0, 1], stars=[5, 1])
    assert choose_columns(given, TEXT, "title", "stars") == ("title", "stars")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a b", None, "c", None], "train.csv line 3: the text (column 'text') is missing (and 1 more)"),
        (["a b", " \t", "c"], "train.csv line 3: the text (column 'text') is blank; fill"),
        ([1, 2], "train.csv: column 'text', taken as the text, holds int64, not text"),
        (["1", " 2.5"], "train.csv: column 'text', taken as the text, holds only numbers"),
        ([["a"], ["b"]], "taken as the text, holds list"),
        (["a", 5], "train.csv line 3: the text (column 'text') is a number, not a string"),
        ([None, None], "train.csv line 2: the text (column 'text') is missing"),
    ],
)
def test_bad_text_is_named(values, message):
    with pytest.raises(BadInput) as caught:
        check_texts(table({"text": values}), "text", keep_blank=False)
    assert message in caught.value.message


def test_other_missing_texts_are_listed():
    with pytest.raises(BadInput) as caught:
        check_texts(table({"text": [None, "a", None, None]}), "text", keep_blank=False)
    assert caught.value.details == ["train.csv line 4", "train.csv line 5"]


def test_blank_texts_of_sets_that_cannot_be_edited_are_kept_and_counted():
    texts, warnings = check_texts(table({"text": ["a", "", " "]}), "text", keep_blank=True)
    assert texts.to_pylist() == ["a", "", " "]
    assert warnings == ["train.csv: 2 texts are blank and kept (first: train.csv line 3)"]


def test_columns_of_text_that_nobody_reads_are_named():
    names = ["a red door", "a tall tree", "some old news"] * 2
    given = table(
        {
            "body": [f"a text with number {i}" for i in range(6)],
            "title": [f"title number {i}" for i in range(6)],
            "place": ["New York"] * 6,  # of a few values that recur, as names of classes do
            "id": [f"r{i}" for i in range(6)],
            "label": names,
        }
    )
    assert unread_texts(given, ["body"], "label") == [
        "train.csv: only column 'body' is read as text; left out: title (to read several, join them into one "
        "column)"
    ]
    assert unread_texts(given, ["title"], "label")[0].startswith("train.csv: only column 'title' is read as")
    assert unread_texts(table({"body": ["a b"], "label": [0]}), ["body"], "label") == []
