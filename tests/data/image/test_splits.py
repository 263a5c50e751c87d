"""Folders, lists, columns of bytes: the same images are the same splits, and rows keep their images."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from hftune.data.image.splits import load_image_splits
from hftune.errors import BadInput
from hftune.settings.image import ImageSettings

SHARED = Path(__file__).resolve().parents[4] / "shared"
CLASSES = ("blue", "green", "red")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 20


def painted(label: str, number: int, split: str = "train") -> np.ndarray:
    """An image of its class's colour whose first pixel says which one it is, uint8 (20, 20, 3)."""
    first = {"train": 0, "validation": 80, "test": 160}[split]
    image = np.random.default_rng(first + number).integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    image[..., 2 - CLASSES.index(label)] += 180
    image[0, 0] = first + number
    return image


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_class_folders(folder: Path, each: int, split: str = "train", classes=CLASSES) -> Path:
    """Writes `each` PNG files per class; numbers are counted on from class to class."""
    for place, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for number in range(place * each, (place + 1) * each):
            (folder / label / f"{number:02}.png").write_bytes(png(painted(label, number, split)))
    return folder


def files_of(folder: Path) -> list[tuple[Path, str]]:
    """Returns (path, class) in the order in which class folders are read."""
    return [(path, path.parent.name) for path in sorted(folder.glob("*/*"))]


def write_list(path: Path, rows: list[tuple[str, str]], column: str = "file_name") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(column, "label"), *rows])
    return path


