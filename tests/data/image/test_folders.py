"""A folder of class folders becomes rows in a fixed order, and whatever else it is is named."""

import os
import re
from pathlib import Path

import pytest

from hftune.data.files import list_files
from hftune.data.image.folders import images_below, read_class_folders
from hftune.data.image.images import check_images
from hftune.data.labels import number_labels
from hftune.errors import BadInput
from tests.data.image.test_images import JPEG


def make(folder: Path, *paths: str) -> Path:
    """Writes images, empty files of other endings, and folders (ending in a slash)."""
    for path in paths:
        place = folder / path
        if path.endswith("/"):
            place.mkdir(parents=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(JPEG)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Names in messages are those that the user wrote."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_classes_and_places_are_paths_as_written(here):
    make(here / "pets", "dog/2.jpg", "dog/10.PNG", "cat/b/1.jpeg", "cat/a.webp", "cat/.hidden.jpg")
    make(here / "pets", ".git/x.jpg", "__MACOSX/cat/x.jpg", "cat/Thumbs.db", ".DS_Store")
    table, warnings = read_class_folders("pets/")
    assert warnings == []
    assert table.columns["label"].to_pylist() == ["cat", "cat", "dog", "dog"]
    expected = ["pets/cat/a.webp", "pets/cat/b/1.jpeg", "pets/dog/10.PNG", "pets/dog/2.jpg"]
    assert [table.place(row) for row in range(4)] == expected
    assert table.columns["image"] == expected
    names, numbers, _ = number_labels({"train": table}, "label")
    assert (names, numbers["train"].tolist()) == (("cat", "dog"), [0, 0, 1, 1])


def test_the_order_does_not_depend_on_the_file_system(here, monkeypatch):
    make(here / "pets", *(f"{label}/{number}.jpg" for label in "ab" for number in range(20)))
    table, _ = read_class_folders("pets")
    scan = os.scandir

    class Backwards(list):
        def __enter__(self):
            return self

        def __exit__(self, *ending):
            pass

    monkeypatch.setattr(
        os, "scandir", lambda path: Backwards(sorted(scan(path), key=lambda e: e.inode())[::-1])
    )
    assert read_class_folders("pets")[0].columns["image"] == table.columns["image"]


def test_home_and_links_are_followed(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    make(here / "store", "1.jpg")
    make(here / "pets", "dog/1.jpg")
    (here / "pets" / "cat").symlink_to(here / "store")
    (here / "pets" / "dog" / "2.jpg").symlink_to(here / "store" / "1.jpg")
    table, _ = read_class_folders("~/pets")
    assert table.places == ["~/pets/cat/1.jpg", "~/pets/dog/1.jpg", "~/pets/dog/2.jpg"]
    checked = check_images(table, "image", folder=None, skip_bad=False, room=0)
    assert len(checked.images) == 3


def test_other_files_are_left_out_and_counted(here):
    make(
        here / "pets",
        "cat/1.jpg",
        "dog/1.jpg",
        "cat/notes.txt",
        "dog/list.csv",
        "metadata.csv",
        "preview.jpg",
    )
    table, warnings = read_class_folders("pets")
    assert len(table.places) == 2
    assert warnings == [
        "pets: 1 file left out, in no class folder (the first: pets/preview.jpg)",
        "pets: 3 files left out, no images by their extensions (the first: pets/metadata.csv)",
    ]


def test_names_that_are_not_utf8_work_and_can_be_printed(here):
    make(here / "pets", "cat/1.jpg", "dog/1.jpg")
    with open(b"pets/cat/caf\xe9.jpg", "wb") as file:
        file.write(JPEG)
    with open(b"pets/dog/\xff.jpg", "wb") as file:
        file.write(b"no image")
    table, _ = read_class_folders("pets")
    assert table.places[1] == r"pets/cat/caf\udce9.jpg"
    "\n".join(table.places).encode()
    with pytest.raises(BadInput, match=r"^pets/dog/\\udcff.jpg is a text file, not an image; ") as caught:
        check_images(table, "image", folder=None, skip_bad=False, room=0)
    str(caught.value).encode()
    (here / "pets" / "dog" / os.fsdecode(b"\xff.jpg")).unlink()
    table, _ = read_class_folders("pets")
    assert len(check_images(table, "image", folder=None, skip_bad=False, room=0).images) == 3


REFUSED = [  # what is wrong, what the folder `pets` holds, what the message says
    ("empty", ["./"], "pets is empty; pass a folder with one folder of images per class"),
    ("hidden files only", [".DS_Store"], "pets is empty"),
    ("text only", ["read.txt"], "pets has no folders; pass a folder with one folder of images per class"),
    (
        "no classes",
        ["1.jpg", "2.jpg"],
        "pets holds images (1.jpg, ...) but no folders, so they have no cla",
    ),
    ("no images", ["cat/", "dog/x.txt"], "pets has folders (pets/cat, pets/dog) but no images in them"),
    ("EPS", ["cat/1.jpg", "dog/1.EPS"], "pets/dog/1.EPS: images of the format .eps are not read; convert"),
    ("SVG", ["cat/1.jpg", "dog/1.svg"], "pets/dog/1.svg: images of the format .svg are not read; convert"),
    ("PSD", ["cat/1.psd"], "pets/cat/1.psd: images of the format .psd are not read; convert"),
    ("case", ["Cat/1.jpg", "cat/1.jpg"], "pets/Cat and pets/cat are two classes that differ only by case"),
    ("blanks", ["a b/1.jpg", "a  b/1.jpg"], "pets/a  b and pets/a b are two classes that differ only by"),
    (
        "accents",
        ["caf\xe9/1.jpg", "cafe\u0301/1.jpg"],
        "pets/cafe\u0301 and pets/caf\xe9 are two classes that",
    ),
]


@pytest.mark.parametrize(
    ("paths", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_is_no_folder_of_classes_is_named(paths, message, here):
    make(here / "pets", *paths)
    with pytest.raises(BadInput) as caught:
        read_class_folders("pets")
    assert caught.value.message.startswith(message)


def test_all_places_of_a_problem_are_told(here):
    make(here / "pets", "cat/1.svg", "dog/1.eps", "dog/2.psd")
    with pytest.raises(BadInput) as caught:
        read_class_folders("pets")
    assert caught.value.details == ["pets/dog/1.eps", "pets/dog/2.psd"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data/pest", "data/pest: no such folder; did you mean data/pets?"),
        ("elsewhere/pets", "elsewhere/pets: no such folder"),
        (
            "data/pets.zip",
            "data/pets.zip is not a folder; pass a folder with one folder of images per class; unp",
        ),
        (
            "data/pets/cat/1.jpg",
            "data/pets/cat/1.jpg is not a folder; pass a folder with one folder of images",
        ),
        ("data/gone", "data/gone is not a folder"),
    ],
)
def test_what_is_no_folder_is_named(name, message, here):
    make(here / "data", "pets/cat/1.jpg", "pets.zip")
    (here / "data" / "gone").symlink_to("nowhere")
    with pytest.raises(BadInput, match=f"^{re.escape(message)}"):
        read_class_folders(name)


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        (
            "cat/again",
            "..",
            "pets/cat/again is a link to a folder that it lies in; remove it",
        ),
        ("cat/itself", ".", "pets/cat/itself is a link to a folder that it lies in; remove it"),
        ("cow", "cow", "pets/cow is a link that leads back to itself; remove it"),
        ("cow", "nowhere", "pets/cow is a broken link"),
    ],
)
def test_links_that_lead_nowhere_are_named(link, target, message, here):
    make(here / "pets", "cat/1.jpg", "dog/1.jpg")
    (here / "pets" / link).symlink_to(target)
    with pytest.raises(BadInput, match=f"^{re.escape(message)}"):
        read_class_folders("pets")


def test_a_link_to_a_missing_image_is_left_to_the_check(here):
    make(here / "pets", "cat/1.jpg", "dog/1.jpg")
    (here / "pets" / "dog" / "2.jpg").symlink_to("nowhere.jpg")
    table, _ = read_class_folders("pets")
    checked = check_images(table, "image", folder=None, skip_bad=True, room=0)
    assert checked.warnings[0].endswith("pets/dog/2.jpg is a link to a file that does not exist)")


def test_a_folder_without_permission_is_named(here):
    make(here / "pets", "cat/1.jpg", "dog/1.jpg")
    here.chmod(0o755)
    (here / "pets" / "dog").chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(BadInput, match=r"^pets/dog: no permission to read this folder"):
            read_class_folders("pets")
    finally:
        if is_root:
            os.seteuid(0)
        (here / "pets" / "dog").chmod(0o755)


def test_a_class_named_in_another_coding_is_refused(here):
    make(here / "pets", "cat/1.jpg", os.fsdecode(b"caf\xe9/1.jpg"))
    with pytest.raises(BadInput, match=r"^pets/caf\\udce9: the class's name is not UTF-8; rename the folder"):
        read_class_folders("pets")


def test_one_class_and_a_class_only_in_test_are_refused_with_their_places(here):
    make(here / "train", "cat/1.jpg")
    make(here / "more", "cat/1.jpg", "dog/1.jpg")
    make(here / "test", "cat/1.jpg", "dog/1.jpg", "cow/1.jpg")
    train, more, test = (read_class_folders(name)[0] for name in ("train", "more", "test"))
    with pytest.raises(BadInput, match=r"^train: every row has the label 'cat'"):
        number_labels({"train": train}, "label")
    with pytest.raises(BadInput, match=r"^test/cow/1.jpg: label 'cow' does not occur in more"):
        number_labels({"train": more, "test": test}, "label")


LEFT_BEHIND = (  # by systems and programs
    *("@eaDir/1.jpg", "lost+found/1.jpg", "$RECYCLE.BIN/1.jpg", "System Volume Information/1.jpg"),
    *("__pycache__/x.pyc", "_gsdata_/1.jpg", "__MACOSX/cat/1.jpg", ".ipynb_checkpoints/1.jpg", ".DS_Store"),
    *(
        "Thumbs.db",
        "desktop.ini",
        "cat/@eaDir/1.jpg",
        "cat/deep/.ipynb_checkpoints/1.jpg",
        "cat/__MACOSX/1.jpg",
    ),
    *("cat/Thumbs.db", "cat/._1.jpg", "dog/lost+found/1.jpg"),
)


def test_what_systems_leave_behind_is_no_class_and_no_image_at_any_depth(here):
    make(here / "pets", "cat/1.jpg", "dog/deep/2.jpg", *LEFT_BEHIND)
    table, warnings = read_class_folders("pets")
    assert (table.columns["image"], warnings) == (["pets/cat/1.jpg", "pets/dog/deep/2.jpg"], [])
    assert images_below("pets") == (["pets/cat/1.jpg", "pets/dog/deep/2.jpg"], [])
    assert list_files("pets") == ["cat/1.jpg", "dog/deep/2.jpg"]


def test_images_below_a_folder_are_in_order_and_what_is_left_out_is_told(here):
    make(here / "photos", "b.jpg", "a/2.PNG", "a.jpe", "c.svg", "d.EPS", "notes.txt", "scan")
    files, warnings = images_below("photos")
    assert files == ["photos/a/2.PNG", "photos/a.jpe", "photos/b.jpg"]
    assert warnings == [
        "photos: 2 files left out, of a format that is not read (the first: photos/c.svg)",
        "photos: 2 files left out, no images by their extensions (the first: photos/notes.txt)",
    ]
    make(here / "none", "a.svg")
    with pytest.raises(BadInput, match=r"none: a folder without images \(.*1 file left out, of a format"):
        images_below("none")


def test_a_class_without_images_is_left_out_with_a_warning(here):
    make(here / "pets", "cat/1.jpg", "cow/.gitkeep", "dog/1.jpg", "emu/deep/")
    table, warnings = read_class_folders("pets")
    assert table.columns["label"].to_pylist() == ["cat", "dog"]
    assert warnings == ["pets: 2 class folders left out, without images (the first: pets/cow)"]


def test_images_of_formats_that_are_not_read_are_left_out_on_request(here):
    make(here / "pets", "cat/1.jpg", "cat/2.svg", "dog/1.jpg", "dog/2.NEF")
    with pytest.raises(BadInput, match=r"^pets/cat/2.svg: .*--skip_bad_images"):
        read_class_folders("pets")
    table, warnings = read_class_folders("pets", skip_bad=True)
    assert table.places == ["pets/cat/1.jpg", "pets/dog/1.jpg"]
    assert warnings == ["pets: 2 files left out, of a format that is not read (the first: pets/cat/2.svg)"]
