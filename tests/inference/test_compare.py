"""Tests of finished runs side by side."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from hftune.cli.compare import main
from hftune.errors import BadInput
from hftune.inference.compare import FinishedRun, difference, other_settings
from hftune.recipes import imdb
from hftune.report.predictions import write_predictions
from hftune.tasks.intervals import difference_of_shares, paired_difference
from hftune.tasks.multi_label import MultiLabel
from hftune.tasks.regression import Regression
from hftune.tasks.single_label import SingleLabel
from tests.runs import write_record

RANDOM = np.random.default_rng(0)


def write_run(folder, task, predictions, targets, results=(), rows=None, finished=True, **changes):
    """Writes what a finished run of a task leaves, with predictions of some rows."""
    folder.mkdir()
    write_record(folder, finished=finished, **{**dataclasses.asdict(imdb.Settings()), **changes})
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **task.model_config()}))
    first = next(iter(task.metrics))
    scores = {f"eval_{first}": 0.5, f"test_{first}": 0.5, **dict(results)}
    (folder / "all_results.json").write_text(json.dumps(scores))
    lines = [{"step": 10, "loss": 0.7}, {"step": 10, f"eval_{first}": 0.5}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_predictions(folder / task.predictions_file, task.columns(predictions, targets))
    if rows is not None:  # else they are numbered
        path = folder / task.predictions_file
        head, *table = csv.reader(path.read_text().splitlines())
        numbered = [[str(row), *line[1:]] for row, line in zip(rows, table, strict=True)]
        path.write_text("".join(",".join(line) + "\n" for line in [head, *numbered]))
    return folder


def tasks():
    labels = SingleLabel(("a", "b", "c"))
    yield labels, RANDOM.integers(0, 3, 40), lambda: RANDOM.normal(size=(40, 3)), "accuracy"
    several = MultiLabel(("a", "b"), thresholds=(0.4, 0.6))
    given = RANDOM.integers(0, 2, (40, 2)).astype(np.float32)
    yield several, given, lambda: RANDOM.normal(size=(40, 2)), "f1_macro"
    yield Regression(("score",)), RANDOM.normal(size=40), lambda: RANDOM.normal(size=(40, 1)), "rmse"


@pytest.mark.parametrize(
    ("task", "targets", "logits", "metric"), list(tasks()), ids=["classes", "labels", "numbers"]
)
def test_the_difference_is_that_of_the_predictions_themselves(tmp_path, task, targets, logits, metric):
    ours, theirs = {"logits": logits()}, {"logits": logits()}
    run = FinishedRun(write_run(tmp_path / "a", task, ours, targets))
    other = FinishedRun(write_run(tmp_path / "b", task, theirs, targets))
    scored = [task.scored(predictions, targets, [metric]) for predictions in (ours, theirs)]
    expected = paired_difference(task.metric(metric), *scored, targets)
    assert difference(run, other, metric) == pytest.approx(expected, abs=1e-5)


def test_rows_are_paired_by_what_stands_before_their_label(tmp_path):
    task = SingleLabel(("no", "yes"))
    right = {"logits": np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])}
    targets = np.array([0, 0, 1, 1])
    run = FinishedRun(write_run(tmp_path / "a", task, right, targets, rows=(0, 1, 2, 9)))
    wrong = {"logits": np.array([[1.0, 0], [0, 1], [0, 1]])}
    other = FinishedRun(write_run(tmp_path / "b", task, wrong, np.array([1, 0, 0]), rows=(2, 1, 0)))
    expected = difference_of_shares(np.array([True] * 3), np.array([False, False, False]))
    assert difference(run, other, "accuracy") == pytest.approx(expected)
    elsewhere = FinishedRun(write_run(tmp_path / "c", task, right, targets, rows=(10, 11, 12, 13)))
    assert difference(run, elsewhere, "accuracy") is None
    relabelled = FinishedRun(write_run(tmp_path / "d", task, right, 1 - targets, rows=(0, 1, 2, 9)))
    assert difference(run, relabelled, "accuracy") is None


def test_the_page_has_scores_the_difference_and_what_was_set_otherwise(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    task, targets = SingleLabel(("no", "yes")), np.array([0, 1, 1])
    predictions = {"logits": np.array([[1.0, 0], [0, 1], [1, 0]])}
    interval = {"test_accuracy_low": 0.4, "test_accuracy_high": 0.6}
    for name, rate in (("a", 1e-4), ("b", 2e-4)):
        write_run(tmp_path / name, task, predictions, targets, interval, learning_rate=rate)
    picture = tmp_path / "curves.png"
    monkeypatch.chdir(tmp_path)
    main(["a", "b", "--output", str(picture)])
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "accuracy 0.500 [0.400, 0.600] 0.500 [0.400, 0.600]" in said
    assert any(line.startswith("accuracy, difference +0.000 [-0.") for line in said)
    assert "learning_rate 0.0001 0.0002" in said
    assert not any(line.startswith("num_train_epochs") for line in said)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_no_finished_run_is_said(tmp_path):
    task, targets = SingleLabel(("no", "yes")), np.array([0, 1])
    predictions = {"logits": np.eye(2)}
    done = write_run(tmp_path / "done", task, predictions, targets)
    begun = write_run(tmp_path / "begun", task, predictions, targets, finished=False)
    numbers = write_run(tmp_path / "numbers", Regression(("score",)), {"logits": np.ones((2, 1))}, np.ones(2))
    for words, message in (
        ([done], "two runs or more"),
        ([done, begun], "begun: this run is not finished; repeat its command"),
        ([done, tmp_path], "no run directory"),
        ([done, numbers], "numbers answers another question than "),
    ):
        with pytest.raises(BadInput, match=message):
            main([str(word) for word in words])


def test_settings_that_only_one_run_knows_are_not_compared(tmp_path):
    task, targets = SingleLabel(("no", "yes")), np.array([0, 1])
    runs = [
        FinishedRun(write_run(tmp_path / name, task, {"logits": np.eye(2)}, targets, **changes))
        for name, changes in (("a", {"seed": 1}), ("b", {"seed": 2, "younger": 3}))
    ]
    assert other_settings(runs) == {"seed": [1, 2]}


@pytest.mark.parametrize("damage", [",no,maybe,half\n", "7\n", "7,perhaps,no,0.5,0.5\n"])
def test_a_table_that_was_edited_is_one_line(tmp_path, damage):
    task, targets = SingleLabel(("no", "yes")), np.array([0, 1])
    runs = [write_run(tmp_path / name, task, {"logits": np.eye(2)}, targets) for name in ("a", "b")]
    with (runs[1] / "test_predictions.csv").open("a") as file:
        file.write(damage)
    with pytest.raises(BadInput, match=r"test_predictions\.csv: not the table that the run wrote"):
        main([str(run) for run in runs])


def test_a_text_may_be_as_long_as_a_book(tmp_path):
    task, targets = SingleLabel(("no", "yes")), np.array([0, 1])
    runs = [
        write_run(tmp_path / name, task, {"logits": np.eye(2)}, targets, rows=("x" * 200_000, "y"))
        for name in ("a", "b")
    ]
    assert difference(*map(FinishedRun, runs), "accuracy")[0] == 0
