"""Streamed texts: the rows of whole ones by their ids, few row groups at a time, and what is refused."""

import logging
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.dataset import Data
from hftune.data.loader import batch_loader
from hftune.data.text import stream
from hftune.data.text.load import load_text
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.training.setup import build_plan
from tests.tiny import WORDS

GROUP = 10  # rows


def columns_of(rows: int, start: int = 0) -> dict:
    random = np.random.default_rng(start)
    texts = [" ".join([str(start + row), *random.choice(WORDS[:90], 6)]) for row in range(rows)]
    other = [" ".join(random.choice(WORDS[:90], 3)) for _ in range(rows)]
    labels = ["bad", "good"] * (rows // 2)
    scores, tags = random.random(rows), [["a", "b"][: 1 + row % 2] for row in range(rows)]
    return {"text": texts, "label": labels, "pair": other, "score": scores, "tags": tags}


def write(name: str, columns: dict, **options) -> None:
    pq.write_table(pa.table(columns), name, row_group_size=GROUP, **options)


@pytest.fixture
def files(here):
    write("train.parquet", columns_of(100))
    write("validation.parquet", columns_of(20, 1000))
    return here


def settings_for(**changes) -> TextSettings:
    given = {"train_file": "train.parquet", "validation_file": "validation.parquet", "min_frequency": 1}
    given |= {
        "text_column_name": "text",
        "label_column_name": "label",
        "model_type": "bag",
        "streaming": True,
    }
    return TextSettings().replace(**{**given, **changes})


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name])
        and getattr(one[name], "dtype", 0) == getattr(other[name], "dtype", 0)
        for name in one
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_length": 4, "truncation": "tail"},
        {"task": "regression", "label_column_name": "score"},
        {"task": "multi_label", "label_column_name": "tags"},
        {"text_pair_column_name": "pair"},
        {"max_train_samples": 40, "max_eval_samples": 8},
    ],
    ids=str,
)
def test_rows_are_those_of_whole_texts(files, changes):
    with patch.object(stream, "SAMPLE", 5):
        streamed = load_text(settings_for(**changes))
    whole = load_text(settings_for(streaming=False, **changes))
    assert streamed.processor.get_vocab() == whole.processor.get_vocab()
    assert len(streamed.train) == len(whole.train)
    assert np.array_equal(streamed.train.targets, whole.train.targets)
    assert all(same(streamed.train[row], whole.train[row]) for row in range(len(whole.train)))
    assert all(same(streamed.validation[row], whole.validation[row]) for row in range(len(whole.validation)))
    assert streamed.train.lengths.max() >= whole.train.lengths.max()
    assert streamed.task == whole.task


@pytest.fixture
def few_at_once():
    """Two row groups are held, of ten."""
    with patch("hftune.data.tables.row_groups.AT_ONCE", 1):
        yield


def plan_of(data: Data, processes: int = 1):
    return build_plan(settings_for(per_device_train_batch_size=8), data, processes, 2)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_reads_each_group_once_an_epoch_and_holds_few(files, few_at_once, processes):
    visited = []
    for process in range(processes):
        data = load_text(settings_for())
        texts, plan, reads = data.train.texts, plan_of(data, processes), []
        texts._held.clear()
        read, most = texts.groups.read, 0

        def counted(group, columns, read=read, reads=reads):
            reads.append(group)
            return read(group, columns)

        texts.groups.read = counted
        for epoch in (0, 1):
            reads.clear()
            texts._held.clear()
            for step in plan.epoch(epoch):
                for micro in step[process::processes]:
                    data.train.__getitems__(micro.visits(epoch))
                    visited += [(epoch, row) for row in micro.rows.tolist()] * bool(micro.share)
                    most = max(most, len(texts._held))
            assert sorted(reads) == sorted(set(reads))  # none twice
        assert most == texts.window == 2
    assert sorted(visited) == [(epoch, row) for epoch in (0, 1) for row in range(100)]


def test_batches_of_a_loader_are_those_of_the_rows(files, few_at_once):
    import torch

    data = load_text(settings_for())
    ids = [micro.visits(0) for step in plan_of(data).epoch(0) for micro in step]
    for workers in (0, 1):
        loader = batch_loader(data.train, ids, data.collate, workers=workers, device=torch.device("cpu"))
        for rows, batch in zip(ids, loader, strict=True):
            assert same(batch, data.collate([data.train[row] for row in rows]))


