"""Several labels a row: read, trained, scored as scikit-learn does, saved, and used without hftune."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.nn.functional import binary_cross_entropy_with_logits

from hftune.cli import eval, predict
from hftune.data.image.load import load_images
from hftune.data.label_lists import join_columns, match_lists, multi_hot
from hftune.data.tables.read import Table, read_table
from hftune.data.text.splits import load_splits
from hftune.errors import BadInput
from hftune.inference import demo, onnx_export
from hftune.models.image import build_image_classifier
from hftune.recipes import imdb_bag
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.storage.checkpoint import list_checkpoints
from hftune.tasks import possible_tasks, task_of
from hftune.tasks.intervals import f1_intervals
from hftune.tasks.multi_label import MultiLabel, label_ranking
from hftune.training.evaluate import score, score_with_intervals
from tests.data.image.test_splits import write_class_folders
from tests.forked import run_python
from tests.runs import digest, run_recipe, start_from
from tests.tiny import tiny_model

WORDS = {"red": "a red ball", "round": "so round it rolls", "loud": "a loud bang"}


def table(cells, name="train.csv", **changes) -> Table:
    return Table(name, {"labels": list(cells)}, list(range(2, 2 + len(cells))), **changes)


@pytest.mark.parametrize(
    "cells",
    [
        [["b", "a"], ["c"], [], ["a"]],
        ["b|a", "c", "", "a"],
        ["b, a", "c", None, "a"],
        ['["b", "a"]', '["c"]', "[]", '["a"]'],
    ],
)
def test_labels_are_read_however_they_are_written(cells):
    names, targets, warnings = multi_hot({"train": table(cells)}, "labels")
    assert names == ("a", "b", "c")
    assert targets["train"].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert targets["train"].dtype == np.float32
    assert warnings == ["train.csv: 1 rows have no label (first: train.csv line 4)"]


def test_names_that_the_data_bring_keep_their_order_and_numbers_are_sorted_as_such():
    brought = {"labels": ["z", "y", "x"]}
    names, targets, warnings = multi_hot({"train": table([[0, 2], [2]], class_names=brought)}, "labels")
    assert names == ("z", "y", "x")
    assert targets["train"].tolist() == [[1, 0, 1], [0, 0, 1]]
    assert warnings == ["train.csv: no row has the label y"]
    assert multi_hot({"train": table([[10, 9], [2]])}, "labels")[0] == ("2", "9", "10")


def test_several_columns_of_0_and_1_are_one_column():
    columns = {"text": ["x", "y"], "a": [1, 0], "b": ["1", "0"], "c": [False, True]}
    joined = join_columns(Table("t.csv", columns, [2, 3]), "a, b,c")
    assert joined.columns == {"text": ["x", "y"], "a, b,c": [["a", "b"], ["c"]]}
    with pytest.raises(BadInput, match=r"t.csv line 3: column 'b' is 7, expected 0 or 1"):
        join_columns(Table("t.csv", {"a": [1, 0], "b": [1, 7]}, [2, 3]), "a,b")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["a|b", "a"], ["a", "d"], "test.csv line 3: label 'd' does not occur in train.csv, so it cannot"),
        (["a", "a"], ["a"], r"train.csv: 1 labels \(column 'labels'\); training needs two or more"),
        (["a|b", "A"], ["a"], "train.csv: labels 'A' and 'a' .* look alike; write both alike"),
    ],
)
def test_labels_that_cannot_be_learned_are_named(train, test, message):
    with pytest.raises(BadInput, match=message):
        multi_hot({"train": table(train), "test": table(test, "test.csv")}, "labels")


def test_rows_cut_for_validation_have_every_label_and_so_have_those_that_stay(tmp_path):
    """Four rows have the rare label, always beside another one; one has the last label, which is told."""
    cells = [["a"] if row % 2 else ["a", "b"] for row in range(80)]
    for row in (5, 17, 40, 66):
        cells[row] = [*cells[row], "rare"]
    cells[9] = ["once"]
    lines = [json.dumps({"text": f"row {row}", "labels": cell}) for row, cell in enumerate(cells)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    given = {"train_file": str(tmp_path / "train.jsonl"), "task": "multi_label", "model_type": "bag"}
    for seed in range(5):
        splits = load_splits(TextSettings(**given, data_seed=seed))
        train, validation = (splits.targets[name].sum(0) for name in ("train", "validation"))
        assert splits.task.labels == ("a", "b", "once", "rare")
        assert validation.tolist()[1:] == [4, 0, 1] or validation.tolist()[1:] == [3, 0, 1]
        assert train[2:].tolist() == [1, 3]
        assert any("1 of 4 classes have no validation row (first: once;" in line for line in splits.warnings)


def some(n=200, labels=4):
    random = np.random.default_rng(n)
    targets = (random.random((n, labels)) < [0.5, 0.3, 0.1, 0.05]).astype(np.float32)
    return 2 * targets - 1 + random.normal(size=(n, labels)).astype(np.float32), targets


def test_scores_are_scikit_learns():
    logits, targets = some()
    task = MultiLabel(("a", "b", "c", "d"), thresholds=(0.5, 0.4, 0.2, 0.05))
    found = score(task, "test", {"logits": logits}, targets, task.metrics)
    chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
    given = chances > task.thresholds
    expected = {
        "test_f1_micro": sk.f1_score(targets, given, average="micro"),
        "test_f1_macro": sk.f1_score(targets, given, average="macro"),
        "test_f1_macro_at_half": sk.f1_score(targets, logits > 0, average="macro"),
        "test_subset_accuracy": sk.accuracy_score(targets, given),
        "test_hamming_loss": sk.hamming_loss(targets, given),
        "test_lrap": sk.label_ranking_average_precision_score(targets, logits),
        "test_map": sk.average_precision_score(targets, logits, average="macro"),
        "test_loss": np.mean([sk.log_loss(targets[:, c], chances[:, c]) for c in range(4)]),
    }
    assert found == pytest.approx(expected, abs=1e-7)
    limits = score_with_intervals(task, "test", {"logits": logits}, targets, task.metrics)
    for key, value in found.items():
        assert limits[f"{key}_low"] < value < limits[f"{key}_high"]


def test_scores_of_rows_without_labels_are_zero_or_not_defined():
    task, nothing = MultiLabel(("a", "b")), np.zeros((3, 2), np.float32)
    found = score(task, "test", {"logits": nothing - 1}, nothing, task.metrics)
    assert (found["test_f1_micro"], found["test_f1_macro"], found["test_subset_accuracy"]) == (0, 0, 1)
    assert (found["test_lrap"], found["test_hamming_loss"]) == (1, 0)
    assert math.isnan(found["test_map"])
    with pytest.raises(BadInput, match="no validation row has a label"):
        task.check_metric("map", nothing)


def test_equal_scores_and_several_labels_are_ranked_as_scikit_learn_does():
    random = np.random.default_rng(0)
    targets = (random.random((80, 5)) < 0.4).astype(np.float32)
    logits = random.integers(-1, 2, (80, 5)).astype(np.float64)
    expected = sk.label_ranking_average_precision_score(targets, logits)
    assert label_ranking(logits, targets > 0).mean() == pytest.approx(expected)


def test_the_former_name_of_a_metric_is_understood():
    assert MultiLabel().metric("exact_match").title == "subset accuracy"
    with pytest.raises(BadInput, match="unknown metric 'exakt'"):
        MultiLabel().metric("exakt")


def test_thresholds_decide_and_are_kept_in_the_config():
    tuned = MultiLabel(("a", "b"), thresholds=(0.9, 0.1))
    predictions = {"logits": np.array([[2.0, -2.0], [3.0, -3.0]], np.float32)}  # 0.88, 0.12 and 0.95, 0.05
    assert tuned.given(predictions).tolist() == [[False, True], [True, False]]
    assert [tuned.answer(predictions, row)["labels"] for row in (0, 1)] == [["b"], ["a"]]
    assert dict(tuned.columns(predictions))["prediction"] == ["b", "a"]
    targets = np.array([[0, 1], [1, 0]], np.float32)
    assert score(tuned, "test", predictions, targets, ["subset_accuracy"])["test_subset_accuracy"] == 1
    assert [one[1:] for one in tuned.label_scores(predictions, targets)] == [
        (1, 1, 1, 1, 0.9),
        (1, 1, 1, 1, 0.1),
    ]
    config = json.loads(json.dumps(tuned.model_config()))
    assert config["thresholds"] == {"a": 0.9, "b": 0.1}
    assert task_of(config) == tuned
    with pytest.raises(BadInput, match="thresholds has no number for the label 'b'"):
        task_of(config | {"thresholds": {"a": 0.9}})


def test_a_task_that_tunes_nothing_says_so():
    logits, targets = some()
    (task,) = possible_tasks(TextSettings(task="multi_label", thresholds="0.5", model_type="bag"))
    tuned = replace(task, labels=("a", "b", "c", "d")).tune({"logits": logits}, targets)
    assert tuned.thresholds == (0.5,) * 4
    for known in (tuned, task_of(tuned.model_config()), task_of({"problem_type": tuned.problem_type})):
        assert "f1_macro_at_half" not in known.shown_metrics(list(known.metrics))
    assert "f1_macro_at_half" in replace(tuned, rule="common").shown_metrics(list(tuned.metrics))


def test_an_answer_has_the_labels_above_a_half():
    task, predictions = MultiLabel(("a", "b", "c")), {"logits": np.array([[1.0, -1, 2], [-1, -1, -2]])}
    first = task.answer(predictions, 0, top_k=2)
    assert first == {"labels": ["c", "a"], "scores": {"c": 0.880797, "a": 0.731059}}
    assert task.answer(predictions, 1)["labels"] == []
    columns = dict(task.columns(predictions, np.array([[1, 0, 0], [0, 0, 0]])))
    assert (columns["label"], columns["prediction"]) == (["a", ""], ["a|c", ""])
    assert columns["b"] == ["0.268941", "0.268941"]


def test_a_flag_of_single_labels_is_refused():
    settings = TextSettings(task="multi_label", model_type="bag", label_smoothing_factor=0.1)
    with pytest.raises(BadInput, match="--label_smoothing_factor: not for --task multi_label"):
        MultiLabel(("a", "b")).loss(settings, None)


@pytest.mark.parametrize(("option", "expected"), [("balanced", [3.0, 1.0]), ("0.5,2", [0.5, 2.0])])
def test_class_weight_is_torchs_pos_weight(option, expected):
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 0]], np.float32)
    settings = TextSettings(task="multi_label", model_type="bag", class_weight=option)
    loss = MultiLabel(("a", "b")).loss(settings, targets)
    logits, labels = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = loss(lambda x: SimpleNamespace(logits=logits), {"x": None, "labels": labels})
    assert (
        found.item() == torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(expected))(logits, labels).item()
    )


def test_thresholds_are_refused_where_no_task_reads_them_and_reach_a_recipes_own_task():
    settings = TextSettings(thresholds="common", model_type="bag")
    with pytest.raises(BadInput, match="--thresholds common: for --task multi_label alone; leave it out"):
        possible_tasks(settings.replace(task="single_label"))
    (own,) = possible_tasks(settings.replace(task="multi_label"), MultiLabel())
    assert own.rule == "common"


def test_class_weights_that_do_not_fit_are_refused():
    settings = TextSettings(task="multi_label", model_type="bag", class_weight="1,2,3")
    with pytest.raises(BadInput, match="--class_weight 1,2,3: give 2 numbers, for a, b"):
        MultiLabel(("a", "b")).loss(settings, np.zeros((4, 2)))


def test_intervals_of_each_label_hold_its_f1_and_shrink_with_its_rows():
    logits, targets = some(2000)
    low, high = f1_intervals(logits > 0, targets > 0).T
    f1 = sk.f1_score(targets, logits > 0, average=None)
    assert ((low < f1) & (f1 < high)).all()
    width = high - low
    assert width[0] < width[2] < width[3]
    few = f1_intervals(logits[:200] > 0, targets[:200] > 0)
    assert few[0, 1] - few[0, 0] > 2 * width[0]


def test_the_page_of_the_demo_ticks_the_labels_that_are_given():
    loaded = SimpleNamespace(task=MultiLabel(("a", "b"), thresholds=(0.9, 0.1)))
    found = demo._scores(loaded, np.array([2.0, -2.0], np.float32))
    assert found == {"a": pytest.approx(0.8808, abs=1e-4), "✓ b": pytest.approx(0.1192, abs=1e-4)}


def test_thresholds_go_beside_an_onnx_model(tmp_path):
    tuned = MultiLabel(("a", "b"), thresholds=(0.9, 0.1))
    model = tiny_model("bert", num_labels=2)
    model.config.update(tuned.model_config())
    inputs = SimpleNamespace(save=lambda folder: None)
    onnx_export._describe(SimpleNamespace(model=model, labels=tuned.labels, inputs=inputs), tmp_path)
    assert task_of(json.loads((tmp_path / "config.json").read_text())) == tuned


def test_a_run_that_was_stopped_chooses_the_same_thresholds(tmp_path):
    flags = ["--task", "multi_label", "--train_file", write(tmp_path / "train.jsonl", 120), "--bf16", "false"]
    flags += ["--test_file", write(tmp_path / "test.jsonl", 40), "--num_train_epochs", 3]
    flags += ["--min_frequency", 1, "--save_total_limit", "none", "--baselines", "false"]
    flags += ["--config_overrides", "embedding_dim=8,num_buckets=50"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    run_recipe(imdb_bag.recipe, flags, straight)
    steps = list_checkpoints(straight)
    start_from(straight, stopped, steps[0])
    run_recipe(imdb_bag.recipe, flags, stopped)
    assert digest(stopped) == digest(straight)
    assert (stopped / "config.json").read_bytes() == (straight / "config.json").read_bytes()
    assert json.loads((straight / "config.json").read_text())["thresholds"].keys() == {*WORDS}


def write(path, rows: int) -> str:
    """Writes texts that say which labels they have."""
    random = np.random.default_rng(rows)
    lines = []
    for _ in range(rows):
        chosen = [name for name in WORDS if random.random() < 0.4]
        text = " and ".join([WORDS[name] for name in chosen]) or "nothing"
        lines.append(json.dumps({"text": text, "labels": chosen}))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_images_have_several_labels_too(tmp_path):
    write_class_folders(tmp_path, 4, "test")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    page = "".join(f"{file},{row % 2},{(row + 1) % 3 > 0:d}\n" for row, file in enumerate(files))
    (tmp_path / "list.csv").write_text(f"image,big,bright\n{page}")
    files = dict.fromkeys(("train_file", "validation_file"), str(tmp_path / "list.csv"))
    named = {"label_column_name": "big,bright", "task": "multi_label", "model_type": "resnet9"}
    settings = ImageSettings(image_size=16, config_overrides="width=4", **named, **files)
    data = load_images(settings)
    assert data.labels == ("big", "bright")
    assert data.train.targets[:2].tolist() == [[0, 1], [1, 1]]
    batch = data.collate([data.train[row] for row in range(4)])
    assert batch["labels"].dtype == torch.float32
    model = build_image_classifier(settings, data)
    assert model.config.problem_type == "multi_label_classification"
    loss = data.task.loss(settings, data.train.targets)(model, batch)
    expected = binary_cross_entropy_with_logits(model(**batch).logits, batch["labels"])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(BadInput, match="--mixup: not for --task multi_label"):
        data.task.loss(settings.replace(mixup=0.2), data.train.targets)


USE = """
import csv, json, sys
from transformers import pipeline
sys.modules["hftune"] = None
run, rows, *lines = sys.argv[1:]
classify = pipeline("text-classification", run, trust_remote_code=True)
written = list(csv.DictReader(open(f"{run}/test_predictions.csv")))
for row, line in zip(written, open(rows), strict=True):
    text = json.loads(line)["text"]
    code = chr(10).join(lines).replace('"Write a text of your own here."', "text")
    exec(code.replace("print(", "given = ("))
    assert sorted(given) == sorted(filter(None, row["prediction"].split("|"))), (row, given)
    for one in answers:
        assert abs(one["score"] - float(row[one["label"]])) < 1e-5
