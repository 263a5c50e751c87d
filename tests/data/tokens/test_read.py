import json
from pathlib import Path

import pyarrow as pa
import pytest

from hftune.data.tables.read import read_table
from hftune.data.tables.table import Table
from hftune.data.tokens.read import TAGS, find_columns, tagged_table
from hftune.errors import BadInput


def lines(folder: Path, *rows: dict, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(table: Table) -> Table:
    return tagged_table(table, *find_columns(table, None, None))


def tags(table: Table) -> list[str]:
    return [" ".join(text.tags) for text in table.columns[TAGS]]


EXPORTS = {
    "doccano": {"text": "Ask Anna now", "label": [[4, 8, "PER"]], "id": 3},
    "doccano relations": {
        "text": "Ask Anna now",
        "entities": [{"id": 1, "label": "PER", "start_offset": 4, "end_offset": 8}],
        "relations": [],
    },
    "prodigy": {
        "text": "Ask Anna now",
        "tokens": [
            {"text": "Ask Anna", "start": 0, "end": 8, "id": 0},
            {"text": "now", "start": 9, "end": 12},
        ],
        "spans": [{"start": 0, "end": 8, "label": "PER"}],
        "answer": "accept",
    },
    "spacy": {"text": "Ask Anna now", "entities": [[4, 8, "PER"]]},
    "label studio, small": {
        "text": "Ask Anna now",
        "label": [{"start": 4, "end": 8, "text": "Anna", "labels": ["PER"]}],
        "annotator": 1,
    },
    "words": {"tokens": ["Ask", "Anna", "now"], "ner_tags": ["O", "B-PER", "O"]},
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_read_as_they_are(tmp_path, name):
    expected = "B-PER O" if name == "prodigy" else "O B-PER O"  # its own words are kept
    assert tags(read(read_table(lines(tmp_path, EXPORTS[name], EXPORTS[name])))) == [expected] * 2


def test_label_studio_tasks_without_an_annotation_are_left_out_and_counted(tmp_path):
    value = {"start": 4, "end": 8, "text": "Anna", "labels": ["PER"]}
    done = [{"result": [{"type": "labels", "value": value, "id": "x"}], "was_cancelled": False}]
    tasks = [
        {"id": 1, "data": {"text": "Ask Anna now"}, "annotations": []},
        {"id": 2, "data": {"text": "Ask Anna now"}, "annotations": done},
        {"id": 3, "data": {"text": "Ask me"}, "annotations": [{"result": [], "was_cancelled": False}]},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks, indent=1))
    table = read(read_table(str(path)))
    assert tags(table) == ["O B-PER O", "O O"]
    assert table.warnings == (f"{path}: 1 rows are not annotated yet and are left out (first: {path} row 0)",)
    assert table.place(0) == f"{path} row 1"


def test_ids_become_the_names_that_the_data_bring():
    columns = {"tokens": pa.chunked_array([[["a", "b"]]]), "ner_tags": pa.chunked_array([[[1, 0]]])}
    table = Table("set train", columns, class_names={"ner_tags": ["O", "B-PER"]})
    assert tags(read(table)) == ["B-PER O"]
    assert read(table).class_names == {TAGS: ["O", "B-PER"]}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words (column 'tokens'), but 1 tags (column 'tags')"),
        ({"tokens": ["a"], "tags": [None]}, "a tag is None, not a name or an id (column 'tags')"),
        ({"tokens": ["a"], "tags": "O"}, "column 'tags' holds text, not a list of tags"),
        ({"tokens": ["a", 1], "tags": ["O", "O"]}, "column 'tokens' holds a number, not words"),
        ({"text": "a b", "spans": [[0, 9, "X"]]}, "the mark [0, 9, 'X'] lies outside"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, problem):
    good = {"tokens": ["a"], "tags": ["O"]} if "tokens" in row else {"text": "a", "spans": []}
    name = lines(tmp_path, good, row)
    with pytest.raises(BadInput) as refused:
        read(read_table(name))
    assert str(refused.value).startswith(f"{name} line 2: {problem}")


def test_snapped_marks_and_rows_without_words_are_counted(tmp_path):
    rows = [
        {"text": " ", "label": []},
        {"text": "Anna", "label": [[0, 2, "PER"]]},
        {"text": "b", "label": []},
    ]
    name = lines(tmp_path, *rows)
    empty, snapped = read(read_table(name)).warnings
    assert empty == f"{name}: 1 rows have no word and are left out (first: {name} line 1)"
    assert snapped.startswith(f"{name}: 1 marks begin or end inside a word")
    assert "(first: " + name + " line 2, [0, 2, 'PER'])" in snapped


def test_conll_2003_has_its_entities_read_and_not_its_parts_of_speech():
    lists = pa.chunked_array([[["O"]]])
    names = ("tokens", "pos_tags", "chunk_tags", "ner_tags")
    assert find_columns(Table("set", dict.fromkeys(names, lists)), None, None) == ("tokens", "ner_tags")


def test_lists_that_a_csv_file_wrote_as_text_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("tokens,ner_tags\n\"['a', 'b']\",\"[0, 1]\"\n")
    with pytest.raises(
        BadInput, match="column 'tokens' holds text, not lists of words; write the rows as json"
    ):
        find_columns(read_table(str(path)), None, None)


def test_a_table_without_words_is_refused():
    with pytest.raises(BadInput, match=r"no column of words .* or text; name it with --text_column_name"):
        find_columns(Table("set", {"a": pa.chunked_array([["x"]])}), None, None)
