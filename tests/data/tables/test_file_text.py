"""What is no file of text is one line that says what it is and what to do."""

import os
from pathlib import Path

import pytest

from hftune.data.tables.file_text import decode_text, read_bytes
from hftune.errors import BadInput, printable


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/a.csv").write_text("text\na\n")
    Path("folder/b.csv").write_text("text\nb\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("https://example.org/train.csv", " is a web address, not a file; download it first"),
        ("s3://bucket/train.csv", " is a web address"),
        ("https://huggingface.co/datasets/a/b", "; pass --dataset_name a/b"),
        (
            "folder/*.csv",
            " names no file: a pattern is not expanded, pass one file; it matches folder/a.csv, ",
        ),
        ("none/?.csv", " names no file: a pattern is not expanded, pass one file"),
        ("folder", " is a folder, not a file; pass a folder with --dataset_name"),
        ("/dev/null", " is a pipe or a device, not a file; write the rows to a file first"),
        ("folder/c.csv", " does not exist; did you mean folder/"),
        ("~nobody_of_that_name/x.csv", " cannot be read"),
        ("x" * 300 + ".csv", " cannot be read: File name too long"),
        ("a\0.csv", ""),
        ("train.xlsx", "; save the sheet as csv"),
    ],
)
def test_what_is_no_file_is_said(name, message):
    with pytest.raises(BadInput) as caught:
        read_bytes(name, (".csv",))
    assert str(caught.value).startswith(printable(name))
    assert message in str(caught.value)


def test_a_pipe_is_not_waited_for():
    os.mkfifo("pipe.csv")
    with pytest.raises(BadInput, match="is a pipe"):
        read_bytes("pipe.csv", (".csv",))


def test_a_file_with_the_signs_of_a_pattern_is_a_file():
    Path("a[1].csv").write_text("text\n")
    assert read_bytes("a[1].csv", (".csv",)) == b"text\n"


def test_a_file_that_changes_while_it_is_read_is_refused(monkeypatch):
    read = Path.read_bytes

    def slow(path: Path) -> bytes:
        data = read(path)
        with path.open("a") as file:
            file.write("more\n")
        return data

    monkeypatch.setattr(Path, "read_bytes", slow)
    with pytest.raises(BadInput, match="changed while it was read"):
        read_bytes("folder/a.csv", (".csv",))


def test_byte_order_marks_are_read_and_those_of_joined_files_left_out():
    assert decode_text("x", "text,label\né,1\n".encode("utf-16")) == (
        "text,label\né,1\n",
        ("read as UTF-16",),
    )
    assert decode_text("x", "\ufefftext\na\n\ufefftext\nb\n".encode())[0] == "text\na\ntext\nb\n"
    assert decode_text("x", "a\ufeffb".encode()) == ("a\ufeffb", ())
    with pytest.raises(BadInput, match="damaged UTF-16"):
        decode_text("x", b"\xff\xfea\0b")


def test_one_bad_byte_in_utf8_is_not_converted():
    data = "text\nçà ü ö ä\nà é è ê\n".encode() + b"caf\xe9\n"
    with pytest.raises(
        BadInput, match=r"line 4, byte 4 \(0xE9\) is not UTF-8, but the rest of the file mostly is"
    ):
        decode_text("x", data)
    with pytest.raises(BadInput, match=r"looks like ISO-8859-1 \(else try .*iconv -f ISO-8859-1"):
        decode_text("x", b"text\ncaf\xe9\n")