print(len(written))
"""


def test_a_run_learns_several_labels_and_its_model_answers_without_hftune(tmp_path, capsys):
    flags = ["--task", "multi_label", "--train_file", write(tmp_path / "train.jsonl", 300)]
    flags += ["--test_file", write(tmp_path / "test.jsonl", 60), "--num_train_epochs", 12]
    flags += ["--learning_rate", 0.02, "--bf16", "false", "--min_frequency", 1]
    flags += ["--config_overrides", "num_buckets=1000"]
    results = run_recipe(imdb_bag.recipe, flags, tmp_path / "run", figures=True)
    assert "best model: chosen by map" in capsys.readouterr().out
    assert results["test_f1_micro"] > 0.95
    assert results["test_f1_micro_low"] <= results["test_f1_micro"] <= results["test_f1_micro_high"]
    assert {"test_subset_accuracy", "test_map", "test_class_red_f1", "test_tfidf_f1_micro"} <= results.keys()
    assert "test_map_over_tfidf_low" in results
    share = {name: results[f"test_class_{name}_support"] / 60 for name in WORDS}
    everywhere = np.mean([2 * part / (1 + part) for part in share.values()])  # each label on every row
    assert results["test_majority_f1_macro"] == pytest.approx(everywhere)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    task = task_of(config)
    assert task.labels == ("loud", "red", "round")
    assert task.thresholds == tuple(config["thresholds"].values())
    assert all(0 < one < 1 for one in task.thresholds)
    predictions = read_table(str(tmp_path / "run/test_predictions.csv")).columns
    assert list(predictions)[-5:] == ["label", "prediction", "loud", "red", "round"]
    assert (tmp_path / "run/labels.png").stat().st_size > 5000
    assert "gives texts any of 3 labels" in (tmp_path / "run/README.md").read_text()
    run = str(tmp_path / "run")
    predict.main([run, "a red ball", "a loud bang and a red ball", "--output", str(tmp_path / "x.jsonl")])
    answers = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [sorted(answer["labels"]) for answer in answers] == [["red"], ["loud", "red"]]
    predict.main([run, "a red ball", "--output", str(tmp_path / "x.csv")])
    assert read_table(str(tmp_path / "x.csv")).columns["prediction"].to_pylist() == ["red"]
    eval.main([run, "--output", str(tmp_path / "own.json")])
    eval.main([run, "--test_file", str(tmp_path / "test.jsonl"), "--output", str(tmp_path / "other.json")])
    for name in ("own", "other"):
        scores = json.loads((tmp_path / f"{name}.json").read_text())
        for key in ("test_f1_micro", "test_map", "test_subset_accuracy_low", "test_class_red_f1"):
            assert scores[key] == pytest.approx(results[key], abs=1e-5), key
    page = (tmp_path / "run/README.md").read_text()
    (code,) = (part for part in page.split("```") if "thresholds = classify" in part)
    lines = code.strip().splitlines()[1:]
    assert len(lines) == 3
    done = run_python(["-I", "-c", USE, run, tmp_path / "test.jsonl", *lines])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "60"


def test_the_labels_of_other_data_are_matched_by_name():
    table = Table("x.jsonl", {"labels": [["b"], [], ["c", "a"], None]})
    assert match_lists(table, "labels", ("a", "b", "c")).tolist() == [
        [0, 1, 0],
        [0, 0, 0],
        [1, 0, 1],
        [0, 0, 0],
    ]
    with pytest.raises(BadInput, match=r"^x.jsonl row 2: the model knows no label 'c' \(it knows a, b\)"):
        match_lists(table, "labels", ("a", "b"))
