"""What is read is all of it, in its order; what cannot be read is named with its file and row."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hftune.data.tables.read import Table
from hftune.data.text.splits import load_splits
from hftune.errors import BadInput
from hftune.inference.inputs import number_by_name, read_labelled, read_pictures, read_texts
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from tests.data.image.test_splits import CLASSES, painted, png, write_class_folders


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, content: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def feed(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_texts_keep_the_order_of_words_files_and_lines(monkeypatch):
    write("lines.txt", "\ufefffirst line\r\nsecond, line\r\n")
    write("table.csv", 'id,review,label\n7,"third, one",pos\n8,fourth one,neg\n')
    write("one.csv", "words\nfifth\n")
    write("folder/b.jsonl", json.dumps({"text": "seventh"}) + "\n")
    write("folder/a.txt", "sixth")
    write("folder/.hidden.txt", "never")
    write("folder/picture.png", b"\x89PNG")
    pq.write_table(pa.table({"label": [0], "sentence": ["eighth"]}), "table.parquet")
    feed(monkeypatch, b"ninth\ntenth")
    words = ["zero.", "lines.txt", "table.csv", "one.csv", "folder", "table.parquet", "-", "the last"]
    assert read_texts(words).texts == [
        *("zero.", "first line", "second, line", "third, one", "fourth one", "fifth"),
        *("sixth", "seventh", "eighth", "ninth", "tenth", "the last"),
    ]
    assert read_texts(["table.csv"], "label") == (["pos", "neg"], [])
    assert read_texts(["1234", "x" * 5000, "no.such thing.txt", "line\nbreak"]).texts[0] == "1234"


def test_blank_rows_have_no_text_and_those_at_the_end_are_none(monkeypatch):
    write("gap.txt", "good\n\n bad \n \n\n")
    write("gap.csv", "id,text\n1,good\n2,\n,\n3,bad\n,\n")
    write("one.csv", "text\ngood\n\nbad\n\n")
    write("gap.jsonl", '{"text": "good"}\n{"text": " "}\n{"text": null}\n\n{"text": "bad"}\n\n')
    write("semicolons.csv", "text;id\ngood;1\n")
    pq.write_table(pa.table({"text": [None, "bad"]}), "gap.parquet")
    feed(monkeypatch, b"good\r\n\r\nbad\r\n\r\n")
    found = read_texts(["gap.txt", "gap.csv", "one.csv", "gap.jsonl", "semicolons.csv", "gap.parquet", "-"])
    assert found.texts == [
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


def first_pixels(pictures) -> list[int]:
    """`painted` writes each picture's number there."""
    return [int(pictures[row][0, 0, 0]) for row in range(len(pictures))]


def write_pictures() -> None:
    for number in range(6):
        write(f"photos/{number}.png", png(painted("red", number)))
    write("photos/deep/er/9.png", png(painted("red", 9)))
    write("photos/.trash/8.png", b"")
    write("list/list.csv", "image,note\n../photos/4.png,x\n../photos/2.png,y\n")
    encoded = [
        {"bytes": png(painted("blue", 7)), "path": None},
        {"bytes": png(painted("blue", 3)), "path": "3.png"},
    ]
    pq.write_table(pa.table({"picture": pa.array(encoded), "label": [0, 1]}), "list/bytes.parquet")
    write("bad.png", png(painted("red", 0))[:60])


def test_pictures_keep_the_order_of_files_folders_and_lists():
    write_pictures()
    words = ["photos/5.png", "list/list.csv", "photos", "list/bytes.parquet", "photos/1.png", "photos/0.png"]
    names, pictures, warnings = read_pictures(words)
    assert first_pixels(pictures) == [5, 4, 2, 0, 1, 2, 3, 4, 5, 9, 7, 3, 1, 0]
    assert len(names) == len(pictures) == 14
    assert names[:4] == ["photos/5.png", "../photos/4.png", "../photos/2.png", "photos/0.png"]
    assert names[9:12] == ["photos/deep/er/9.png", "list/bytes.parquet row 0", "3.png"]
    assert warnings == []


def test_bad_pictures_are_named_or_left_out():
    write_pictures()
    with pytest.raises(BadInput, match=r"bad\.png is truncated"):
        read_pictures(["photos", "bad.png"])
    names, pictures, warnings = read_pictures(["photos/3.png", "bad.png", "photos/1.png"], skip_bad=True)
    assert (names, first_pixels(pictures)) == (["photos/3.png", "photos/1.png"], [3, 1])
    (warning,) = warnings
    assert "1 of 3 pictures cannot be read and is left out (the first: bad.png" in warning
    names, pictures, warnings = read_pictures(["list/list.csv", "bad.png"], skip_bad=True)
    assert (names, first_pixels(pictures), len(warnings)) == (
        ["../photos/4.png", "../photos/2.png"],
        [4, 2],
        1,
    )
    with pytest.raises(BadInput, match="none of the pictures can be read"):
        read_pictures(["bad.png", "bad.png"], skip_bad=True)


