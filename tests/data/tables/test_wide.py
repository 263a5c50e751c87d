"""Columns that are classes or pixels are said to be that, and what to make of them."""

import pyarrow as pa
import pytest

from hftune.data.columns import TEXT, choose_columns
from hftune.data.image.splits import PICTURE
from hftune.data.tables.read import Table
from hftune.data.tables.wide import refuse_one_hot
from hftune.errors import BadInput


def table(**columns) -> Table:
    arrays = {name: pa.chunked_array([pa.array(values)]) for name, values in columns.items()}
    return Table("x.csv", arrays, lines=[2, 3, 4])


@pytest.mark.parametrize(
    ("green", "red"),
    [(["0", "1", "0"], ["1", "0", "1"]), ([0, 1, 0], [1, 0, 1]), ([False, True, False], [True, False, True])],
)
@pytest.mark.parametrize("kind", [TEXT, PICTURE])
def test_one_hot_columns_are_named_with_the_remedy(green, red, kind):
    rows = table(path=["a b", "c d", "e f"], green=green, red=red, blank=["0", "0", "0"])
    with pytest.raises(BadInput) as caught:
        choose_columns(rows, kind, None, None)
    assert caught.value.message == (
        "x.csv has no label column, but of 'green', 'red' one is 1 in each row; make a label of them, with "
        "pandas: table['label'] = table[['green', 'red']].idxmax(axis=1)"
    )
    assert choose_columns(rows, kind, "path", "green") == ("path", "green")


def test_several_ones_in_a_row_are_several_labels():
    with pytest.raises(BadInput, match=r"^x.csv line 3: several of the columns 'a', 'b' are 1"):
        refuse_one_hot(table(a=[0, 1, 0], b=[1, 1, 0]))


@pytest.mark.parametrize(
    "columns",
    [
        {"a": [0, 1, 0], "b": [0, 0, 1]},
        {"a": [0, 1, 2], "b": [1, 0, 0]},
        {"a": [0, 1, 1]},
        {"a": ["x", "y", "z"]},
    ],
)
def test_other_columns_are_left_to_other_checks(columns):
    refuse_one_hot(table(**columns))


def test_a_column_per_pixel_is_said_to_be_that():
    pixels = {f"pixel{number}": ["0", "17", "255"] for number in range(784)}
    rows = table(label=["1", "2", "3"], **pixels)
    with pytest.raises(BadInput) as caught:
        choose_columns(rows, PICTURE, None, None)
    assert caught.value.message.startswith("x.csv has no column that is plainly the image (columns: label, ")
    assert "785 columns hold numbers, as of images with one column per pixel" in caught.value.message
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("filepaths", "labels", "data set"), ("filepaths", "labels")),
        (("image_name", "tags", "x"), ("image_name", "tags")),
        (("ImageId", "class_name", "id"), ("ImageId", "class_name")),
        (("id", "breed", "x"), ("id", "breed")),
        (("image", "label", "image_id"), ("image", "label")),
        (("File Name", "species", "id"), ("File Name", "species")),
        (("fname", "category", "tags"), ("fname", "category")),
    ],
)
def test_the_columns_of_usual_lists_are_found(names, chosen):
    assert choose_columns(table(**{name: ["a", "b", "c"] for name in names}), PICTURE, None, None) == chosen
