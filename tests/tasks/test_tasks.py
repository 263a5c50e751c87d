"""Which task rows are read for: a named one, a recipe's own, or the one that the label column looks like."""

import csv
import json
import logging

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hftune.data.image.splits import load_image_splits
from hftune.data.tables.table import Table
from hftune.data.text.splits import load_splits
from hftune.errors import BadInput
from hftune.recipes import imdb_bag
from hftune.settings.base import Settings
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.storage.run_dir import RunRecord
from hftune.tasks import chosen_task, name_of, possible_tasks
from hftune.tasks.multi_label import MultiLabel
from hftune.tasks.regression import Regression
from hftune.tasks.single_label import SingleLabel
from tests.runs import run_recipe, start_from

INF, NAN = float("inf"), float("nan")


class Own(SingleLabel):
    """A task that a recipe brings."""


def table(labels: list, names: list[str] | None = None) -> Table:
    """Returns a table of labels, in Arrow where their types allow it, with the names of classes if any."""
    try:
        column = pa.chunked_array([pa.array(labels)])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        column = labels
    return Table("new.csv", {"label": column}, None, {"label": names} if names else {})


def found(labels: list, names: list[str] | None = None) -> str:
    return name_of(chosen_task(Settings(), table(labels, names), "label"))


@pytest.mark.parametrize(
    "labels",
    [
        [3.5, 4.0],
        [3.5, None],
        [3.5, NAN],
        np.float32([3.8, 4.0]),
        ["3.5", "4"],
        [" -3.5", "4.0"],
        ["1e-05", "0.5"],
        ["3.5", ""],
        ["3.5", "n/a"],
    ],
    ids=str,
)
def test_numbers_that_are_not_whole_are_numbers(labels):
    assert found(labels) == "regression"


@pytest.mark.parametrize(
    "labels",
    [[["a", "b"], ["a"]], [["a"], [], ["a", "b"]], ['["a", "b"]', "a"], [{"a", "b"}, {"a"}], [[1, 2], [3]]],
    ids=["lists", "an empty one", "JSON", "sets", "numbers"],  # a set prints in any order
)
def test_lists_of_several_labels_are_several_labels(labels):
    assert found(labels) == "multi_label"


@pytest.mark.parametrize(
    "labels",
    [
        [1, 2, 5],
        [1.0, 2.0],
        ["1", "2.0"],
        [True, False],
        ["good", "bad"],
        ["a|b", "a"],
        ["v1.5", "v2"],
        ["01", "1.5"],
        ["3.5", "good"],
        [0.5, INF],
        [["a"], ["b"]],
        [["a"], []],
        [[0, 1], [1, 0]],
        [[[0, 4, "PER"], [5, 9, "LOC"]], [[0, 4, "PER"]]],
        [{"choices": ["a", "b"]}, {"choices": ["a"]}],
    ],
    ids=str,
)
def test_all_else_is_one_label_as_ever(labels):
    assert found(labels) == "single_label"


def test_names_of_classes_are_no_numbers_and_their_ids_are_no_zeros_and_ones():
    assert found([0, 1], ["0.5", "1.5"]) == "single_label"
    assert found([[0, 1], [1, 0]], ["a", "b"]) == "multi_label"


def test_columns_of_0_and_1_that_are_named_are_several_labels(here):
    write_rows("bits.csv", "text", {"a": [1, 0] * 6, "b": [0, 1] * 6})
    settings = TextSettings(train_file="bits.csv", label_column_name="a,b", model_type="bag")
    splits = load_splits(settings)
    assert splits.task == MultiLabel(("a", "b"))
    assert set(splits.targets["train"].sum(1)) == {1}
    with pytest.raises(BadInput, match="no column 'a,b'"):
        load_splits(settings.replace(task="single_label"))


def test_what_is_named_wins_and_only_what_is_found_is_told(caplog):
    caplog.set_level(logging.INFO)
    halves = table([0.5, 1.5])
    assert type(chosen_task(Settings(task="single_label"), halves, "label")) is SingleLabel
    assert chosen_task(Settings(pos_label="b"), halves, "label", Own(pos_label="a")) == Own(pos_label="b")
    assert chosen_task(Settings(pos_label="b"), table(["a", "b"]), "label") == SingleLabel(pos_label="b")
    assert not caplog.messages
    assert chosen_task(Settings(), halves, "label") == Regression()
    chosen_task(Settings(), table([["a"], ["b", "a"]]), "label")
    assert caplog.messages == [
        "task: regression, as the labels of new.csv are numbers such as 0.5; --task single_label takes them "
        "as classes",
        "task: multi_label, as the labels of new.csv are lists such as ['b', 'a'] (new.csv row 1); --task "
        "chooses another",
    ]


