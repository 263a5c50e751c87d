"""A path in a list is the file that is meant, or it is named with what is near; never another file."""

import base64
from pathlib import Path

import pyarrow as pa
import pytest

from hftune.data.image.paths import locate_images
from hftune.data.tables.read import Table
from hftune.errors import BadInput
from tests.data.image.test_folders import make
from tests.data.image.test_images import JPEG


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(*paths) -> Table:
    lines = list(range(2, len(paths) + 2))
    return Table("pets/list.csv", {"image": pa.chunked_array([pa.array(paths, pa.string())])}, lines)


def located(*paths, **given):
    make(Path(), "pets/list.csv")
    table, start, warnings = locate_images(listed(*paths), "image", **{"image_dir": None} | given)
    column = table.columns["image"]
    return column if isinstance(column, list) else column.to_pylist(), start, warnings


NEAR = {  # what is there, what the list says, and what is read
    "no ending": ("images/1.jpg", "images/1", "images/1.jpg"),
    "no ending, dots": ("a.b.jpeg", "a.b", "a.b.jpeg"),
    "backslashes": ("images/1.jpg", "images\\1.jpg", "images/1.jpg"),
    "both": ("images/1.jpg", ".\\images\\1", "images/1.jpg"),
    "blanks": ("images/1.jpg", " images/1.jpg ", "images/1.jpg"),
    "case of the ending": ("images/1.jpg", "images/1.JPG", "images/1.jpg"),
    "case of a folder": ("Images/a.JPG", "images/A.jpg", "Images/a.JPG"),
    "coding of an accent": ("cafe\u0301/1.jpg", "caf\xe9/1.jpg", "cafe\u0301/1.jpg"),
    "a folder below": ("images/train/1.jpg", "1.jpg", "images/train/1.jpg"),
    "id, a folder below": ("images/1.png", "1", "images/1.png"),
    "folders below": ("images/cat/1.jpg", "cat/1.jpg", "images/cat/1.jpg"),
}


@pytest.mark.parametrize("case", NEAR)
def test_near_paths_are_read_and_counted(case, here):
    there, said, read = NEAR[case]
    make(here / "pets", there, "other/2.jpg")
    paths, start, warnings = located(said, None)
    assert (paths, start) == ([read, None], "pets")
    (warning,) = warnings
    assert warning.startswith("pets/list.csv: 1 of 2 paths are read as the files that they nearly name")
    assert warning.endswith(f"is {read})")


def test_paths_that_lead_to_a_file_stay_as_they_are(here):
    make(here / "pets", "images/1.jpg", "2.jpg")
    (here / "pets/3.jpg").symlink_to("nowhere")  # the check of the images says what is wrong with it
    paths = ["./images//1.jpg", str(here / "pets/2.jpg"), "3.jpg"]
    assert located(*paths) == (paths, "pets", [])


def test_paths_may_start_from_the_working_folder(here):
    make(here, "photos/1.jpg", "photos/2.jpg", "pets/list.csv")
    assert located("photos/1.jpg", "photos\\2.jpg") == (
        ["photos/1.jpg", "photos/2.jpg"],
        None,
        [
            "pets/list.csv: its paths start from the working folder, not from its own",
            "pets/list.csv: 1 of 2 paths are read as the files that they nearly name (the first: "
            "pets/list.csv line 3: photos\\2.jpg is photos/2.jpg)",
        ],
    )


