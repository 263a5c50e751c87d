"""What spreadsheets and pandas leave in a csv file is read as they mean it, and never shifts a column."""

import pytest

from hftune.data.tables.csv import read_csv
from hftune.errors import BadInput

GOOD = {"text": ["good film", "bad film"], "label": ["pos", "neg"]}


def columns(text: str, usual: str = ",", **options) -> dict[str, list]:
    table = read_csv("x.csv", text, usual, **options)
    return {name: column.to_pylist() for name, column in table.columns.items()}


@pytest.mark.parametrize(
    "text",
    [
        "text,label,,\r\ngood film,pos,,\r\nbad film,neg,,\r\n",
        "text,label,,\ngood film,pos\nbad film,neg,\n",  # Excel leaves the last ones out after some rows
        "text,label\ngood film,pos,\nbad film,neg,,\n",
        ",text,,label\n,good film,,pos\n,bad film,,neg\n",
        "text,label\ngood film,pos\nbad film,neg\n,\n,\n",
        "sep=,\r\ntext,label\r\ngood film,pos\r\nbad film,neg\r\n",
        '"sep=;"\ntext;label\ngood film;pos\nbad film;neg\n',
        "SEP=|\ntext|label\ngood film|pos\nbad film|neg\n",
        " text , label\ngood film,pos\nbad film,neg\n",
        "text, label\ngood film, pos\nbad film, neg\n",
        '"text", "label"\n"good film", "pos"\n"bad film", "neg"\n',
        "\n,\ntext,label\ngood film,pos\nbad film,neg\n",
    ],
    ids=[
        *("empty columns", "rows cut short", "fields beyond", "empty between", "rows of separators"),
        *("sep= comma", "sep= quoted", "sep= bar", "blanks around names", "blanks everywhere"),
        *("quotes behind blanks", "blank rows before"),
    ],
)
def test_leavings_are_no_content(text):
    assert columns(text) == GOOD


def test_an_index_without_a_name_and_unnamed_0_are_columns():
    assert columns(",text\n0,a\n1,b\n") == {"": ["0", "1"], "text": ["a", "b"]}
    assert columns("Unnamed: 0,text\n0,a\n1,b\n") == {"Unnamed: 0": ["0", "1"], "text": ["a", "b"]}
    assert columns("text,\na,0\nb,1\n") == {"text": ["a", "b"], "": ["0", "1"]}


def test_content_without_a_name_never_shifts_a_column():
    with pytest.raises(
        BadInput, match=r"^x\.csv line 3: '1' stands in a column without a name \(text, label, "
    ):
        read_csv("x.csv", "text,label,\na,0,\ngood, bad,1\nb,0,\n", ",")
    with pytest.raises(BadInput, match=r"^x\.csv line 3 has 3 fields, the header has 2"):
        read_csv("x.csv", "text,label\na,0,\ngood, bad,1\n", ",")
    with pytest.raises(BadInput, match="'y' stands in a column without a name"):
        read_csv("x.csv", ",,text\nx,y,a\n", ",")


def test_names_that_are_equal_without_blanks_are_an_error():
    with pytest.raises(BadInput, match=r"line 1: the header names 'label' twice"):
        read_csv("x.csv", "label,label \na,b\n", ",")


def test_rows_of_separators_and_repeated_headers_are_counted():
    table = read_csv("x.csv", "text,label\na,1\n,\nb,0\n\ntext,label\nc,1\n,\n", ",")
    assert table.columns["text"].to_pylist() == ["a", "b", "c"]
    assert table.lines == [2, 4, 7]
    assert table.warnings == (
        "x.csv: 1 rows repeat the header and are left out (first: line 6)",
        "x.csv: 1 rows hold separators only and are left out (first: line 3)",
    )


def test_blank_rows_can_be_kept_where_each_row_is_answered():
    table = read_csv("x.csv", "text,label\na,1\n,\nb,0\n,\n", ",", keep_blank=True)
    assert (table.columns["text"].to_pylist(), table.lines) == (["a", None, "b"], [2, 3, 4])
    assert table.warnings == ()
    assert columns("text\na\n\nb\n\n", keep_blank=True) == {"text": ["a", None, "b"]}
    assert columns("text\na\n\nb\n\n") == {"text": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "usual", "note"),
    [
        ("text;label\ngood film;pos\nbad film;neg\n", ",", "separated by semicolons"),
        ("text\tlabel\ngood film\tpos\nbad film\tneg\n", ",", "separated by tabs"),
        ("text|label\ngood film|pos\nbad film|neg\n", ",", "separated by vertical bars"),
        ("text,label\ngood film,pos\nbad film,neg\n", "\t", "separated by commas"),
        ("sep=;\ntext;label\ngood film;pos\nbad film;neg\n", ",", "separated by semicolons"),
    ],
)
def test_another_separator_is_read_and_said(text, usual, note):
    table = read_csv("x.csv", text, usual)
    assert {name: column.to_pylist() for name, column in table.columns.items()} == GOOD
    assert table.origin == f"x.csv ({note})"


def test_a_separator_that_could_be_two_is_an_error_and_a_quoted_one_is_none():
    with pytest.raises(BadInput, match="not separated by commas, but perhaps by semicolons or vertical bars"):
        read_csv("x.csv", "text;label|id\na;b|1\n", ",")
    assert columns('"a;b"\nx\n') == {"a;b": ["x"]}
    table = read_csv("x.csv", "a;b,c\n1;2,3\n", ",")
    assert (list(table.columns), table.notes) == (["a;b", "c"], ())


def test_lines_are_counted_behind_sep():
    with pytest.raises(BadInput, match=r"^x\.csv line 4 has 1 field"):
        read_csv("x.csv", "sep=,\ntext,label\na,1\nb\n", ",")
    assert read_csv("x.csv", "sep=,\ntext,label\na,1\n", ",").lines == [3]
