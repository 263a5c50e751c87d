"""A folder that means a split is that split, or it is named; no class is a split, no split a class."""

import re
from pathlib import Path

import pytest

from hftune.data.image.split_folders import check_class_folders, image_splits
from hftune.errors import BadInput
from tests.data.image.test_folders import make


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def classes(*folders: str) -> list[str]:
    return [f"{folder}/{label}/1.jpg" for folder in folders for label in ("cat", "dog")]


FOUND = {  # what the folder `data` holds, and which folder or list each split is
    "usual": (classes("train", "test"), {"train": "data/train", "test": "data/test"}),
    "any case": (classes("TRAIN", "Val"), {"train": "data/TRAIN", "validation": "data/Val"}),
    "-ing": (
        classes("Training", "Validation", "Testing"),
        {"train": "data/Training", "validation": "data/Validation", "test": "data/Testing"},
    ),
    "sets": (classes("Training Set", "test-set"), {"train": "data/Training Set", "test": "data/test-set"}),
    "one word": (classes("trainset", "testset"), {"train": "data/trainset", "test": "data/testset"}),
    "numbers": (classes("1_train", "2_dev"), {"train": "data/1_train", "validation": "data/2_dev"}),
    "one word before": (
        classes("seg_train", "seg_test"),
        {"train": "data/seg_train", "test": "data/seg_test"},
    ),
    "one word behind": (
        classes("train_small", "val_small"),
        {"train": "data/train_small", "validation": "data/val_small"},
    ),
    "classes of one word": (["blood_test/1.jpg", "blood_sample/1.jpg"], {"train": "data"}),
    "holdout": (classes("train", "holdout"), {"train": "data/train", "test": "data/holdout"}),
    "evaluation": (
        classes("train", "dev", "evaluation"),
        {"train": "data/train", "validation": "data/dev", "test": "data/evaluation"},
    ),
    "no train": (classes("test"), {"test": "data/test"}),
    "classes": (["cat/1.jpg", "dog/1.jpg"], {"train": "data"}),
    "words in file names": (["cat/test_1.jpg", "cat/2.jpg", "dog/train_1.jpg"], {"train": "data"}),
    "words in class names": (["test tube/1.jpg", "train track/1.jpg"], {"train": "data"}),
    "classes and a list": (["cat/1.jpg", "dog/1.jpg", "notes.csv"], {"train": "data"}),
    "no folders": (["cat.1.jpg", "dog.1.jpg"], {"train": "data"}),
    "list in each": (
        ["train/metadata.csv", "train/1.jpg", "test/metadata.jsonl", "test/1.jpg"],
        {"train": "data/train/metadata.csv", "test": "data/test/metadata.jsonl"},
    ),
    "one list": (["metadata.csv", "images/train_1.jpg", "test.jpg"], {"train": "data/metadata.csv"}),
    "any one list": (["photos.csv", "images/1.jpg"], {"train": "data/photos.csv"}),
    "lists": (
        ["train.csv", "test.csv", "train/1.jpg", "test/1.jpg"],
        {"train": "data/train.csv", "test": "data/test.csv"},
    ),
    "parquet": (["train/0.parquet", "test/0.parquet", "assets/1.jpg", "docs/1.jpg"], {}),
    "text": (["train.csv", "test.csv"], {}),
}


@pytest.mark.parametrize("case", FOUND)
def test_splits_are_found_by_the_names_of_folders_alone(case, here):
    paths, expected = FOUND[case]
    make(here / "data", *paths)
    assert image_splits("data") == (expected, [])


def test_a_set_whose_card_says_which_files_are_which_is_left_to_datasets(here):
    make(here / "data", *classes("first", "second"))
    Path("data/README.md").write_text("---\nlicense: mit\n---\nconfigs:\n")
    assert image_splits("data")[0] == {"train": "data"}
    Path("data/README.md").write_text("---\nconfigs:\n- config_name: default\n---\n")
    assert image_splits("data") == ({}, [])


