"""Every way in which a text table can be broken is named with its place, and nothing else is refused."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hftune.data.tables.read import read_table
from hftune.errors import BadInput

GOOD = b"text,label\ngood film,pos\nbad film,neg\n"

BROKEN = [  # what is wrong, file name, bytes, what the message says after the file's name
    ("empty", "x.csv", b"", " is empty"),
    ("only blanks", "x.csv", b"\n \n", " holds only blanks"),
    ("header only", "x.csv", b"text,label\n", " has a header (text, label) but no rows"),
    ("duplicate header", "x.csv", b"text,label,label\na,1,2\n", " line 1: the header names 'label' twice"),
    ("too many fields", "x.csv", b"text,label\na,1\ngood, bad,1\n", " line 3 has 3 fields, the header has 2"),
    ("too few fields", "x.csv", b'text,label\n"a\nb",1\ngood\n', " line 4 has 1 field, the header has 2"),
    ("Latin-1", "x.csv", b"text,label\na,1\ncaf\xe9,0\n", " line 3, byte 4 (0xE9) is not UTF-8; convert"),
    ("Latin-1, BOM", "x.csv", b"\xef\xbb\xbft\xe9xt,label\n", " line 1, byte 5 (0xE9) is not UTF-8"),
    ("Latin-1, CR", "x.csv", b"text,label\rcaf\xe9,0\r", " line 2, byte 4 (0xE9) is not UTF-8"),
    ("UTF-16, no mark", "x.csv", GOOD.decode().encode("utf-16-le"), " is UTF-16 without a byte order mark; "),
    ("NUL", "x.csv", GOOD + b"dull\0film,neg\n", " line 4, byte 5 is a NUL byte"),
    ("unclosed quote", "x.csv", b't,l\na,1\n5" disc,"b\nc,1\n', ' line 3: a quote (") opens here and'),
    ("unclosed 2nd", "x.csv", b'text,label\n"a\n""b""","x\ny\n', ' line 3: a quote (") opens here'),
    ("text behind", "x.csv", b'text,label\n"a" b,1\n', " line 2: there is text behind a closing quote"),
    ("two signs", "x.csv", b"text;label|id\na;1|2\n", ": the columns are not separated by commas, but perha"),
    ("HTML", "x.csv", b"\n<!DOCTYPE html><html>404</html>", " is an HTML page"),
    ("HTML jsonl", "x.jsonl", b"<html>404</html>", " is an HTML page"),
    ("gzip", "x.csv", gzip.compress(GOOD, mtime=0), " is compressed with gzip; unpack it first"),
    ("broken gzip", "x.csv", gzip.compress(GOOD, mtime=0)[:14], " is compressed with gzip"),
    ("zip", "x.csv", b"PK\x03\x04 ...", " is a zip archive or a workbook"),
    ("Excel", "x.csv", b"PK\x03\x04 ... xl/workbook.xml", " is an Excel workbook, not text; save the sheet "),
    ("old Excel", "x.csv", b"\xd0\xcf\x11\xe0 ...", " is an old Excel workbook (.xls), not text; save the s"),
    ("Excel's ending", "x.xlsx", b"PK\x03\x04 ...", "; save the sheet as csv (UTF-8)"),
    ("LFS", "x.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", " is a Git LFS"),
    ("LFS", "x.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", " is a Git LFS poin"),
    ("bad line", "x.jsonl", b'{"text": "a"}\n{"text": "b" "label": 1}\n', " line 2, column 14 is not JSON:"),
    ("cut line", "x.jsonl", b'{"text": "a"}\n{"text": "b', " line 2, column 10 is not JSON: unterminated st"),
    ("pretty JSON", "x.json", b'{\n "text": "a"\n}\n{\n "text": "b"\n}', "(write each object on one line, o"),
    ("not an object", "x.jsonl", b'{"text": "a"}\n"b"\n', " line 2 is not an object"),
    ("key twice", "x.jsonl", b'{"text": "a", "text": "b"}\n', " line 1: 'text' stands twice"),
    ("NaN", "x.jsonl", b'{"text": "a", "label": NaN}\n', " line 1: NaN is not JSON"),
    ("surrogate", "x.jsonl", b'{"t": "\\ud83d\\ude00"}\n{"t": "x\\uD83D"}\n', " line 2: column 't' holds ha"),
    ("no parquet", "x.parquet", GOOD, " is not a parquet file"),
    ("parquet as csv", "x.csv", b"PAR1....PAR1", " is a parquet file; rename it"),
    ("hollow parquet", "x.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", " is a damaged parquet file"),
    ("extension", "x.txt", GOOD, ": a data file's name must end with one of .csv"),
    ("packed", "x.csv.gz", gzip.compress(GOOD, mtime=0), "; unpack it first"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [case[1:] for case in BROKEN],
    ids=[f"{case[0]}-{case[1]}" for case in BROKEN],
)
def test_broken_file_is_one_line_that_names_the_place(tmp_path, monkeypatch, name, data, message):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read_table(name)
    assert caught.value.message.startswith(name)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_stray_quote_is_found_though_a_later_line_shows_it(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text,label\n"a,1\nb,0\n"c",0\n')
    with pytest.raises(BadInput, match=r"line 4: there is text behind .* the cell that opens in line 2;"):
        read_table(str(path))


def test_missing_file_suggests_a_neighbour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_bytes(GOOD)
    with pytest.raises(BadInput, match=r"^trian\.csv does not exist; did you mean train\.csv\?$"):
        read_table("trian.csv")


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\r"),
        GOOD.rstrip(),
        GOOD.replace(b"good film", b'"good film"'),
    ],
    ids=["plain", "byte order mark", "CRLF", "CR", "no last line end", "quoted"],
)
def test_harmless_differences_are_accepted(tmp_path, data):
    (tmp_path / "x.csv").write_bytes(data)
    table = read_table(str(tmp_path / "x.csv"))
    assert {name: column.to_pylist() for name, column in table.columns.items()} == {
        "text": ["good film", "bad film"],
        "label": ["pos", "neg"],
    }
    assert table.lines == [2, 3]