AMBIGUOUS = {
    "two endings": (["1.jpg", "1.png"], "1"),
    "two folders": (["a/1.jpg", "b/1.jpg"], "1.jpg"),
    "two cases": (["A.jpg", "a.JPG"], "a.jpg"),
    "another folder": (["test/1.jpg"], "train/1.jpg"),
    "another machine": (["images/1.jpg"], "/home/ann/1.jpg"),
    "another drive": (["images/1.jpg"], "C:\\photos\\1.jpg"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_could_be_another_file_is_asked_for(case, here):
    there, said = AMBIGUOUS[case]
    make(here / "pets", *there)
    with pytest.raises(BadInput) as caught:
        located(said)
    message = caught.value.message
    assert "line 2 (" in message
    assert f"did you mean {there[0]}" in message
    assert "paths start from the folder pets: pass another with --image_dir FOLDER" in message


def test_no_row_is_taken_from_the_folder_of_another_split(here):
    make(here / "pets", "train/1.jpg", "Testing/2.jpg")
    assert located("1.jpg", split="train")[0] == ["train/1.jpg"]
    assert located("2.jpg", split="test")[0] == ["Testing/2.jpg"]
    with pytest.raises(BadInput, match=r"did you mean train/1.jpg\?"):
        located("1.jpg", split="test")


def test_a_list_whose_paths_are_right_takes_no_file_from_elsewhere(here):
    make(here / "pets", "1.jpg", "old/2.jpg")
    with pytest.raises(
        BadInput, match=r"line 3 \(2.jpg\) does not exist \(did you mean old/2.jpg\?\); paths"
    ):
        located("1.jpg", "2.jpg")
    assert located("1.jpg", "2.jpg", skip_bad=True)[0] == ["1.jpg", "2.jpg"]


def test_many_missing_files_are_five_and_a_count(here):
    make(here / "pets", "1.jpg")
    with pytest.raises(BadInput) as caught:
        located("1.jpg", *(f"gone{number}.jpg" for number in range(9)))
    assert "line 3 (gone0.jpg) does not exist, nor do 8 more; paths start" in caught.value.message
    assert str(caught.value).count("\n") == 5
    assert len(max(str(caught.value).splitlines(), key=len)) < 250
    for skip_bad in (False, True):  # where none is right, the folder is wrong
        with pytest.raises(BadInput, match="nor does 1 more"):
            located("gone.jpg", "lost.jpg", skip_bad=skip_bad)


@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,"])
def test_base64_is_decoded(head):
    text = head + base64.b64encode(JPEG * 2).decode()
    assert located(text, "a.jpg")[0][0] == JPEG * 2


def test_what_is_no_path_is_named_in_one_short_line(here):
    with pytest.raises(BadInput, match=r"line 2: column 'image' holds 5,000 letters \(wwww") as caught:
        located("w" * 5000)
    assert len(str(caught.value)) < 200


def test_other_columns_are_left_as_they_are():
    column = pa.chunked_array([pa.array([{"bytes": b"x", "path": None}])])
    table = Table("x.parquet", {"image": column})
    assert locate_images(table, "image", image_dir=None) == (table, None, [])
    assert located("https://example.org/1.jpg", "", None)[2] == []


def test_paths_start_from_the_list_or_the_folder_that_is_named(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    make(here, "pets/list.csv", "pets/1.jpg", "photos/2.jpg")
    assert located("1.jpg")[1] == "pets"
    assert located("2.jpg", image_dir="~/photos")[1] == str(here / "photos")
    rows = listed("1.jpg").columns
    assert locate_images(Table("~/pets/list.csv", rows), "image", image_dir=None)[1] == str(here / "pets")
    assert locate_images(Table("x", rows), "image", image_dir=None, dataset_name="pets")[1] == "pets"
    of_folders = Table("pets", rows, places=["pets/1.jpg"])  # its file was there a moment ago
    assert locate_images(of_folders, "image", image_dir=None) == (of_folders, None, [])
    with pytest.raises(BadInput, match=r"phots: no such folder; did you mean photos\?"):
        located("1.jpg", image_dir="phots")


@pytest.mark.parametrize("path", ["/home/ann/photos/cat/1.jpg", "D:\\ann\\cat\\1.JPG", "/kaggle/cat/1"])
def test_paths_of_another_machine_are_read_below_the_folder_that_is_named(path, here):
    make(here / "photos", "cat/1.jpg", "1.jpg", "dog/1.jpg")
    paths, start, (warning,) = located(path, image_dir="photos")
    assert (paths, start) == (["cat/1.jpg"], "photos")
    assert warning.endswith("is cat/1.jpg)")
