"""Images are read in their order; what cannot be read is named with its file and row, or left out."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.image.read import read_images
from hftune.errors import BadInput
from tests.data.image.test_splits import painted, png
from tests.runs import feed, write

pytestmark = pytest.mark.usefixtures("here")


def first_pixels(images) -> list[int]:
    """`painted` writes each image's number there."""
    return [int(images[row][0, 0, 0]) for row in range(len(images))]


def write_images() -> None:
    for number in range(6):
        write(f"photos/{number}.png", png(painted("red", number)))
    write("photos/deep/er/9.png", png(painted("red", 9)))
    write("photos/.trash/8.png", b"")
    write("list/list.csv", "image,note\n../photos/4.png,x\n../photos/2.png,y\n")
    encoded = [
        {"bytes": png(painted("blue", 7)), "path": None},
        {"bytes": png(painted("blue", 3)), "path": "3.png"},
    ]
    pq.write_table(pa.table({"image": pa.array(encoded), "label": [0, 1]}), "list/bytes.parquet")
    write("bad.png", png(painted("red", 0))[:60])


def test_images_keep_the_order_of_files_folders_and_lists():
    write_images()
    words = ["photos/5.png", "list/list.csv", "photos", "list/bytes.parquet", "photos/1.png", "photos/0.png"]
    found = read_images(words)
    assert first_pixels(found.values) == [5, 4, 2, 0, 1, 2, 3, 4, 5, 9, 7, 3, 1, 0]
    assert len(found.names) == len(found.values) == 14
    assert found.names[:4] == ["photos/5.png", "../photos/4.png", "../photos/2.png", "photos/0.png"]
    assert found.names[9:12] == ["photos/deep/er/9.png", "list/bytes.parquet row 0", "3.png"]
    assert found.warnings == []


def test_bad_images_are_named_or_left_out():
    write_images()
    with pytest.raises(BadInput, match=r"bad\.png is truncated"):
        read_images(["photos", "bad.png"])
    found = read_images(["photos/3.png", "bad.png", "photos/1.png"], skip_bad=True)
    assert (found.names, first_pixels(found.values)) == (["photos/3.png", "photos/1.png"], [3, 1])
    (warning,) = found.warnings
    assert "1 of 3 images cannot be read and is left out (the first: bad.png" in warning
    found = read_images(["list/list.csv", "bad.png"], skip_bad=True)
    assert (found.names, first_pixels(found.values), len(found.warnings)) == (
        ["../photos/4.png", "../photos/2.png"],
        [4, 2],
        1,
    )
    with pytest.raises(BadInput, match="none of the images can be read"):
        read_images(["bad.png", "bad.png"], skip_bad=True)


def test_paths_come_from_standard_input_too(monkeypatch):
    write_images()
    feed(monkeypatch, b"photos/3.png\n\nphotos/deep\n")
    found = read_images(["photos/1.png", "-"])
    assert found.names == ["photos/1.png", "photos/3.png", "photos/deep/er/9.png"]
    assert (first_pixels(found.values), found.warnings) == ([1, 3, 9], [])
    for data, message in (
        (b"", "standard input is empty; write one path"),
        (b"no/such.png", "no/such.png does not exist; pass images"),
        (b"https://example.org/1.png\n", "https://example.org/1.png is an address, not a file; download it"),
    ):
        feed(monkeypatch, data)
        with pytest.raises(BadInput, match=f"^{message}"):
            read_images(["-"])


def test_what_is_left_out_of_a_folder_is_counted_and_named():
    write_images()
    write("photos/a.svg", "<svg/>")
    write("photos/deep/b.PSD", "8BPS")
    write("photos/scan", png(painted("red", 0)))
    for folder in ("@eaDir", "deep/__MACOSX", "lost+found"):
        write(f"photos/{folder}/0.png", png(painted("red", 0)))
    found = read_images(["photos"])
    assert len(found.names) == 7
    assert found.warnings == [
        "photos: 2 files left out, of a format that is not read (the first: photos/a.svg)",
        "photos: 1 file left out, no images by their extensions (the first: photos/scan)",
    ]


def test_near_paths_in_a_list_are_read_and_told():
    write_images()
    write("list/near.csv", "image\n3\n")
    with pytest.raises(BadInput, match=r"list/near.csv line 2 \(3\) does not exist; .* --image_dir FOLDER"):
        read_images(["list/near.csv"])
    found = read_images(["list/near.csv"], image_dir="photos")
    (warning,) = found.warnings
    assert (found.names, first_pixels(found.values)) == (["3.png"], [3])
    assert warning.endswith("(the first: list/near.csv line 2: 3 is 3.png)")


BAD_PICTURES = [
    (["bad.png"], "bad.png is truncated"),
    (["gone.png"], "gone.png does not exist; pass images, folders of images, or lists of them"),
    (["a text about food"], "a text about food does not exist"),
    (["none"], "none: a folder without images (.jpg,"),
    (["notes.txt"], "notes.txt is a text file, not an image"),
    (["lost.csv"], "lost.csv line 3 (gone.png) does not exist"),
    (["two.csv"], "two.csv: which column holds the images? Say it with --image_column_name (left, right)"),
]


@pytest.mark.parametrize(("words", "message"), BAD_PICTURES, ids=[repr(words) for words, _ in BAD_PICTURES])
def test_a_bad_image_is_named(words, message):
    write_images()
    write("none/notes.txt", "")
    write("notes.txt", "good\n")
    write("lost.csv", "image\nphotos/1.png\ngone.png\n")
    write("two.csv", "left,right\nphotos/1.png,photos/2.png\n")
    with pytest.raises(BadInput) as refused:
        read_images(words)
    assert message in refused.value.message
    assert "\n" not in refused.value.message


def test_a_path_that_is_taken_for_the_name_of_a_column_is_told():
    write("list.csv", "a.png\nb.png\n")
    write("named.csv", "image_path\nb.png\n")
    write("b.png", png(painted("red", 1)))
    assert "the first line is read as the names of columns, 'a.png'" in read_images(["list.csv"]).warnings[0]
    assert read_images(["named.csv"]).warnings == []