def test_lines_count_line_breaks_within_cells_and_blank_lines(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text,label\n"one\ntwo",1\n\nthree,0\n')
    table = read_table(str(path))
    assert table.lines == [2, 5]
    assert table.place(1) == f"{path} line 5"


def test_na_and_null_are_words_and_only_an_empty_cell_is_missing(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,label\nNA,a\nnull,b\nnan,c\n,d\n\x07 \u2028,e\n")
    assert read_table(str(path)).columns["text"].to_pylist() == ["NA", "null", "nan", None, "\x07 \u2028"]


def test_cells_beyond_the_csv_modules_limit_are_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,label\n" + "x" * 200_000 + ",1\n")
    assert len(read_table(str(path)).columns["text"][0].as_py()) == 200_000


def test_json_key_that_a_line_lacks_is_missing_there(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": 1}\n\n{"label": 2}\n')
    table = read_table(str(path))
    assert table.columns["text"].to_pylist() == ["a", None]
    assert table.lines == [1, 3]


def test_json_values_of_several_types_are_kept_as_they_are(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"label": 1}\n{"label": "1"}\n{"label": true}\n{"label": null}\n')
    column = read_table(str(path)).columns["label"]
    assert [(type(value), value) for value in column] == [
        (int, 1),
        (str, "1"),
        (bool, True),
        (type(None), None),
    ]


def _write_parquet(path: Path) -> bytes:
    pq.write_table(pa.table({"text": ["a b", "c d"] * 500, "label": [0, 1] * 500}), path)
    return path.read_bytes()


def test_parquet_rows_count_from_zero(tmp_path):
    path = tmp_path / "x.parquet"
    _write_parquet(path)
    table = read_table(str(path))
    assert (len(table.columns["text"]), table.place(3)) == (1000, f"{path} row 3")


def test_parquet_cut_off_anywhere_is_an_error(tmp_path):
    path = tmp_path / "x.parquet"
    data = _write_parquet(path)
    for end in range(1, len(data), 97):
        path.write_bytes(data[:end])
        with pytest.raises(BadInput, match=r"x\.parquet (is cut off|is not a parquet file)"):
            read_table(str(path))


def test_parquet_strings_that_are_not_utf8_are_an_error(tmp_path):
    path = tmp_path / "x.parquet"
    bad = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad, "label": ["a"]}), path)
    with pytest.raises(BadInput, match=r"x\.parquet is a damaged parquet file.*UTF8"):
        read_table(str(path))


def test_parquet_with_two_columns_of_one_name_is_an_error(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    with pytest.raises(BadInput, match="two columns called 'text'"):
        read_table(str(path))


def test_whole_numbers_stay_whole_numbers_in_every_format(tmp_path):
    numbers = [2**53, 2**53 + 1, 2**63 - 1]
    rows = [{"text": "a b", "label": number} for number in numbers]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"a b,{number}\n" for number in numbers))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    for name in ("x.csv", "x.jsonl", "x.json", "x.parquet"):
        column = read_table(str(tmp_path / name)).columns["label"]
        assert list(map(int, column.to_pylist())) == numbers, name
        assert not pa.types.is_floating(column.type)
    (tmp_path / "x.jsonl").write_text('{"label": 18446744073709551617}\n{"label": 18446744073709551618}\n')
    assert list(read_table(str(tmp_path / "x.jsonl")).columns["label"]) == [2**64 + 1, 2**64 + 2]
    pq.write_table(pa.table({"label": pa.array([2**64 - 1, 2**64 - 2], pa.uint64())}), tmp_path / "x.parquet")
    assert read_table(str(tmp_path / "x.parquet")).columns["label"].to_pylist() == [2**64 - 1, 2**64 - 2]


def test_no_message_is_longer_than_some_lines(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(",".join(f"column {number}" for number in range(5000)) + "\n")
    with pytest.raises(BadInput, match=r"column 0, .*, column 4 and 4,995 more\) but no rows") as caught:
        read_table(str(path))
    assert len(str(caught.value)) < 400
    path.write_text("data:image/png;base64," + "A" * 100_000 + "\nx\n")
    with pytest.raises(BadInput) as caught:
        read_table(str(path))
    assert len(str(caught.value)) < 400


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_whatever_python_writes_is_read_back(tmp_path, rows):
    import csv

    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "label"), *rows])
    lines = tmp_path / "x.jsonl"
    lines.write_text("".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows))
    for table in (read_table(str(path)), read_table(str(lines))):
        columns = (table.columns["text"].to_pylist(), table.columns["label"].to_pylist())
        assert list(zip(*columns, strict=True)) == rows