def test_a_recipes_own_task_is_of_the_kind_that_is_named():
    assert possible_tasks(Settings(), Own(pos_label="a")) == [Own(pos_label="a")]
    assert name_of(Own()) == "single_label"
    with pytest.raises(BadInput, match=r"^--task multi_label: Own, the recipe's own task, is"):
        possible_tasks(Settings(task="multi_label"), Own())


def test_a_flag_of_another_task_than_the_found_one_is_refused():
    settings = Settings(thresholds="common")
    assert chosen_task(settings, table([["a", "b"]]), "label").rule == "common"
    with pytest.raises(BadInput, match="--thresholds common: for --task multi_label alone"):
        chosen_task(settings, table([0.5, 1.5]), "label")


def write_rows(file: str, content: str, columns: dict[str, list]) -> None:
    """Writes a table of twelve rows whose first column is `content`: texts, or pictures that it draws."""
    rows = [f"row number {row}" for row in range(12)]
    if content == "image":
        rows = [f"{row}.png" for row in range(12)]
        for row, name in enumerate(rows):
            Image.new("RGB", (8, 8), (20 * row, 0, 0)).save(name)
    with open(file, "w", newline="") as to:
        writer = csv.writer(to)
        writer.writerow([content, *columns])
        writer.writerows(zip(rows, *columns.values(), strict=True))


@pytest.mark.parametrize(
    ("labels", "task"),
    [([row / 4 for row in range(12)], "regression"), (['["a", "b"]', '["a"]', '["b"]'] * 4, "multi_label")],
)
def test_the_task_of_images_is_found_too(labels, task, here):
    write_rows("list.csv", "image", {"label": labels})
    splits = load_image_splits(ImageSettings(train_file="list.csv", model_type="resnet9")).splits
    assert name_of(splits.task) == task


@pytest.fixture
def scores(here) -> list:
    """Flags of a run on texts with numbers, which names no task."""
    write_rows("scores.csv", "text", {"label": [row / 4 for row in range(12)]})
    flags = ["--train_file", "scores.csv", "--validation_file", "scores.csv"]
    flags += ["--config_overrides", "embedding_dim=4,num_buckets=50"]
    return [
        *flags,
        "--max_steps",
        4,
        "--save_strategy",
        "steps",
        "--save_steps",
        2,
        "--save_total_limit",
        "none",
        "--bf16",
        "false",
    ]


@pytest.mark.usefixtures("quick_disk")
def test_a_run_keeps_the_task_that_was_found_and_goes_on_with_it(scores, here, capsys):
    run_recipe(imdb_bag.recipe, scores, here / "run")
    assert "task: regression, as the labels of scores.csv are numbers such as 0.25" in one_line(capsys)
    assert RunRecord.read(here / "run").settings["task"] == "regression"
    start_from(here / "run", here / "again", 2)
    run_recipe(imdb_bag.recipe, scores, here / "again")
    weights = [(here / name / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]
    run_recipe(imdb_bag.recipe, [*scores, "--task", "regression"], here / "run")  # the same run, finished
    with pytest.raises(BadInput, match="holds a run with other settings"):
        run_recipe(imdb_bag.recipe, [*scores, "--task", "single_label"], here / "run")


@pytest.mark.usefixtures("quick_disk")
def test_a_run_of_before_had_one_label_and_goes_on_with_it(here, capsys):
    halves = [0.5, 1.5] * 6  # an earlier hftune took them as classes
    write_rows("halves.csv", "text", {"label": halves})
    flags = ["--train_file", "halves.csv", "--config_overrides", "embedding_dim=4,num_buckets=50"]
    flags += ["--max_steps", 2, "--bf16", "false"]
    run_recipe(imdb_bag.recipe, [*flags, "--task", "single_label"], here / "run")
    record = json.loads((here / "run/run.json").read_text())
    del record["settings"]["task"]
    (here / "run/run.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert "test_accuracy" not in run_recipe(imdb_bag.recipe, flags, here / "run")
    assert "holds this run, finished" in one_line(capsys)


@pytest.mark.usefixtures("quick_disk")
def test_a_metric_that_the_found_task_lacks_is_refused_before_training(scores, here):
    flags = [*scores, "--metric_for_best_model", "accuracy"]
    with pytest.raises(BadInput, match=r"--metric_for_best_model: unknown metric 'accuracy'.*Known are rmse"):
        run_recipe(imdb_bag.recipe, flags, here / "run")
    results = run_recipe(imdb_bag.recipe, [*scores, "--metric_for_best_model", "pearson"], here / "other")
    assert "eval_pearson" in results
    with pytest.raises(BadInput, match="--metric_for_best_model: unknown metric 'perason'"):
        run_recipe(imdb_bag.recipe, [*scores, "--metric_for_best_model", "perason"], here / "third")


def one_line(capsys) -> str:
    """Returns what was printed without its breaks."""
    return " ".join(capsys.readouterr().out.split())
