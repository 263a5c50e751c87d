"""Texts by split: which ones are trained on, and none of them in two splits."""

from pathlib import Path

import pyarrow as pa
import pytest

from hftune.data.masked_lm.read import choose_train, load_splits, read_rows, without_copies
from hftune.data.sources import Source
from hftune.data.tables.table import Table
from hftune.errors import BadInput
from hftune.recipes import imdb_mlm
from hftune.settings.masked_lm import MaskedLMSettings
from hftune.tasks.masked_lm import MaskedLM


def table(split: str, *texts: str) -> Table:
    return Table(f"set {split}", {"text": pa.chunked_array([pa.array(texts)])})


def source(**splits: list[str]) -> Source:
    return Source({split: table(split, *texts) for split, texts in splits.items()}, "set")


def texts(found: Source) -> dict[str, list[str]]:
    return {split: of.columns["text"].to_pylist() for split, of in found.tables.items()}


def settings(**changes) -> MaskedLMSettings:
    return MaskedLMSettings(**{"dataset_name": "sample", "model_type": "bert", **changes})


def test_splits_are_chosen_and_joined():
    every = source(train=["a b"], unsupervised=["c d", "e f"], test=["g h"])
    found, column = choose_train(every, settings(train_split="unsupervised"))
    assert column == "text"
    assert texts(found) == {"train": ["c d", "e f"], "test": ["g h"]}
    assert found.warnings == ("set: splits not used: train",)
    found, _ = choose_train(every, settings(train_split="train + unsupervised"))
    assert texts(found)["train"] == ["a b", "c d", "e f"]
    assert [found.train.place(row) for row in (0, 2)] == ["set train row 0", "set unsupervised row 1"]
    assert "trained on train+unsupervised" in found.origin
    with pytest.raises(BadInput, match=r"no split 'unlabeled' to train on \(it has train, unsupervised\)"):
        choose_train(every, settings(train_split="unlabeled"))
    with pytest.raises(BadInput, match="the texts of test are tested on"):
        choose_train(every, settings(train_split="train+test"))


def test_what_stands_in_another_split_or_came_before_is_left_out_and_told():
    found = without_copies(
        source(train=["a", "b", "c", "a", "d", "b"], dev=["e", "b", "f"], test=["f", "c", "c"]), "text"
    )
    assert texts(found) == {"train": ["a", "d"], "dev": ["e", "b"], "test": ["f", "c", "c"]}
    assert found.warnings == (
        "1 validation texts also stand in test and are left out (first: set dev row 2 = set test row 0)",
        "2 train texts also stand in validation and are left out (first: set train row 1 = set dev row 1)",
        "1 train texts also stand in test and are left out (first: set train row 2 = set test row 1)",
        "1 train texts repeat an earlier one and are left out (first: set train row 3 = set train row 0)",
    )
    assert found.train.place(1) == "set train row 4"
    with pytest.raises(BadInput, match="set train: every text also stands in another split"):
        without_copies(source(train=["a", "a"], test=["a"]), "text")


def test_validation_rows_that_are_cut_off_have_no_copy_in_train(here):
    Path("notes.txt").write_text("\n".join(f"note {n % 60}\n" for n in range(120)), encoding="utf-8")
    splits = load_splits(settings(dataset_name=None, train_file="notes.txt"))
    parts = {name: set(part.content.to_pylist()) for name, part in splits.parts.items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 54, "validation": 6}
    assert not parts["train"] & parts["validation"]
    assert "60 train texts repeat an earlier one" in splits.warnings[0]
    assert "no test split: there will be no test scores" in splits.warnings
    assert splits.parts["train"].place(0).startswith("notes.txt line ")
    assert splits.task == MaskedLM()


def test_the_test_rows_need_no_labels_and_the_column_may_have_any_name(here):
    Path("train.csv").write_text("id,remark\n" + "".join(f"{n},remark number {n}\n" for n in range(30)))
    Path("test.csv").write_text("id,remark,label\n7,a new one,\n8,remark number 3,\n")
    splits = load_splits(settings(dataset_name=None, train_file="train.csv", test_file="test.csv"))
    assert len(splits.parts["test"].rows) == 2
    assert "remark number 3" not in splits.parts["train"].content.to_pylist()
    assert "1 train texts also stand in test" in " ".join(splits.warnings)


def test_lines_of_a_text_file_are_texts(here):
    Path("notes.txt").write_bytes("eins \r\n\r\n  \nzwei é\n".encode())
    found = read_rows("notes.txt")
    assert found.columns["text"].to_pylist() == ["eins", "zwei é"]
    assert [found.place(row) for row in (0, 1)] == ["notes.txt line 1", "notes.txt line 4"]
    Path("latin.txt").write_bytes("é\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"latin.txt line 1, byte 1 \(0xE9\) is not UTF-8"):
        read_rows("latin.txt")


def test_own_data_take_the_place_of_the_recipes_split():
    assert imdb_mlm.recipe.settings.train_split == "unsupervised"
    assert imdb_mlm.recipe.replace(train_file="notes.txt").settings.train_split == "train"
    assert imdb_mlm.recipe.replace(dataset_name="acme/notes").settings.train_split == "train"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlm_probability": 0}, "--mlm_probability 0.0: must be above 0 and below 1"),
        ({"label_column_name": "label"}, "--label_column_name label: texts are read without labels here"),
        ({"lora_r": 8, "model_type": None}, "--lora_r 8: pretraining goes on with all weights"),
        ({"pos_label": "yes"}, "--pos_label yes: texts are read without labels here"),
        ({"samples_per_label": 8}, "--samples_per_label 8: texts are read without labels here"),
        ({"task": "single_label"}, "--task single_label: texts are read without labels here"),
        ({"tokens_per_batch": 100}, "--tokens_per_batch 100: one text may have --max_length 512 tokens"),
        ({"model_type": "gpt2"}, "--model_type"),
    ],
)
def test_what_contradicts_it_is_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        settings(**changes)