def test_the_order_is_the_epochs_and_follows_the_groups(files, few_at_once):
    data = load_text(settings_for())
    plan = plan_of(data)
    orders = [
        np.concatenate([micro.rows for step in plan.epoch(epoch) for micro in step]) for epoch in (0, 1)
    ]
    assert np.array_equal(orders[0], data.order(42, 0))
    assert orders[0].tolist() != orders[1].tolist()
    assert len({row // GROUP for row in orders[0][: 2 * GROUP].tolist()}) == 2
    assert plan.padding_share() is None  # nothing is known of it


def test_validation_rows_are_drawn_where_there_are_none(files):
    with patch.object(stream, "DRAWN", 6):
        data = load_text(settings_for(validation_file=None))
    assert (len(data.train), len(data.validation)) == (94, 6)
    assert "validation: 6 % of train" in data.origin
    kept = {data.train.texts[row] for row in range(94)}
    texts = columns_of(100)["text"]
    left = [text for text in texts if text not in kept]
    assert len(left) == 6
    encode = data.train.encode(left)
    assert [data.validation[row]["input_ids"].tolist() for row in range(6)] == encode["input_ids"]
    numbers = [text.split()[0] for text in left]
    assert not set(numbers) & data.processor.get_vocab().keys()  # words of theirs stay unknown


def test_files_of_a_folder_follow_one_another_and_say_how_they_are_mixed(files, few_at_once, caplog):
    caplog.set_level(logging.INFO)
    for name, start in (("train-00000-of-00002", 0), ("train-00001-of-00002", 500), ("test", 900)):
        (files / "set").mkdir(exist_ok=True)
        write(f"set/{name}.parquet", columns_of(50, start))
    data = load_text(settings_for(train_file=None, validation_file=None, dataset_name="set"))
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 50)
    said = caplog.text
    assert (
        "10 row groups in another order in every epoch, the rows of each 2 of them mixed: about 18 rows"
        in said
    )
    assert "20 % of an epoch" in said
    assert data.train.texts.groups[60] == "set/train-00001-of-00002.parquet row 10"
    assert data.places.place(3) == "set/test.parquet row 3"
    assert data.places.contents["text"](3) == columns_of(50, 900)["text"][3]


def test_a_card_says_the_splits_and_the_names_of_classes(files):
    (files / "set").mkdir()
    columns = columns_of(100)
    write("set/rows.parquet", {"text": columns["text"], "label": [0, 1] * 50})
    write("set/held_out.parquet", {"text": columns["text"][:20], "label": [0, 1] * 10})
    (files / "set/README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: rows.parquet\n"
        "  - split: test\n    path: held_out.parquet\ndataset_info:\n  features:\n  - name: text\n"
        "    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        names:\n"
        "          '0': poor\n          '1': fine\n---\n"
    )
    data = load_text(settings_for(train_file=None, validation_file=None, dataset_name="set"))
    assert data.labels == ("poor", "fine")
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)


def test_other_rows_are_other_data(files):
    same_rows = load_text(settings_for()).fingerprint
    assert load_text(settings_for()).fingerprint == same_rows
    fewer = load_text(settings_for(max_train_samples=50)).fingerprint
    columns = columns_of(100)
    columns["text"][50] = columns["text"][50][::-1]  # of the same length
    write("train.parquet", columns)
    assert len({same_rows, fewer, load_text(settings_for()).fingerprint}) == 3


def test_a_missing_text_is_named_before_training_or_when_it_is_met(files, monkeypatch):
    columns = columns_of(100)
    columns["text"][37] = None
    write("train.parquet", columns)
    problem = r"train.parquet row 37: the text \(column 'text'\) is missing"
    with pytest.raises(BadInput, match=problem):
        load_text(settings_for())
    write("train.parquet", columns, write_statistics=False)  # no footer says it
    monkeypatch.setattr("hftune.data.tables.row_groups.HEAD", GROUP)
    with (
        patch.object(stream, "SAMPLE", 1),
        patch.object(stream.StreamedTexts, "__iter__", lambda self: iter("ab")),
    ):
        data = load_text(settings_for(tokenizer_type="character"))
    with pytest.raises(BadInput, match=problem):
        data.train[37]
    with pytest.raises(BadInput, match=problem):
        load_text(settings_for())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text_column_name": "tags"}, "column 'tags', taken as the text, holds list"),
        ({"text_column_name": "score"}, "column 'score', taken as the text, holds double"),
        ({"label_column_name": "lable"}, "no column 'lable'.*did you mean 'label'"),
        ({"train_file": "rows.csv"}, "--streaming reads parquet, not rows.csv"),
        (
            {"train_file": "split.parquet", "validation_file": None},
            "column 'split' of split.parquet says which",
        ),
        ({"train_file": "judged.parquet"}, "column 'answer' of judged.parquet says which"),
        ({"split_column_name": "fold"}, "no column 'fold'"),
        (
            {"train_file": None, "validation_file": None, "dataset_name": "sample"},
            "--streaming reads parquet files",
        ),
        (
            {"train_sampling_strategy": "group_by_length"},
            "--streaming and --train_sampling_strategy group_by",
        ),
        ({"tokens_per_batch": 4096}, "--streaming and --tokens_per_batch contradict"),
        ({"baselines": True}, "--streaming and --baselines contradict"),
        ({"embeddings": "words.vec"}, "--streaming and --embeddings contradict"),
    ],
    ids=str,
)
def test_what_cannot_be_streamed_is_refused(files, changes, problem):
    columns = columns_of(100)
    (files / "rows.csv").write_text("text,label\na b,x\n")
    write("split.parquet", columns | {"split": ["train"] * 80 + ["test"] * 20})
    write("judged.parquet", columns | {"answer": ["accept"] * 99 + ["reject"]})
    with pytest.raises(BadInput, match=problem):
        load_text(settings_for(**changes))


def test_texts_that_a_recipe_changes_are_refused(files):
    with pytest.raises(BadInput, match="--streaming: this recipe changes its training texts"):
        load_text(settings_for(), augment=lambda text, random: text)


def test_large_row_groups_are_told(files, caplog):
    with patch.object(stream, "MUCH", 1):
        load_text(settings_for())
    assert "row groups are large, 10 of them take 1 MB" in caplog.text
