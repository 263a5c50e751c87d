"""Texts without labels: where they are read, and which are left out."""

import numpy as np
import pytest

from hftune.data.taught import UNLABELED
from hftune.data.text.load import load_text
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from tests.runs import write

SMALL = {"model_type": "textcnn", "min_frequency": 1, "teacher": "runs/teacher"}
TEXTS = {
    "train": ["a good film", "a bad film", "good acting", "bad acting"],
    "validation": ["good plot", "bad plot"],
    "test": ["good cast", "bad cast"],
}


@pytest.fixture
def files(here) -> dict:
    """Settings of a run on three files in the working folder."""
    for split, texts in TEXTS.items():
        lines = [f"{text},{'good' if 'good' in text else 'bad'}" for text in texts]
        write(f"{split}.csv", "\n".join(["text,label", *lines]))
    return {f"{split}_file": f"{split}.csv" for split in TEXTS} | SMALL


def load(files: dict, **changes):
    return load_text(TextSettings(**files | changes))


def test_rows_without_labels_stand_behind_the_training_rows_and_nowhere_else(files):
    write("more.csv", "text,id\na dull film,7\na fine film,8\n")
    data, plain = load(files, unlabeled_file="more.csv"), load(files | {"teacher": None})
    assert data.transfer.contents() == [*TEXTS["train"], "a dull film", "a fine film"]
    assert data.transfer.tested() == TEXTS["test"]
    assert data.learned.targets.tolist() == [1, 0, 1, 0, UNLABELED, UNLABELED]
    words = [data.processor.decode(data.learned[row]["input_ids"]) for row in range(6)]
    assert [" ".join(text.split()) for text in words] == data.transfer.contents()  # "dull" is no unknown word
    assert data.learned.lengths.tolist() == [3, 3, 2, 2, 3, 3]
    assert len(data.learned) == 6
    # What counts labels sees none of them: class weights, baselines.
    np.testing.assert_array_equal(data.train.targets, plain.train.targets)
    assert list(data.baseline.train["text"]) == TEXTS["train"]
    assert data.facts["train_samples"] == 4
    assert data.facts["unlabeled_samples"] == 2
    assert data.fingerprint != plain.fingerprint == load(files).fingerprint
    assert plain.transfer is None


def test_texts_of_the_labelled_splits_are_left_out_and_named(files, caplog):
    write("more.txt", "a dull film\nbad cast\ngood plot\ngood film\nbad plot\na bad film\n\nbad cast\n")
    with caplog.at_level("WARNING"):
        data = load(files, unlabeled_file="more.txt")
    assert data.transfer.contents()[4:] == ["a dull film", "good film"]
    said = [record.getMessage() for record in caplog.records]
    left_out = "also stand in {} and are left out (first: more.txt line {} = {}.csv line {})"
    for line in (
        "1 rows without labels hold no text and are left out (first: more.txt line 7)",
        "2 texts without labels " + left_out.format("test", 2, "test", 3),
        "2 texts without labels " + left_out.format("validation", 3, "validation", 2),
        "1 texts without labels " + left_out.format("train", 6, "train", 3),
    ):
        assert line in said


def test_the_rest_of_the_training_rows_may_be_it_with_a_file(here):
    lines = [f"{'good' if row % 2 else 'bad'} text {row},{row % 2}" for row in range(40)]
    write("train.csv", "\n".join(["text,label", *lines]))
    write("more.jsonl", '{"text": "one more"}\n')
    given = {"train_file": "train.csv", **SMALL, "max_train_samples": 10, "unlabeled_split": "train"}
    data = load(given, unlabeled_file="more.jsonl")
    contents = data.transfer.contents()
    assert len(contents) == len(set(contents)) == 40 - len(data.validation) + 1
    assert contents[-1] == "one more"
    assert (data.learned.targets == UNLABELED).tolist() == [False] * 10 + [True] * (len(contents) - 10)
    assert data.fingerprint != load(given).fingerprint


def test_pairs_are_read_from_both_columns(here):
    write("train.csv", "premise,hypothesis,label\n" + "\n".join(f"a {n},b {n},{n % 2}" for n in range(12)))
    write("more.csv", "hypothesis,premise\nhas no first,\nb 3,a 3\nb 30,a 30\n")
    data = load({"train_file": "train.csv", **SMALL}, unlabeled_file="more.csv")
    assert data.transfer.contents()[-1] == ("a 30", "b 30")
    assert int((data.learned.targets == UNLABELED).sum()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"unlabeled_split": "unsupervised"},
            "--unlabeled_split unsupervised: train.csv.* has no such split",
        ),
        (
            {"unlabeled_split": "test"},
            "--unlabeled_split test: every text also stands in a split with labels",
        ),
        ({"unlabeled_file": "gone.csv"}, "gone.csv"),
        ({"unlabeled_file": "train.png"}, "train.png"),
        ({"unlabeled_file": "ids.csv"}, "ids.csv: which column holds the texts"),
        ({"task": "regression", "label_column_name": "stars"}, "--teacher: not for --task regression"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(files, changes, said):
    write("ids.csv", "id,day\n1,2\n")
    for split, texts in TEXTS.items():
        lines = [f"{text},{'good' in text},{row}.5" for row, text in enumerate(texts)]
        write(f"{split}.csv", "\n".join(["text,label,stars", *lines]))
    with pytest.raises(BadInput, match=said):
        load(files, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unlabeled_file": "more.csv"}, "--unlabeled_file needs --teacher"),
        ({"distillation_alpha": 0.5}, "--distillation_alpha needs --teacher"),
        ({"teacher": "runs/a", "distillation_alpha": 1.5}, "--distillation_alpha 1.5: must be a share"),
        (
            {"teacher": "runs/a", "distillation_temperature": 0},
            "--distillation_temperature 0.0: must be above 0",
        ),
        (
            {"teacher": "runs/a", "distillation_alpha": 0, "unlabeled_split": "more"},
            "--distillation_alpha 0 and --unlabeled_split contradict each other",
        ),
    ],
    ids=str,
)
def test_flags_that_do_not_fit_together(changes, said):
    with pytest.raises(BadInput, match=said):
        TextSettings(**changes)
