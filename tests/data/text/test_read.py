"""What is read is all of it, in its order; what cannot be read is named with its file and row."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.text.read import read_texts
from hftune.errors import BadInput
from tests.runs import feed, write

pytestmark = pytest.mark.usefixtures("here")


def test_texts_keep_the_order_of_words_files_and_lines(monkeypatch):
    write("lines.txt", "\ufefffirst line\r\nsecond, line\r\n")
    write("table.csv", 'id,review,label\n7,"third, one",pos\n8,fourth one,neg\n')
    write("one.csv", "words\nfifth\n")
    write("folder/b.jsonl", json.dumps({"text": "seventh"}) + "\n")
    write("folder/a.txt", "sixth")
    write("folder/.hidden.txt", "never")
    write("folder/image.png", b"\x89PNG")
    pq.write_table(pa.table({"label": [0], "sentence": ["eighth"]}), "table.parquet")
    feed(monkeypatch, b"ninth\ntenth")
    words = ["zero.", "lines.txt", "table.csv", "one.csv", "folder", "table.parquet", "-", "the last"]
    assert read_texts(words).names == [
        *("zero.", "first line", "second, line", "third, one", "fourth one", "fifth"),
        *("sixth", "seventh", "eighth", "ninth", "tenth", "the last"),
    ]
    assert read_texts(["table.csv"], "label").values == ["pos", "neg"]
    assert read_texts(["1234", "x" * 5000, "no.such thing.txt", "line\nbreak"]).names[0] == "1234"


def test_blank_rows_have_no_text_and_those_at_the_end_are_none(monkeypatch):
    write("gap.txt", "good\n\n bad \n \n\n")
    write("gap.csv", "id,text\n1,good\n2,\n,\n3,bad\n,\n")
    write("one.csv", "text\ngood\n\nbad\n\n")
    write("gap.jsonl", '{"text": "good"}\n{"text": " "}\n{"text": null}\n\n{"text": "bad"}\n\n')
    write("semicolons.csv", "text;id\ngood;1\n")
    pq.write_table(pa.table({"text": [None, "bad"]}), "gap.parquet")
    feed(monkeypatch, b"good\r\n\r\nbad\r\n\r\n")
    found = read_texts(["gap.txt", "gap.csv", "one.csv", "gap.jsonl", "semicolons.csv", "gap.parquet", "-"])
    assert found.names == [
        *("good", None, " bad "),
        *("good", None, None, "bad"),
        *("good", None, "bad"),
        *("good", None, None, "bad"),
        *("good", None, "bad"),
        *("good", None, "bad"),
    ]
    assert found.warnings == [
        "gap.txt line 2 has no text and is answered with null",
        "2 rows have no text and are answered with null (first: gap.csv line 3)",
        "one.csv line 3 has no text and is answered with null",
        "2 rows have no text and are answered with null (first: gap.jsonl line 2)",
        "semicolons.csv: separated by semicolons",
        "gap.parquet row 0 has no text and is answered with null",
        "standard input line 2 has no text and is answered with null",
    ]


def test_a_bad_row_behind_a_blank_one_keeps_its_place():
    write("x.jsonl", '{"text": null}\n{"text": "a"}\n{"text": 7}\n')
    with pytest.raises(BadInput, match=r"^x\.jsonl line 3: the text .* is a number"):
        read_texts(["x.jsonl"])


def test_a_standard_input_that_was_closed_is_an_empty_one(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after `<&-`
    with pytest.raises(BadInput, match=r"^standard input is empty"):
        read_texts(["-"])


TEXT_FILES: dict[str, str | bytes] = {
    "empty.txt": "",
    "blanks.txt": "\n  \n",
    "latin.txt": b"good\ncaf\xe9\n",
    "empty.csv": "",
    "header.csv": "text,label\n",
    "hollow.csv": "text,label\n,1\n,0\n",
    "two.csv": "title,remark\nsome words,more words\n",
    "broken.jsonl": '{"text": "good"}\n{"text": \n',
    "numbers.csv": "text\n1\n2\n",
    "notes.md": "good\n",
    "none/photo.png": b"",
}
BAD_TEXTS = [
    (["empty.txt"], "empty.txt is empty; write one text a line"),
    (["blanks.txt"], "blanks.txt is empty"),
    (["latin.txt"], "latin.txt line 2, byte 4 (0xE9) is not UTF-8"),
    (["empty.csv"], "empty.csv is empty"),
    (["header.csv"], "header.csv has a header (text, label) but no rows"),
    (["hollow.csv"], "hollow.csv line 2: the text (column 'text') is missing"),
    (["two.csv"], "two.csv: which column holds the texts? Say it with --text_column_name (title, remark)"),
    (["broken.jsonl"], "broken.jsonl line 2, column 1"),
    (["numbers.csv"], "holds only numbers; name another with --text_column_name"),
    (["notes.md"], "notes.md: a file of texts must end with .txt, .csv"),
    (["none"], "none: a folder without texts (.txt, .csv"),
    (["good", " "], "text 2 of the command line is empty; write a text, a file or a folder"),
    (["good", ""], "text 2 of the command line is empty"),
    (["rewiews.csv"], "rewiews.csv does not exist"),
    (["lost.JPG"], "lost.JPG does not exist"),
    (["caf\udce9"], "text 1 of the command line is not UTF-8"),
]


@pytest.mark.parametrize(("words", "message"), BAD_TEXTS, ids=[repr(words) for words, _ in BAD_TEXTS])
def test_a_bad_text_is_named(words, message):
    for name, content in TEXT_FILES.items():
        write(name, content)
    with pytest.raises(BadInput) as refused:
        read_texts(words)
    assert message in refused.value.message
    assert "\n" not in refused.value.message


def test_a_column_that_is_not_there_and_empty_input_are_named(monkeypatch):
    write("table.csv", "text,label\ngood,1\n")
    with pytest.raises(
        BadInput, match=r"table.csv has no column 'body' \(--text_column_name\); it has text, label"
    ):
        read_texts(["table.csv"], "body")
    feed(monkeypatch, b"")
    with pytest.raises(BadInput, match="standard input is empty"):
        read_texts(["-"])


@pytest.mark.parametrize(
    ("lines", "doubted"),
    [
        ("great film\nbad film\n", True),
        ("great film,1\nbad film,2\n", True),
        ("text\nbad film\n", False),
        ("Review,stars\nbad film,2\n", False),
        ("remark,stars\nbad film,2\n", False),
    ],
)
def test_a_row_that_is_taken_for_names_of_columns_is_told(lines, doubted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.csv", lines)
    found = read_texts(["a.csv"])
    assert found.values == ["bad film"]
    warned = (
        "a.csv: the first line is read as the names of columns, 'great film' and so on, and is not answered"
    )
    assert [warned in line for line in found.warnings] == [True] * doubted