def test_paths_come_from_standard_input_too(monkeypatch):
    write_pictures()
    feed(monkeypatch, b"photos/3.png\n\nphotos/deep\n")
    names, pictures, warnings = read_pictures(["photos/1.png", "-"])
    assert names == ["photos/1.png", "photos/3.png", "photos/deep/er/9.png"]
    assert (first_pixels(pictures), warnings) == ([1, 3, 9], [])
    for data, message in (
        (b"", "standard input is empty; write one path"),
        (b"no/such.png", "no/such.png does not exist; pass pictures"),
        (b"https://example.org/1.png\n", "https://example.org/1.png is an address, not a file; download it"),
    ):
        feed(monkeypatch, data)
        with pytest.raises(BadInput, match=f"^{message}"):
            read_pictures(["-"])


def test_what_is_left_out_of_a_folder_is_counted_and_named():
    write_pictures()
    write("photos/a.svg", "<svg/>")
    write("photos/deep/b.PSD", "8BPS")
    write("photos/scan", png(painted("red", 0)))
    for folder in ("@eaDir", "deep/__MACOSX", "lost+found"):
        write(f"photos/{folder}/0.png", png(painted("red", 0)))
    names, _, warnings = read_pictures(["photos"])
    assert len(names) == 7
    assert warnings == [
        "photos: 2 files left out, of a format that is not read (the first: photos/a.svg)",
        "photos: 1 file left out, no pictures by their extensions (the first: photos/scan)",
    ]


def test_near_paths_in_a_list_are_read_and_told():
    write_pictures()
    write("list/near.csv", "image\n3\n")
    with pytest.raises(BadInput, match=r"list/near.csv line 2 \(3\) does not exist; .* --image_dir FOLDER"):
        read_pictures(["list/near.csv"])
    names, pictures, (warning,) = read_pictures(["list/near.csv"], image_dir="photos")
    assert (names, first_pixels(pictures)) == (["3.png"], [3])
    assert warning.endswith("(the first: list/near.csv line 2: 3 is 3.png)")


BAD_PICTURES = [
    (["bad.png"], "bad.png is truncated"),
    (["gone.png"], "gone.png does not exist; pass pictures, folders of pictures, or lists of them"),
    (["a text about food"], "a text about food does not exist"),
    (["none"], "none: a folder without pictures (.jpg,"),
    (["notes.txt"], "notes.txt is a text file, not a picture"),
    (["lost.csv"], "lost.csv line 3 (gone.png) does not exist"),
    (["two.csv"], "two.csv: which column holds the images? Say it with --image_column_name (left, right)"),
]


@pytest.mark.parametrize(("words", "message"), BAD_PICTURES, ids=[repr(words) for words, _ in BAD_PICTURES])
def test_a_bad_picture_is_named(words, message):
    write_pictures()
    write("none/notes.txt", "")
    write("notes.txt", "good\n")
    write("lost.csv", "image\nphotos/1.png\ngone.png\n")
    write("two.csv", "left,right\nphotos/1.png,photos/2.png\n")
    with pytest.raises(BadInput) as refused:
        read_pictures(words)
    assert message in refused.value.message
    assert "\n" not in refused.value.message


def table(values, names: list[str] | None = None) -> Table:
    return Table("x.parquet", {"label": values}, None, {"label": names} if names else {})


