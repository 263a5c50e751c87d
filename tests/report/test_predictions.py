"""Every line of test_predictions.csv leads back to the row of the user's data, also of a sample of it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hftune.data.image.load import load_images
from hftune.data.text.load import load_text
from hftune.report.predictions import as_csv, write_predictions
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.tasks.single_label import SingleLabel
from tests.data.image.test_splits import write_class_folders

TEXTS = ["a film", "two\nlines, with a comma", 'a "quoted" one', "the last"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, texts: list[str]) -> list[dict[str, str]]:
    """Writes texts with labels that alternate; returns the rows with the line on which each begins."""
    rows = [{"text": text, "label": ["bad", "good"][number % 2]} for number, text in enumerate(texts)]
    path.write_text(as_csv([("text", texts), ("label", [row["label"] for row in rows])]), newline="")
    line = 2
    for row in rows:
        row["place"] = f"{path} line {line}"
        line += 1 + row["text"].count("\n")
    return rows


def test_a_sample_of_texts_leads_back_to_file_and_line(tmp_path):
    write_rows(tmp_path / "train.csv", [f"film number {number} is long" for number in range(40)])
    written = write_rows(tmp_path / "test.csv", [f"{text} {turn}" for turn in range(8) for text in TEXTS])
    files = {"train_file": str(tmp_path / "train.csv"), "test_file": str(tmp_path / "test.csv")}
    data = load_text(TextSettings(model_type="bag", max_eval_samples=10, min_frequency=1, **files))
    predictions = {"logits": np.eye(2)[data.test.targets]}
    write_predictions(tmp_path / "x.csv", data.task.columns(predictions, data.test.targets), data.places)
    found = read(tmp_path / "x.csv")
    assert list(found[0]) == ["row", "place", "text", "label", "prediction", "bad", "good"]
    rows = [int(line["row"]) for line in found]
    assert len(found) == 10
    assert rows != list(range(10)), "the sample would have to be the first rows"
    for row, line in zip(rows, found, strict=True):
        assert {name: line[name] for name in written[row]} == written[row]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_rows_of_a_table_with_a_column_of_splits_have_their_numbers_in_the_table(kind, tmp_path):
    write_class_folders(tmp_path, 8, "test")
    content = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    labels = [name.split("/")[0] for name in content]
    splits = [("train", "train", "validation", "test")[row % 4] for row in range(len(content))]
    (tmp_path / "all.csv").write_text(as_csv([(kind, content), ("label", labels), ("split", splits)]))
    named = {"train_file": str(tmp_path / "all.csv"), "max_eval_samples": 3}
    if kind == "text":
        data = load_text(TextSettings(model_type="bag", min_frequency=1, **named))
    else:
        data = load_images(ImageSettings(model_type="resnet9", image_size=16, **named))
    rows = data.places.rows.tolist()
    assert [splits[row] for row in rows] == ["test"] * 3
    assert [data.places.contents[kind](number) for number in range(3)] == [content[row] for row in rows]


def test_images_lead_back_to_their_files(tmp_path):
    for split, each in (("train", 6), ("test", 4)):
        write_class_folders(tmp_path / "pets" / split, each, split)
    files = sorted((tmp_path / "pets/test").glob("*/*"))
    files[0].write_bytes(b"\x89PNG")  # left out: the rows behind it keep their numbers
    settings = ImageSettings(
        dataset_name=str(tmp_path / "pets"), model_type="resnet9", image_size=16, skip_bad_images=True
    )
    data = load_images(settings)
    columns = data.task.columns({"logits": np.eye(3)[data.test.targets]}, data.test.targets)
    write_predictions(tmp_path / "x.csv", columns, data.places)
    found = read(tmp_path / "x.csv")
    assert [int(line["row"]) for line in found] == list(range(1, 12))
    assert [line["image"] for line in found] == [line["place"] for line in found] == list(map(str, files[1:]))
    assert [line["label"] for line in found] == [file.parent.name for file in files[1:]]


def test_a_list_of_images_names_its_line_and_the_path_in_it(tmp_path):
    write_class_folders(tmp_path, 4, "test")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    page = as_csv([("image", files), ("label", [file.split("/")[0] for file in files])])
    (tmp_path / "list.csv").write_text(page)
    named = dict.fromkeys(("train_file", "test_file"), str(tmp_path / "list.csv"))
    data = load_images(ImageSettings(model_type="resnet9", image_size=16, max_eval_samples=6, **named))
    for number, row in enumerate(data.places.rows):
        assert data.places.contents["image"](number) == files[row]
        assert data.places.place(number) == f"{tmp_path}/list.csv line {row + 2} ({files[row]})"
        assert data.labels[data.test.targets[number]] == files[row].split("/")[0]


def test_data_without_places_have_the_numbers_of_the_set(tmp_path):
    predictions = {"logits": np.array([[3.0, 0], [0, 1]])}
    write_predictions(tmp_path / "x.csv", SingleLabel(("a", "b")).columns(predictions, np.array([0, 0])))
    assert read(tmp_path / "x.csv") == [
        {"row": "0", "label": "a", "prediction": "a", "a": "0.952574", "b": "0.047426"},
        {"row": "1", "label": "a", "prediction": "b", "a": "0.268941", "b": "0.731059"},
    ]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_cells_may_hold_separators_quotes_and_lines(separator):
    cells = ["a,b\tc", 'say "x"', "two\nlines"]
    page = as_csv([("x", cells), ("n", [1, 2, 3])], separator)
    assert list(csv.reader(page.splitlines(keepends=True), delimiter=separator)) == [
        ["x", "n"],
        *([cell, str(number)] for number, cell in enumerate(cells, 1)),
    ]
