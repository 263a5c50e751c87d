"""Texts for word vectors: which rows are read, and that no text to be tested on is among them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.text.corpus import read_corpus
from hftune.errors import BadInput
from tests.runs import write

pytestmark = pytest.mark.usefixtures("here")
HELD = "nothing is held out: texts that a model will be tested on may be among these (--holdout)"


def test_every_kind_of_file_gives_the_words_of_its_texts():
    write("a.txt", "\ufeffA fine film!\n\nIt<br />is.\n")
    write("a.csv", 'label,text\npos,A fine film!\nneg,\npos,"It<br />is."\n')
    write("a.jsonl", '{"text": "A fine film!"}\n{"text": null}\n{"text": "It<br />is."}\n')
    pq.write_table(pa.table({"text": ["A fine film!", " ", "It<br />is."]}), "a.parquet")
    for name in ("a.txt", "a.csv", "a.jsonl", "a.parquet"):
        corpus = read_corpus(name)
        assert corpus.texts == [["a", "fine", "film", "!"], ["it", "is", "."]], name
        assert corpus.notes == [
            f"data: {name}, text column 'text'",
            "rows: 3 train",
            HELD,
            "rows without a word, left out: 1",
        ]


def test_texts_of_held_out_files_are_left_out_counted_and_named():
    write("own.csv", "text\nGood film\nbad   FILM\nan odd film\ngood\n")
    write("test.csv", "review,label\nbad film,neg\na new film,pos\n")
    write("more.txt", "nothing\ngood film\n")
    corpus = read_corpus("own.csv", holdout=["test.csv", "more.txt"])
    assert corpus.texts == [["an", "odd", "film"], ["good"]]
    assert corpus.notes[2] == (
        "texts left out, as they stand in what is held out too: 1 in more.txt, 1 in test.csv "
        "(first: own.csv line 2 = more.txt line 2)"
    )
    write("none.txt", "something else\n")
    assert read_corpus("own.csv", holdout=["none.txt"]).notes[2] == (
        "held out: none.txt; none of its texts stands among these"
    )
    write("all.txt", "good film\nbad film\nan odd film\ngood\n")
    with pytest.raises(BadInput, match=r"^own.csv: no text is left .*4 in all.txt"):
        read_corpus("own.csv", holdout=["all.txt"])


def write_splits() -> None:
    """Writes a folder of a data set whose unlabelled part has one of its test texts."""
    write("films/train.csv", "text,label\ngood one,pos\nbad one,neg\n")
    write("films/test.csv", "text,label\ngood other,pos\nbad other,neg\n")
    write("films/validation.csv", "text,label\na third,pos\nbad one,neg\n")


def test_a_test_split_is_held_out_unless_it_is_asked_for():
    write_splits()
    write("rows.csv", "text,split\ngood one,train\nbad one,test\nbad one,train\n")
    corpus = read_corpus("rows.csv")
    assert corpus.texts == [["good", "one"]]
    assert corpus.notes[1] == "rows: 2 train; not read: test"
    assert "1 in test (first: rows.csv line 4 = rows.csv line 3)" in corpus.notes[2]
    both = read_corpus("rows.csv", splits=["train", "test"])
    assert len(both.texts) == 3
    assert both.notes[2] == HELD
    assert read_corpus("films").texts == [["good", "one"], ["bad", "one"]]
    held = read_corpus("films", holdout=["validation"])
    assert held.texts == [["good", "one"]]
    assert held.notes[1] == "rows: 2 train; not read: validation, test"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"splits": ["tarin"]}, r"^--split tarin: .* has no such split \(splits: train, "),
        ({"holdout": ["tets"]}, r"^--holdout tets: neither a split of .* nor a file"),
        ({"holdout": ["tets.csv"]}, r"^tets.csv does not exist"),
        ({"splits": ["test"], "holdout": ["test"]}, "^--split and --holdout are both test"),
        ({"column": "body"}, r"has no column 'body' \(--text_column_name\)"),
    ],
)
def test_what_is_not_there_is_named(named, message):
    write_splits()
    with pytest.raises(BadInput, match=message):
        read_corpus("films", **named)


def test_a_file_of_another_kind_or_with_a_configuration_is_refused():
    write("notes.md", "a text")
    write("own.csv", "text\na good film\n")
    with pytest.raises(BadInput, match="a file of texts must end with"):
        read_corpus("notes.md")
    with pytest.raises(BadInput, match="is a file, which has none"):
        read_corpus("own.csv", config="small")