LABELS = ("neg", "pos", "7")
NUMBERED = {
    "words": (table(["pos", " neg ", "7"]), LABELS, [1, 0, 2]),
    "numbers": (table([7, 7]), LABELS, [2, 2]),
    "decimals": (table(["7.0", "7"]), LABELS, [2, 2]),
    "floats": (table([7.0]), LABELS, [2]),
    "class names in another order": (table([0, 1, 1], ["pos", "neg"]), LABELS, [1, 0, 0]),
    "truth": (table([True, False]), ("False", "True"), [1, 0]),
    "truth beside class names": (table([True], ["no", "yes"]), ("False", "True"), [1]),
    "a model without names": (table(["1", "LABEL_0"]), ("LABEL_0", "LABEL_1"), [1, 0]),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_labels_are_matched_by_name(case):
    rows, labels, expected = NUMBERED[case]
    numbers = number_by_name(rows, "label", labels)
    assert (numbers.dtype, numbers.tolist()) == (np.int64, expected)


def test_unknown_labels_are_listed():
    with pytest.raises(BadInput) as refused:
        number_by_name(table(["pos", "good", "bad", "good", "POS"]), "label", LABELS)
    assert refused.value.message == "x.parquet row 1: the model knows no label 'good' (it knows neg, pos, 7)"
    assert refused.value.details == ["x.parquet row 2: label 'bad'", "x.parquet row 4: label 'POS'"]
    for missing in (None, " ", float("nan")):
        with pytest.raises(BadInput, match=r"x.parquet row 1: the label \(column 'label'\) is missing"):
            number_by_name(table(["pos", missing]), "label", LABELS)
    with pytest.raises(BadInput, match="no label '1' "):
        number_by_name(table([0, 1]), "label", ("0", "LABEL_1x"))


def reviews(words: list[str], numbers: list[int]) -> Dataset:
    features = Features(text=Value("string"), label=ClassLabel(names=["neg", "pos"]))
    return Dataset.from_dict({"text": words, "label": numbers}, features=features)


def write_set(**splits: Dataset) -> TextSettings:
    for name, split in splits.items():
        Path("set").mkdir(exist_ok=True)
        split.to_parquet(f"set/{name}-00000-of-00001.parquet")
    return TextSettings(dataset_name="set")


def test_the_test_split_is_taken_then_validation_or_what_is_asked_for():
    train, test = reviews(["a b", "c d"], [0, 1]), reviews(["e f", "g h"], [1, 0])
    settings = write_set(train=train, validation=reviews(["i j"], [0]), test=test)
    found = read_labelled(settings, ("pos", "neg"))
    assert (found.content, found.labels.tolist(), found.split) == (["e f", "g h"], [0, 1], "test")
    files = "set/train-00000-of-00001.parquet, test: set/test-00000-of-00001.parquet"
    assert (found.origin, found.warnings) == (files, [])
    found = read_labelled(settings, ("pos", "neg"), split="validation")
    assert (found.content, found.split) == (["i j"], "validation")
    assert read_labelled(settings, ("pos", "neg"), split="train").content == ["a b", "c d"]
    with pytest.raises(
        BadInput, match=r"--split dev2: set/.* has no such split \(splits: train, validation, test\)"
    ):
        read_labelled(settings, ("pos", "neg"), split="dev2")


def test_a_test_split_without_labels_is_passed_over():
    unlabelled = reviews(["e f", "g h"], [-1, -1])
    train, validation = reviews(["a b", "c d"], [0, 1]), reviews(["i j"], [0])
    settings = write_set(train=train, validation=validation, test=unlabelled)
    assert read_labelled(settings, ("neg", "pos")).split == "validation"
    Path("set/validation-00000-of-00001.parquet").unlink()
    with pytest.raises(BadInput, match="no labelled test or validation split; name one with --split"):
        read_labelled(settings, ("neg", "pos"))


@pytest.mark.parametrize("most", [3, 7, 50])
def test_at_most_so_many_rows_are_those_that_a_run_draws(most):
    rng = np.random.default_rng(0)

    def some(prefix: str, count: int) -> Dataset:
        return reviews([f"{prefix} {row} x" for row in range(count)], rng.integers(0, 2, count).tolist())

    settings = write_set(train=some("train", 30), test=some("test", 20)).replace(
        max_eval_samples=most, seed=5
    )
    found = read_labelled(settings, ("neg", "pos"))
    expected = load_splits(settings)
    assert found.content == list(expected.test["text"])
    assert found.labels.tolist() == expected.targets["test"].tolist()


def test_a_file_or_a_folder_of_classes_is_the_test_set():
    write("mine.tsv", "body\tkind\nsome words\tpos\nother words\tneg\n")
    found = read_labelled(TextSettings(label_column_name="kind"), ("neg", "pos"), test_file="mine.tsv")
    assert (found.content, found.labels.tolist()) == (["some words", "other words"], [1, 0])
    assert (found.split, found.origin) == ("test", "mine.tsv")
    write("tool.csv", "text,label,answer\nsome words,pos,reject\nother words,neg,accept\n")
    found = read_labelled(TextSettings(), ("neg", "pos"), test_file="tool.csv")
    assert (found.content, found.labels.tolist()) == (["other words"], [0])
    assert "1 of 2 rows are left out" in found.warnings[0]
    write_class_folders(Path("pets"), 2, "test")
    found = read_labelled(ImageSettings(), CLASSES[::-1], test_dir="pets")
    assert found.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert first_pixels(found.content) == [160, 161, 162, 163, 164, 165]


def test_a_class_folder_whose_accent_is_coded_in_another_way_is_known():
    for label in ("cafe\u0301", "the"):
        write(f"pets/{label}/1.png", png(painted("red", 1)))
    for known in ("caf\xe9", "cafe\u0301"):
        assert read_labelled(ImageSettings(), ("the", known), test_dir="pets").labels.tolist() == [1, 0]


def test_a_picture_that_is_left_out_takes_its_label_along():
    write_class_folders(Path("pets"), 3, "test")
    victim = sorted(Path("pets/blue").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:50])
    with pytest.raises(BadInput, match="--skip_bad_images"):
        read_labelled(ImageSettings(), CLASSES, test_dir="pets")
    found = read_labelled(ImageSettings(skip_bad_images=True), CLASSES, test_dir="pets")
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert first_pixels(found.content) == [160, 162, 163, 164, 165, 166, 167, 168]
    assert len(found.warnings) == 1
    write("list.csv", "image,label\n" + "".join(f"{p},blue\n" for p in sorted(Path("pets/blue").iterdir())))
    found = read_labelled(ImageSettings(skip_bad_images=True), CLASSES, test_file="list.csv")
    assert (found.labels.tolist(), first_pixels(found.content)) == ([0, 0], [160, 162])
