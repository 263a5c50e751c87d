"""JSON is read where its rows are plain; any other shape is one short line that says what it is."""

import json

import pytest

from hftune.data.tables.json import read_json
from hftune.errors import BadInput

ROWS = [{"text": "good film", "label": "pos"}, {"text": "bad film", "label": "neg"}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("document", "notes"),
    [
        (ROWS, ()),
        ({"version": "1", "data": ROWS, "tags": ["a"]}, ("the rows under 'data'",)),
        ({"schema": {"fields": [{"name": "text"}]}, "data": ROWS}, ("the rows under 'data'",)),
    ],
    ids=["array", "under a key", "pandas table"],
)
def test_documents_with_plain_rows_are_read(document, notes, indent):
    table = read_json("x.json", json.dumps(document, indent=indent))
    assert {name: column.to_pylist() for name, column in table.columns.items()} == {
        "text": ["good film", "bad film"],
        "label": ["pos", "neg"],
    }
    assert table.notes == notes
    assert table.place(1) == "x.json row 1"


def test_lines_stay_lines():
    text = "".join(json.dumps(row) + "\n\n" for row in ROWS)
    for name in ("x.json", "x.jsonl"):
        assert read_json(name, text).lines == [1, 3]
    one = '{"text": "a", "entities": [{"start": 0}, {"start": 1}]}\n'
    assert list(read_json("x.jsonl", one).columns) == ["text", "entities"]
    assert list(read_json("x.json", '{\n "text": "a"\n}').columns) == ["text"]


SHAPES = [
    ({"pos": ["a", "b"], "neg": ["c"]}, "is one object with a list for each key (pos, neg), not rows; write"),
    ({"text": ["a"], "label": [0]}, "is one object with a list for each key (text, label)"),
    ({"columns": ["text"], "index": [0], "data": [["a"]]}, 'is pandas\' orient "split"; write one object a '),
    ({"0": ROWS[0], "1": ROWS[1]}, 'is one object of 2 objects (0, 1), as pandas\' orient "columns" or "ind'),
    ({"text": {"0": "a"}, "label": {"0": "b"}}, "is one object of 2 objects (text, label)"),
    ({"train": ROWS, "test": ROWS}, "has several lists of objects (train, test); write each to a file of it"),
    ({"status": 1, "result": {"rows": ROWS}}, "is one object (status, result) without a list of rows"),
    ([["a", "b"]], "is an array of arrays, whose columns have no names"),
    (["a", "b"], "is an array in which row 0 is a text, not an object such as"),
    ([ROWS[0], 7], "is an array in which row 1 is 7, not an object"),
    ([], "is an empty array"),
    ([{}], "holds objects without keys"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), SHAPES, ids=[str(shape)[:30] for shape, _ in SHAPES])
def test_other_shapes_are_named(document, message):
    for indent in (None, 2):
        with pytest.raises(BadInput) as caught:
            read_json("x.json", json.dumps(document, indent=indent))
        assert str(caught.value).startswith(f"x.json {message}")
        assert "header" not in str(caught.value)


def test_a_shape_of_many_keys_is_a_short_line():
    document = {f"key {number}": {"text": "a" * 1000} for number in range(20_000)}
    with pytest.raises(BadInput, match=r"key 4 and 19,995 more") as caught:
        read_json("x.json", json.dumps(document))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"text": "a"},\n{"text": "b" "label": 1}\n]', "x.json line 3, column 14 is not JSON"),
        ('[{"text": "a"},', "x.json line 1, column 16 is not JSON"),
        ('[{"text": NaN}]', "x.json: NaN is not JSON; leave the value out"),
        ('[{"text": "a", "text": "b"}]', "x.json: 'text' stands twice in one object"),
        ('[{"text": "a\\ud800"}]', "x.json row 0: column 'text' holds half a character"),
        ("[" * 100_000, "x.json is nested too deeply"),
    ],
)
def test_broken_documents_are_named(text, message):
    with pytest.raises(BadInput) as caught:
        read_json("x.json", text)
    assert str(caught.value).startswith(message)