WARNED = {
    "unlabelled test": (
        ["test/1.jpg", "test/2.jpg"],
        "data/test holds 2 images but no class folders, so it is not scored (hftune predict answers them)",
    ),
    "empty": (["val/.gitkeep"], "data/val holds no images and is not used"),
    "other folders": (
        [*classes("train_small"), "docs/1.jpg"],
        "data: folders not used, as their names mean no split: docs, train_small",
    ),
    "loose": (["1.jpg", "2.jpg"], "data: 2 images not used, in no folder (the first: 1.jpg)"),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_lies_beside_the_splits_is_named(case, here):
    paths, warning = WARNED[case]
    make(here / "data", *classes("train"), *paths)
    assert image_splits("data") == ({"train": "data/train"}, [warning])


REFUSED = {
    "two of one": (classes("train", "val", "valid"), "data/val and data/valid are both the validation split"),
    "two tests": (classes("train", "test", "test2"), "data/test and data/test2 are both the test split"),
    "unclear": (classes("train", "train_val"), "data/train_val: its name means several splits; rename it"),
    "validation without classes": (
        [*classes("train"), "val/1.jpg"],
        "data/val holds 1 image but no class folders, so they have no classes",
    ),
    "train without classes": (
        [*classes("test"), "train/1.jpg", "train/2.jpg"],
        "data/train holds 2 images but no class folders, so they have no classes",
    ),
    "one list for all": (
        ["metadata.csv", "train/1.jpg", "test/1.jpg"],
        "data/metadata.csv is one list for the folders test, train",
    ),
    "another language": (
        classes("entraînement", "test"),
        "data holds splits by the names of its folders (entraînement), which are not in English",
    ),
    "validation in another language": (
        classes("train", "Validierung", "test"),
        "data holds splits by the names of its folders (Validierung), which are not in English",
    ),
    "nothing": (
        ["train/cat/", "README.md"],
        "data holds no images and no other data; pass a folder with one",
    ),
    "lists without words": (
        ["a.csv", "b.csv", "images/1.jpg"],
        "data holds the lists a.csv, b.csv; say which is which with --train_file",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_cannot_be_the_split_it_is_named_for_stops(case, here):
    paths, message = REFUSED[case]
    make(here / "data", *paths)
    with pytest.raises(BadInput, match=f"^{re.escape(message)}"):
        image_splits("data")


NO_CLASSES = {
    "splits": (
        classes("Testing", "Training"),
        "data holds splits (Testing, Training), not classes; pass it with",
    ),
    "train only": (
        classes("train"),
        "data holds one folder, train, around the others (cat, dog); pass data/train",
    ),
    "twice": (
        classes("seg_train/seg_train", "seg_test/seg_test"),
        "data holds splits (seg_test, seg_train), not classes; pass it with",
    ),
    "another language": (
        classes("prueba", "entrenamiento"),
        "data holds splits by the names of its folders (entrenamiento, prueba), which are not in "
        "English; say which is which with --train_dir, --validation_dir and --test_dir",
    ),
    "not which": (
        classes("train_a", "test_b"),
        "data holds splits by the names of its folders (test_b, train_a), but not which; pass each with",
    ),
    "beside others": ([*classes("train"), "docs/1.jpg"], "data holds splits (train), not classes"),
    "without classes": (
        ["train/1.jpg", "test/1.jpg"],
        "data holds splits (test, train), not classes, and the images in data/train lie",
    ),
    "among classes": (
        ["cat/1.jpg", "dog/1.jpg", "test/1.jpg"],
        "data/test is a split by its name, but lies among classes (cat, dog); move it out, or rename it",
    ),
    "around": (
        classes("images"),
        "data holds one folder, images, around the others (cat, dog); pass data/images",
    ),
    "missing": ([], "data: no such folder"),
}


@pytest.mark.parametrize("case", NO_CLASSES)
def test_a_folder_of_splits_is_not_learned_as_classes(case, here):
    paths, message = NO_CLASSES[case]
    make(here / "data", *paths)
    with pytest.raises(BadInput) as caught:
        check_class_folders("data")
    assert caught.value.message.startswith(message)


def test_the_advice_names_the_folder_to_train_on(here):
    make(here / "data", *classes("Testing", "Training"))
    with pytest.raises(BadInput, match=r"or one of them, such as data/Training$"):
        check_class_folders("data")


CLASSES = {
    "plain": (["cat/1.jpg", "dog/1.jpg"], []),
    "a word with another meaning": (["foto/1.jpg", "prova/1.jpg"], []),
    "nested": (["cat/a/1.jpg", "cat/b/1.jpg", "dog/a/1.jpg", "dog/c/1.jpg"], []),
    "images beside folders": (["cat/a/1.jpg", "cat/2.jpg", "dog/a/1.jpg", "dog/2.jpg"], []),
    "a vehicle": (
        ["bus/1.jpg", "train/1.jpg"],
        ["data/train is taken as a class, although its name can mean a split"],
    ),
    "an opposite": (
        ["invalid/1.jpg", "valid/1.jpg"],
        ["data/valid is taken as a class, although its name can mean a split"],
    ),
    "alike inside": (
        classes("part A", "part B"),
        [
            "data: part A, part B are taken as classes, but the same folders (cat, dog) lie in each; if they "
            "are splits, pass them with --train_dir, --validation_dir and --test_dir"
        ],
    ),
    "splits by one word of several": (
        [*classes("x_train", "y_test"), "samples/1.jpg"],
        [
            f"data/{folder} is taken as a class, although its name can mean a split"
            for folder in ("x_train", "y_test")
        ],
    ),
    "views of classes that share a word": (
        classes("test_tube", "test_strip", "test_rig"),
        [
            *(
                f"data/{folder} is taken as a class, although its name can mean a split"
                for folder in ("test_rig", "test_strip", "test_tube")
            ),
            "data: test_rig, test_strip, test_tube are taken as classes, but the same folders (cat, dog) lie "
            "in each; if they are splits, pass them with --train_dir, --validation_dir and --test_dir",
        ],
    ),
}


@pytest.mark.parametrize("case", CLASSES)
def test_folders_are_classes_and_a_doubt_is_told(case, here):
    paths, warnings = CLASSES[case]
    make(here / "data", *paths)
    assert check_class_folders("data") == warnings
