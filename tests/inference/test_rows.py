"""One labelled split is read as for training, its labels matched by name."""

from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hftune.data.image.inputs import ImageInputs
from hftune.data.labels import match_labels
from hftune.data.tables.read import Table
from hftune.data.text.inputs import TextInputs
from hftune.data.text.splits import load_splits
from hftune.errors import BadInput
from hftune.inference.rows import read_labelled
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.tasks.single_label import SingleLabel
from tests.data.image.test_splits import CLASSES, painted, png, write_class_folders
from tests.runs import write

TEXTS, IMAGES = TextInputs(None, max_length=9), ImageInputs(None)
TASK, TURNED = SingleLabel(("neg", "pos")), SingleLabel(("pos", "neg"))


pytestmark = pytest.mark.usefixtures("here")


def first_pixels(images) -> list[int]:
    """`painted` writes each image's number there."""
    return [int(images[row][0, 0, 0]) for row in range(len(images))]


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
    numbers = match_labels(rows, "label", labels)
    assert (numbers.dtype, numbers.tolist()) == (np.int64, expected)


def test_unknown_labels_are_listed():
    with pytest.raises(BadInput) as refused:
        match_labels(table(["pos", "good", "bad", "good", "POS"]), "label", LABELS)
    assert refused.value.message == "x.parquet row 1: the model knows no label 'good' (it knows neg, pos, 7)"
    assert refused.value.details == ["x.parquet row 2: label 'bad'", "x.parquet row 4: label 'POS'"]
    for missing in (None, " ", float("nan")):
        with pytest.raises(BadInput, match=r"x.parquet row 1: the label \(column 'label'\) is missing"):
            match_labels(table(["pos", missing]), "label", LABELS)
    with pytest.raises(BadInput, match="no label '1' "):
        match_labels(table([0, 1]), "label", ("0", "LABEL_1x"))


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
    found = read_labelled(TEXTS, TURNED, settings)
    assert (list(found.values), found.targets.tolist(), found.split) == (["e f", "g h"], [0, 1], "test")
    files = "set/train-00000-of-00001.parquet, test: set/test-00000-of-00001.parquet"
    assert (found.origin, found.warnings) == (files, [])
    found = read_labelled(TEXTS, TURNED, settings, split="validation")
    assert (list(found.values), found.split) == (["i j"], "validation")
    assert read_labelled(TEXTS, TURNED, settings, split="train").values.tolist() == [
        "a b",
        "c d",
    ]
    with pytest.raises(
        BadInput, match=r"--split dev2: set/.* has no such split \(splits: train, validation, test\)"
    ):
        read_labelled(TEXTS, TURNED, settings, split="dev2")


def test_a_test_split_without_labels_is_passed_over():
    unlabelled = reviews(["e f", "g h"], [-1, -1])
    train, validation = reviews(["a b", "c d"], [0, 1]), reviews(["i j"], [0])
    settings = write_set(train=train, validation=validation, test=unlabelled)
    assert read_labelled(TEXTS, TASK, settings).split == "validation"
    Path("set/validation-00000-of-00001.parquet").unlink()
    with pytest.raises(BadInput, match="no labelled test or validation split; name one with --split"):
        read_labelled(TEXTS, TASK, settings)


@pytest.mark.parametrize("most", [3, 7, 50])
def test_at_most_so_many_rows_are_those_that_a_run_draws(most):
    rng = np.random.default_rng(0)

    def some(prefix: str, count: int) -> Dataset:
        return reviews([f"{prefix} {row} x" for row in range(count)], rng.integers(0, 2, count).tolist())

    settings = write_set(train=some("train", 30), test=some("test", 20)).replace(
        max_eval_samples=most, seed=5
    )
    found = read_labelled(TEXTS, TASK, settings)
    expected = load_splits(settings)
    assert list(found.values) == list(expected.test["text"])
    assert found.targets.tolist() == expected.targets["test"].tolist()


def test_a_file_or_a_folder_of_classes_is_the_test_set():
    write("mine.tsv", "body\tkind\nsome words\tpos\nother words\tneg\n")
    found = read_labelled(TEXTS, TASK, TextSettings(label_column_name="kind"), test_file="mine.tsv")
    assert (list(found.values), found.targets.tolist()) == (["some words", "other words"], [1, 0])
    assert (found.split, found.origin) == ("test", "mine.tsv")
    write("tool.csv", "text,label,answer\nsome words,pos,reject\nother words,neg,accept\n")
    found = read_labelled(TEXTS, TASK, TextSettings(), test_file="tool.csv")
    assert (list(found.values), found.targets.tolist()) == (["other words"], [0])
    assert "1 of 2 rows are left out" in found.warnings[0]
    write_class_folders(Path("pets"), 2, "test")
    found = read_labelled(IMAGES, SingleLabel(CLASSES[::-1]), ImageSettings(), test_dir="pets")
    assert found.targets.tolist() == [2, 2, 1, 1, 0, 0]
    assert first_pixels(found.values) == [160, 161, 162, 163, 164, 165]


def test_a_class_folder_whose_accent_is_coded_in_another_way_is_known():
    for label in ("cafe\u0301", "the"):
        write(f"pets/{label}/1.png", png(painted("red", 1)))
    for known in ("caf\xe9", "cafe\u0301"):
        assert read_labelled(
            IMAGES, SingleLabel(("the", known)), ImageSettings(), test_dir="pets"
        ).targets.tolist() == [
            1,
            0,
        ]


def test_a_image_that_is_left_out_takes_its_label_along():
    write_class_folders(Path("pets"), 3, "test")
    victim = sorted(Path("pets/blue").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:50])
    with pytest.raises(BadInput, match="--skip_bad_images"):
        read_labelled(IMAGES, SingleLabel(CLASSES), ImageSettings(), test_dir="pets")
    found = read_labelled(IMAGES, SingleLabel(CLASSES), ImageSettings(skip_bad_images=True), test_dir="pets")
    assert found.targets.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert first_pixels(found.values) == [160, 162, 163, 164, 165, 166, 167, 168]
    assert len(found.warnings) == 1
    write("list.csv", "image,label\n" + "".join(f"{p},blue\n" for p in sorted(Path("pets/blue").iterdir())))
    found = read_labelled(
        IMAGES, SingleLabel(CLASSES), ImageSettings(skip_bad_images=True), test_file="list.csv"
    )
    assert (found.targets.tolist(), first_pixels(found.values)) == ([0, 0], [160, 162])
