"""Splits of rows of any kind: what is cut off, drawn, left out and hashed."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.data.sources import Source
from hftune.data.splits import UsableContent, make_splits, stratified_sample
from hftune.data.tables.read import Table
from hftune.errors import BadInput

NAMES = ("blue", "green", "red")


def table(name: str, labels: list[str]) -> Table:
    """A table whose content says where it stood: "train 7"."""
    content = [f"{name} {row}" for row in range(len(labels))]
    columns = {"content": content, "label": labels}
    return Table(name, {key: pa.chunked_array([pa.array(values)]) for key, values in columns.items()})


def split(tables: list[Table], rows: dict[str, list[int]] | None = None, **changes):
    """Makes splits; `rows` are those that the check leaves, for tables that have bad ones."""

    def check(name: str, checked: Table) -> UsableContent:
        content = checked.columns["content"]
        if rows is None or name not in rows:
            return UsableContent(content, None, [])
        kept = np.array(rows[name], dtype=np.int64)
        return UsableContent(content.take(pa.array(kept)), kept, [f"{name}: some rows are left out"])

    settings = {"train_val_split": 0.2, "max_train_samples": None, "max_eval_samples": None, "data_seed": 3}
    settings |= {"task": "single_label", "pos_label": None, "samples_per_label": None, "seed": 1}
    source = Source({one.name: one for one in tables}, "here", files=True)
    return make_splits(
        source,
        SimpleNamespace(**(settings | changes)),
        content=("content",),
        label="label",
        check=check,
        noun="row",
    )


TRAIN = table("train", [NAMES[row % 3] for row in range(60)])
TEST = table("test", [NAMES[row % 3] for row in range(9)])


def whose(found) -> dict[str, list[str]]:
    """Returns the content of each split."""
    return {name: part.content.to_pylist() for name, part in found.parts.items()}


@given(
    label=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    share=st.floats(0.01, 1),
    leave=st.integers(0, 1),
    seed=st.integers(0, 9),
)
def test_stratified_choice(label, share, leave, seed):
    label = np.array(label)
    count = max(1, round(share * len(label)))
    chosen = stratified_sample(label, count, leave, "test", seed)
    assert np.all(np.diff(chosen) > 0)
    sizes = np.bincount(label, minlength=7)
    got = np.bincount(label[chosen], minlength=7)
    most = np.maximum(sizes - leave, 0)
    assert np.all(got <= most)
    assert len(chosen) == min(count, most.sum())
    if count >= np.count_nonzero(most):
        assert np.all(got[most > 0] >= 1)
    exact = sizes * count / len(label)
    if np.all((exact >= 1) | (sizes == 0)) and np.all(np.ceil(exact) <= most):
        assert np.all(np.abs(got - exact) < 1)


def test_validation_is_cut_off_train_in_the_proportions_of_the_classes():
    found = split([TRAIN, TEST])
    assert {name: np.bincount(part.targets).tolist() for name, part in found.parts.items()} == {
        "train": [16, 16, 16],
        "validation": [4, 4, 4],
        "test": [3, 3, 3],
    }
    content = whose(found)
    assert sorted(content["train"] + content["validation"]) == sorted(TRAIN.columns["content"].to_pylist())
    assert whose(split([TRAIN, TEST])) == content
    assert whose(split([TRAIN, TEST], data_seed=4)) != content
    assert found.origin == "here, validation: 20 % of train, stratified, seed 3"
    assert found.task.labels == NAMES


def test_rows_content_and_labels_stay_together():
    kept = [row for row in range(60) if row % 7]
    found = split([TRAIN, TEST], {"train": kept, "test": [1, 4, 5]}, max_train_samples=20, max_eval_samples=2)
    assert {name: len(part.targets) for name, part in found.parts.items()} == {
        "train": 20,
        "validation": 2,
        "test": 2,
    }
    for part in found.parts.values():
        for row, content, label in zip(part.rows, part.content.to_pylist(), part.targets, strict=True):
            assert content == part.table.columns["content"][int(row)].as_py()
            assert NAMES[label] == part.table.columns["label"][int(row)].as_py()
        assert part.table is not TRAIN or all(row % 7 for row in part.rows)
    assert found.warnings[:2] == ["train: some rows are left out", "test: some rows are left out"]
    assert "20 of" in found.origin


def test_the_fingerprint_is_of_rows_labels_and_names():
    found = {
        "as it is": split([TRAIN, TEST]),
        "a row less": split([TRAIN, TEST], {"train": list(range(59))}),
        "a test row less": split([TRAIN, TEST], {"test": list(range(8))}),
        "another seed": split([TRAIN, TEST], data_seed=4),
        "no test": split([TRAIN]),
        "other names": split(
            [
                table("train", [f"{NAMES[row % 3]}ish" for row in range(60)]),
                table("test", [f"{NAMES[row % 3]}ish" for row in range(9)]),
            ]
        ),
    }
    assert len({one.fingerprint for one in found.values()}) == len(found)
    everything = split([TRAIN, TEST], {"train": list(range(60))})
    assert everything.fingerprint == found["as it is"].fingerprint


def test_a_class_of_which_no_training_row_is_left_is_named():
    without_green = [row for row in range(60) if row % 3 != 1]
    with pytest.raises(BadInput, match=r"^train: no row of class 'green' can be used"):
        split([TRAIN, TEST], {"train": without_green})
    assert split([TRAIN, TEST], {"test": [0, 3]}).task.labels == NAMES  # training rows alone decide


def test_too_few_rows_to_cut_validation_off():
    with pytest.raises(BadInput, match=r"^train has too few rows to cut a validation split from"):
        split([table("train", ["blue", "red"])])


def test_a_sample_of_one_class_is_refused():
    with pytest.raises(BadInput, match=r"^--max_train_samples 1: rows of one class are left; raise it"):
        split([TRAIN], max_train_samples=1)
    assert np.bincount(split([TRAIN], max_train_samples=3).parts["train"].targets).tolist() == [1, 1, 1]


def test_as_many_rows_of_each_label_are_trained_and_validated_on():
    labels = ["red"] * 30 + ["blue"] * 20 + ["green"] * 3
    found = split([table("train", labels), TEST], samples_per_label=4)
    counts = {name: np.bincount(part.targets).tolist() for name, part in found.parts.items()}
    assert counts == {"train": [4, 2, 4], "validation": [4, 1, 4], "test": [3, 3, 3]}  # of all there are
    assert not set(found.parts["train"].rows) & set(found.parts["validation"].rows)
    assert "10 of 42 train rows" in found.origin
    other = split([table("train", labels), TEST], samples_per_label=4, seed=4)
    assert whose(found)["train"] != whose(other)["train"]
    assert whose(found)["test"] == whose(other)["test"]


def test_rows_of_each_label_are_not_counted_where_a_row_has_a_number():
    numbers = table("train", [f"{row / 7}" for row in range(60)])
    with pytest.raises(BadInput, match=r"^--samples_per_label is for rows with one label; pass --max_train"):
        split([numbers], samples_per_label=4, task="regression")


def test_a_class_with_rows_to_spare_is_validated_on_whatever_the_share():
    labels = ["red"] * 50 + ["blue"] * 4 + ["green"] * 4
    validation = split([table("train", labels)], train_val_split=0.02).parts["validation"]
    assert np.bincount(validation.targets).tolist() == [1, 1, 1]


def test_lost_classes_and_a_small_validation_are_counted():
    train = table("train", [f"class {row % 30:02}" for row in range(60)])
    found = split([train, table("test", ["class 03"])], train_val_split=0.1, max_train_samples=20)
    told = [line for line in found.warnings if "classes" in line]
    assert "10 of 30 classes have no train row (first: class " in told[0]
    assert "; train rows: 20): they cannot be learned; raise --max_train_samples" in told[0]
    assert "24 of 30 classes have no validation row (first: class " in told[1]
    assert "; validation rows: 6): the best model is chosen without them; raise --train_val_" in told[1]
    assert told[2:] == [
        "29 of 30 classes have no test row (first: class 00; test rows: 1): "
        "the test scores say nothing of them"
    ]
    long = split([table("train", [f"{row % 6} " + "x" * 200 for row in range(12)])]).warnings[0]
    assert len(long) < 250
    small = split([table("train", ["a", "b"] * 8)])
    assert "only 3 validation rows to choose the best model by; raise --train_val_split, or pass" in "".join(
        small.warnings
    )