def write_parquet(path: Path, folder: Path, names=CLASSES) -> Path:
    """Writes the files of class folders as a column of {bytes, path} with class names, as the Hub does."""
    rows = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file, _ in files_of(folder)],
        "label": [names.index(label) for _, label in files_of(folder)],
    }
    features = Features(image=ImageFeature(), label=ClassLabel(names=list(names)))
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with pets/train (8 of each class) and pets/test (4 of each)."""
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "pets/train", 8)
    write_class_folders(tmp_path / "pets/test", 4, "test")
    return tmp_path


def load(**given):
    return load_image_splits(ImageSettings(model_type="resnet9", **given))


def refused(**given) -> BadInput:
    with pytest.raises(BadInput) as caught:
        load(**given)
    return caught.value


def relative_files(here: Path, split: str) -> list[tuple[str, str]]:
    """Returns (path from pets on, class) of a split."""
    return [(str(path.relative_to(here / "pets")), label) for path, label in files_of(here / "pets" / split)]


def stored(here: Path) -> dict[str, dict[str, str]]:
    """Stores the images of `here` in every way that is read; returns the flags of each."""
    for split in ("train", "test"):
        write_list(here / f"pets/{split}.csv", relative_files(here, split))
        absolute = [(str(path), label) for path, label in files_of(here / "pets" / split)]
        write_list(here / f"{split}_of_paths.csv", absolute, "path")
        write_parquet(here / f"bytes/{split}.parquet", here / "pets" / split)
        write_parquet(here / f"set/data/{split}-00000-of-00001.parquet", here / "pets" / split)
    return {
        "class folders": {"train_dir": "pets/train", "test_dir": "pets/test"},
        "a folder of class folders": {"dataset_name": "pets"},
        "lists beside the files": {"train_file": "pets/train.csv", "test_file": "pets/test.csv"},
        "lists of paths": {"train_file": "train_of_paths.csv", "test_file": "test_of_paths.csv"},
        "bytes": {"train_file": "bytes/train.parquet", "test_file": "bytes/test.parquet"},
        "a set of bytes": {"dataset_name": "set"},
    }


def test_images_have_one_fingerprint_however_they_are_stored(here):
    found = {way: load(**flags) for way, flags in stored(here).items()}
    assert {way: len({part.splits.fingerprint}) for way, part in found.items()} == dict.fromkeys(found, 1)
    assert len({part.splits.fingerprint for part in found.values()}) == 1
    for part in found.values():
        assert part.splits.task.labels == CLASSES
        assert {name: len(rows.targets) for name, rows in part.splits.parts.items()} == {
            "train": 21,
            "validation": 3,
            "test": 12,
        }
        assert all(line.startswith("only 3 validation rows") for line in part.splits.warnings)


def test_doubles_are_found_by_their_pixels_and_the_fingerprint_goes_by_the_files(here):
    def clear(seed: int) -> Image.Image:
        alpha = np.zeros((8, 8, 4), np.uint8)  # black, and black where it is transparent
        alpha[..., 3] = np.random.default_rng(seed).integers(0, 2, (8, 8)) * 255
        return Image.fromarray(alpha)

    before = load(dataset_name="pets").splits.fingerprint
    for name, seed in (("blue/00", 0), ("red/23", 1), ("red/20", 2)):
        clear(seed).save(here / f"pets/train/{name}.png")
    plain, on_white = load(dataset_name="pets"), load(dataset_name="pets", transparent_background="white")
    assert plain.facts == on_white.facts == {"images_with_transparency": 3}
    told = "\n".join(plain.splits.warnings)
    assert "3 of 24 images have transparent pixels" in told
    assert "2 train rows repeat an earlier image, 2 of them with another label" in told
    assert "repeat" not in "\n".join(on_white.splits.warnings)
    assert plain.splits.fingerprint == on_white.splits.fingerprint != before
    row = next(row for row, size in enumerate(on_white.images["train"].sizes) if size[0] == 8)
    assert set(np.unique(on_white.images["train"][row])) == {0, 255}
    assert plain.images["train"][row].max() == 0


@pytest.mark.parametrize("change", ["a pixel", "a class", "the order", "another test image"])
def test_the_fingerprint_sees_every_change(change, here):
    before = load(dataset_name="pets").splits.fingerprint
    path = here / "pets/train/green/08.png"
    if change == "a pixel":
        path.write_bytes(png(painted("green", 8) ^ np.uint8(1)))
    elif change == "a class":
        path.rename(here / "pets/train/red/08.png")
    elif change == "the order":
        path.rename(here / "pets/train/green/8.png")
    else:
        (here / "pets/test/red/99.png").write_bytes(png(painted("red", 70, "test")))
    assert load(dataset_name="pets").splits.fingerprint != before


@pytest.mark.parametrize("held", [True, False])
def test_rows_keep_their_images_and_classes_through_every_cut(held, here, monkeypatch):
    """Validation is cut off, rows are drawn, bad ones left out: each row still has its own image."""
    if not held:
        monkeypatch.setattr("hftune.data.image.splits.memory_budget", lambda: 0)
    for name in ("blue/00", "green/11", "red/23"):
        (here / f"pets/train/{name}.png").write_bytes(b"no image")
    splits, images, _ = load(
        train_dir="pets/train",
        test_dir="pets/test",
        skip_bad_images=True,
        max_train_samples=12,
        max_eval_samples=3,
        train_val_split=0.3,
    )
    assert {name: len(part.targets) for name, part in splits.parts.items()} == {
        "train": 12,
        "validation": 3,
        "test": 3,
    }
    seen = set()
    for name, part in splits.parts.items():
        assert (images[name].held is not None) == held
        assert len(images[name]) == len(part.targets) == len(part.rows)
        first = 160 if name == "test" else 0
        for row, label in enumerate(part.targets):
            image = images[name][row]
            number = int(image[0, 0, 0])
            expected = painted(CLASSES[label], number - first, "test" if first else "train")
            assert np.array_equal(image, expected)
            assert images[name].sizes[row].tolist() == [SIDE, SIDE]
            seen.add(number)
    assert len(seen) == 18
    assert not seen & {0, 11, 23}


def test_paths_in_a_list_start_at_the_list(here, monkeypatch):
    stored(here)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    found = load(train_file="../pets/train.csv", test_file="../pets/test.csv")
    assert len(found.splits.parts["test"].targets) == 12
    assert found.images["test"].place(0) == "../pets/test.csv line 2 (test/blue/00.png)"


def test_a_missing_file_is_named_with_list_line_and_path(here):
    rows = relative_files(here, "train")
    write_list(here / "pets/list.csv", [*rows[:4], ("train/red/nothing.png", "red"), *rows[4:]])
    message = refused(train_file="pets/list.csv").message
    assert message.startswith("pets/list.csv line 6 (train/red/nothing.png) does not exist")
    assert "--skip_bad_images" in message
    assert "line 6" in load(train_file="pets/list.csv", skip_bad_images=True).splits.warnings[0]


@pytest.mark.parametrize("alias", ["validation", "valid", "val", "dev"])
def test_own_validation_images_are_used(alias, here):
    write_class_folders(here / "pets" / alias, 2, "validation")
    by_name, by_flag = (
        load(dataset_name="pets"),
        load(train_dir="pets/train", validation_dir=f"pets/{alias}", test_dir="pets/test"),
    )
    for found in (by_name, by_flag):
        assert {name: len(part.targets) for name, part in found.splits.parts.items()} == {
            "train": 24,
            "validation": 6,
            "test": 12,
        }
        assert f"validation: pets/{alias}" in found.splits.origin
    assert by_name.splits.fingerprint == by_flag.splits.fingerprint


def test_a_folder_of_classes_alone_is_all_train(here):
    by_name, by_flag = load(dataset_name="pets/train"), load(train_dir="pets/train")
    assert "test" not in by_name.splits.parts
    assert by_name.splits.fingerprint == by_flag.splits.fingerprint


def test_the_sample_has_images():
    splits, images, _ = load(dataset_name="sample", max_train_samples=60, max_eval_samples=12)
    assert splits.task.labels == ("circle", "square", "triangle", "star", "cross", "ring")
    assert np.bincount(splits.parts["train"].targets).tolist() == [10] * 6
    assert images["test"][0].shape == (48, 48, 3)


def test_columns_are_found_by_kind_or_name_or_flag(here):
    rows = [
        {"image": {"bytes": path.read_bytes(), "path": None}, "path": "a", "kind": label, "group": "x"}
        for path, label in files_of(here / "pets/train")
    ]
    Dataset.from_list(rows).to_parquet(here / "a.parquet")
    assert load(train_file="a.parquet", label_column_name="kind").splits.task.labels == CLASSES
    error = refused(train_file="a.parquet", image_column_name="imag", label_column_name="kind")
    assert "has no column 'imag' (--image_column_name); did you mean 'image'?" in error.message
    files = [(str(path), label) for path, label in files_of(here / "pets/train")]
    write_list(here / "b.csv", files, "where")
    assert "is plainly the image" in refused(train_file="b.csv").message
    assert load(train_file="b.csv", image_column_name="where").splits.task.labels == CLASSES


def test_other_splits_need_the_column_of_train(here):
    write_list(here / "pets/a.csv", relative_files(here, "train"))
    write_list(here / "pets/b.csv", relative_files(here, "test"), "path")
    assert "pets/b.csv" in refused(train_file="pets/a.csv", test_file="pets/b.csv").message


def test_a_image_in_train_and_test_is_told(here):
    image = (here / "pets/train/red/17.png").read_bytes()
    (here / "pets/test/red/copy.png").write_bytes(image)
    given = {"train_dir": "pets/train", "validation_dir": "pets/test", "test_dir": "pets/test"}
    told = "1 test images also stand in train (first: pets/test/red/copy.png = pets/train/red/17.png)"
    assert told in load(**given).splits.warnings


def test_a_class_of_which_no_image_can_be_read_is_not_trained_on(here):
    """Its logit would never be taught anything, and nothing would say so."""
    for path in (here / "pets/train/green").iterdir():
        path.write_bytes(b"")
    error = refused(train_dir="pets/train", test_dir="pets/test", skip_bad_images=True)
    assert "green" in str(error)


def without_validation(warnings: list[str]) -> list[str]:
    """Leaves out the warning that a few validation rows are few."""
    return [warning for warning in warnings if "validation rows to choose" not in warning]


def test_a_class_that_test_lacks_is_a_warning_and_one_that_train_lacks_an_error(here):
    for path in (here / "pets/test/green").iterdir():
        path.unlink()
    (here / "pets/test/blue").rename(here / "blue")
    splits = load(dataset_name="pets").splits
    assert splits.task.labels == CLASSES
    assert np.bincount(splits.parts["test"].targets).tolist() == [0, 0, 4]
    assert without_validation(splits.warnings) == [
        "pets/test: 1 class folder left out, without images (the first: pets/test/green)",
        "2 of 3 classes have no test row (first: blue; test rows: 4): the test scores say nothing of them",
    ]
    for path in (here / "pets/train/red").iterdir():
        path.unlink()
    for given in ({"dataset_name": "pets"}, {"train_dir": "pets/train", "test_dir": "pets/test"}):
        message = refused(**given).message
        assert message.startswith("pets/train has no images of the class 'red', which pets/test has")


def test_a_class_whose_accent_is_coded_in_two_ways_is_one_class(here):
    (here / "pets/train/red").rename(here / "pets/train/cafe\u0301")
    (here / "pets/test/red").rename(here / "pets/test/caf\xe9")
    splits = load(dataset_name="pets").splits
    assert splits.task.labels == ("blue", "cafe\u0301", "green")
    assert np.bincount(splits.parts["test"].targets).tolist() == [4, 4, 4]
    assert not without_validation(splits.warnings)


def test_words_in_the_names_of_files_choose_nothing(here):
    for path, _ in files_of(here / "pets/train"):
        word = ("train", "test", "val", "dev")[int(path.stem) % 4]
        path.rename(path.with_name(f"{word}_{path.name}"))
    found = load(dataset_name="pets/train")
    assert {name: len(part.targets) for name, part in found.splits.parts.items()} == {
        "train": 21,
        "validation": 3,
    }
    assert found.splits.fingerprint == load(train_dir="pets/train").splits.fingerprint


def test_a_set_of_splits_is_not_learned_as_classes(here):
    assert refused(train_dir="pets").message.startswith("pets holds splits (test, train), not classes")
    (here / "outer").mkdir()
    (here / "pets").rename(here / "outer/pets")
    for given in ({"dataset_name": "outer"}, {"train_dir": "outer"}):
        assert refused(**given).message.endswith("pass outer/pets")


def test_lists_beside_their_images_are_read_as_lists(here):
    """As `datasets` reads them (metadata.csv), and as Kaggle has them (train.csv), ids without endings."""
    by_folder = load(dataset_name="pets").splits.fingerprint
    for split in ("train", "test"):
        rows = [
            (str(path.relative_to(here / "pets" / split)), label)
            for path, label in files_of(here / "pets" / split)
        ]
        write_list(here / f"pets/{split}/metadata.csv", rows)
    found = load(dataset_name="pets")
    assert found.splits.fingerprint == by_folder
    assert found.images["test"].place(0) == "pets/test/metadata.csv line 2 (blue/00.png)"
    (here / "pets/test/metadata.csv").unlink()
    assert refused(dataset_name="pets").message.startswith(
        "pets: some splits are lists (pets/train/metadata.csv)"
    )
    (here / "pets/train/metadata.csv").unlink()
    for split in ("train", "test"):
        rows = [(path.stem, label) for path, label in files_of(here / "pets" / split)]
        for path, _ in files_of(here / "pets" / split):
            path.rename(here / "pets" / split / path.name)
        for label in CLASSES:
            (here / "pets" / split / label).rmdir()
        write_list(here / f"pets/{split}.csv", rows, "image_id")
    found = load(dataset_name="pets")
    assert found.splits.fingerprint == by_folder
    assert [warning.split(":")[0] for warning in without_validation(found.splits.warnings)] == [
        "pets/train.csv",
        "pets/test.csv",
    ]


def test_the_folder_of_paths_can_be_named(here):
    (here / "lists").mkdir()
    write_list(here / "lists/a.csv", relative_files(here, "train"))
    (here / "pets").rename(here / "photos")
    with pytest.raises(BadInput, match=r"paths start from the folder lists: .* --image_dir FOLDER"):
        load(train_file="lists/a.csv")
    assert load(train_file="lists/a.csv", image_dir="photos").splits.task.labels == CLASSES
    assert refused(train_dir="photos/train", image_dir="photos").message.startswith("--image_dir")


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data/cifar10").is_dir(), reason="no real data beside the project")
@pytest.mark.every_kind
def test_cifar10_is_read_as_it_is():
    splits, images, _ = load(dataset_name=str(SHARED / "data/cifar10"))
    assert {name: len(part.targets) for name, part in splits.parts.items()} == {
        "train": 45_000,
        "validation": 5_000,
        "test": 10_000,
    }
    assert splits.task.labels == CIFAR10
    for name, each in (("train", 4_500), ("validation", 500), ("test", 1_000)):
        assert np.bincount(splits.parts[name].targets).tolist() == [each] * 10
        assert np.all(images[name].sizes == 32)
