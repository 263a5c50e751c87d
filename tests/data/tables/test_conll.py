from pathlib import Path

import pytest

from hftune.data.tables.read import read_table
from hftune.errors import BadInput

GERMAN = """-DOCSTART- -X- -X- O

# sent_id = 1
EU NNP B-NP B-ORG
rejects VBZ B-VP O
# : B-NP O

# text = Peter Blackburn
Peter NNP B-NP B-PER

"""


def conll(folder: Path, text: str, name: str = "train.conll") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_words_and_the_last_column_are_read_with_their_lines(tmp_path):
    table = read_table(conll(tmp_path, GERMAN))
    assert table.columns["tokens"].to_pylist() == [["EU", "rejects", "#"], ["Peter"]]
    assert table.columns["tags"].to_pylist() == [["B-ORG", "O", "O"], ["B-PER"]]
    assert [table.place(row).rpartition(" ")[2] for row in (0, 1)] == ["4", "9"]
    assert "last of 4 columns" in table.origin


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tabs_keep_blanks_within_a_word(tmp_path, end):
    path = tmp_path / "train.iob"
    path.write_bytes(f"New York\tB-LOC{end}is\tO{end}{end}it\tO".encode())
    table = read_table(str(path))
    assert table.columns["tokens"].to_pylist() == [["New York", "is"], ["it"]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("EU B-ORG\nrejects\n", "line 2: 1 columns, but line 1 has 2"),
        ("EU B-ORG\nrejects O O\n", "line 2: 3 columns, but line 1 has 2"),
        ("EU\n", "line 1: one column; expected a word and, last, its tag"),
        ("EU\tB-ORG\n\tO\n", "line 2: 2 columns"),
        ("-DOCSTART- O\n\n", "holds no words"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, text, problem):
    name = conll(tmp_path, text)
    with pytest.raises(BadInput) as refused:
        read_table(name)
    assert str(refused.value).startswith(f"{name} ")
    assert problem in str(refused.value)
