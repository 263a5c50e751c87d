"""A number a row: read, standardised, trained, scored as scikit-learn and scipy do, saved in its own unit."""

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn import metrics as sk
from transformers import BitImageProcessor

from hftune.cli import eval, gradcam, predict
from hftune.data.image.load import load_images
from hftune.data.tables.read import Table, read_table
from hftune.data.text.load import load_text
from hftune.errors import BadInput
from hftune.inference import demo
from hftune.inference.demo import coloured
from hftune.inference.load import load_model
from hftune.inference.occlusion import influence
from hftune.models.image import build_image_classifier
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification
from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification
from hftune.models.text import build_text_classifier
from hftune.recipes import imdb_bag
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.tasks import task_of
from hftune.tasks.regression import Regression, conformal_radius, squared_error
from hftune.training.evaluate import compare, score, score_with_intervals
from tests.data.image.test_splits import write_class_folders
from tests.forked import run_python
from tests.runs import run_recipe
from tests.tiny import tiny_checkpoint, tiny_model, tiny_tokenizer

WORTH = {"great": 2.0, "good": 1.0, "dull": -0.7, "awful": -2.1}
TASK = Regression(("price",))


def some(n=300):
    random = np.random.default_rng(n)
    targets = random.normal(2.7, 1.5, n)
    return {"logits": (targets + random.normal(0, 0.6, n)).astype(np.float32)[:, None]}, targets


def tables(train, **others):
    return {
        split: Table(f"{split}.csv", {"price": list(cells)}, list(range(2, 2 + len(cells))))
        for split, cells in {"train": train, **others}.items()
    }


# --- targets ---


def test_targets_are_the_numbers_and_the_label_is_the_columns_name():
    task, targets, warnings = Regression().read_targets(tables(["1", 2.5], test=[7]), "price", own=True)
    assert task.model_config() == {
        "num_labels": 1,
        "id2label": {0: "price"},
        "label2id": {"price": 0},
        "problem_type": "regression",
        "conformal_radius": None,
    }
    assert {split: found.tolist() for split, found in targets.items()} == {"train": [1, 2.5], "test": [7]}
    assert warnings == []


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (
            [0, -1, 3, -1],
            "train.csv: 2 rows have the number -1 (first: train.csv line 3), the only one below",
        ),
        ([1e9, 1e9 + 5], "are large beside how they differ, and a model answers in steps of 64 there"),
    ],
)
def test_a_doubt_is_a_warning(train, said):
    _, _, (warning,) = Regression().read_targets(tables(train), "price", own=True)
    assert said in warning


def test_numbers_that_say_nothing_are_refused():
    with pytest.raises(BadInput, match=r"^train.csv: every row has the number 3 \(column 'price'\); nothing"):
        Regression().read_targets(tables([3, 3.0]), "price", own=True)
    with pytest.raises(BadInput, match=r"^test.csv line 2: the number \(column 'price'\) is 'x', which is"):
        Regression().read_targets(tables([3, 4], test=["x"]), "price", own=True)


@pytest.mark.parametrize(
    ("targets", "sizes"),
    [
        (np.arange(200.0), [20] * 10),
        (np.repeat([1.0, 2, 3], [150, 30, 20]), [150, 30, 20]),  # equal numbers stay together
        (np.arange(25.0), [12, 13]),
        (np.arange(5.0), [5]),
    ],
)
def test_strata_are_tenths_of_the_numbers(targets, sizes):
    strata = TASK.strata(targets)
    assert np.bincount(strata).tolist() == sizes
    assert (np.diff(strata) >= 0).all()


@pytest.mark.parametrize("flag", ["class_weight", "label_smoothing_factor"])
def test_a_flag_of_labels_is_refused(flag):
    given = {"class_weight": "balanced"} if flag == "class_weight" else {flag: 0.1}
    with pytest.raises(BadInput, match=f"--{flag}: not for --task regression"):
        TASK.loss(TextSettings(task="regression", model_type="bag", **given), None)
    with pytest.raises(BadInput, match="--pos_label high: a number has no classes"):
        Regression(pos_label="high")


# --- training ---


@pytest.mark.parametrize("rows", [1, 4])
def test_the_loss_is_the_mean_over_rows_of_standardised_numbers(rows):
    """(B, 1) predictions against (B,) targets would broadcast to B x B."""
    model = tiny_model("bert", num_labels=1)
    ids = torch.randint(5, 30, (rows, 6), generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([50_000.0, 62_000, 38_000, 55_000])[:rows]
    task = TASK.fit(np.array([38_000.0, 62_000]))
    assert (task.mean, task.deviation) == (50_000, 12_000)
    loss = task.scaled(task.loss(TextSettings(model_type="bag"), None))
    found = loss(model, {"input_ids": ids, "labels": targets})
    with torch.no_grad():
        answers = model(input_ids=ids).logits[:, 0]
    expected = np.mean([((y - 50_000) / 12_000 - a) ** 2 for a, y in zip(answers, targets, strict=True)])
    assert found.item() == pytest.approx(float(expected), rel=1e-5)
    assert found.requires_grad


def test_a_recipes_own_loss_meets_standardised_numbers_too():
    seen = []
    task = TASK.fit(np.array([10.0, 30.0]))
    task.scaled(lambda model, batch: seen.append(batch))(None, {"labels": torch.tensor([10.0, 25.0]), "x": 1})
    assert seen[0]["labels"].tolist() == [-1, 0.5]
    assert seen[0]["x"] == 1


def test_a_finished_model_answers_as_the_trained_one_did():
    model = tiny_model("bert", num_labels=1)
    ids = torch.randint(5, 30, (5, 6), generator=torch.Generator().manual_seed(0))
    task = TASK.fit(np.array([38_000.0, 62_000]))
    with torch.no_grad():
        before = task.predict(model, {"input_ids": ids})["logits"]
        finished = task.finish(model, {"input_ids": ids[:1]})
        after = finished.predict(model, {"input_ids": ids})["logits"]
    assert finished == TASK
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert before.dtype == np.float64
    assert before.shape == (5, 1)


# --- scores ---


def test_scores_are_those_of_scikit_learn_and_scipy():
    predictions, targets = some()
    numbers = predictions["logits"][:, 0].astype(np.float64)
    found = score(TASK, "test", predictions, targets, TASK.metrics)
    assert found == pytest.approx(
        {
            "test_rmse": sk.root_mean_squared_error(targets, numbers),
            "test_mae": sk.mean_absolute_error(targets, numbers),
            "test_r2": sk.r2_score(targets, numbers),
            "test_pearson": stats.pearsonr(targets, numbers).statistic,
            "test_spearman": stats.spearmanr(targets, numbers).statistic,
            "test_loss": sk.mean_squared_error(targets, numbers),
        },
        abs=1e-9,
    )
    limits = score_with_intervals(TASK, "test", predictions, targets, TASK.metrics)
    fisher = stats.pearsonr(targets, numbers).confidence_interval(0.95)
    assert limits["test_pearson_low"] == pytest.approx(fisher.low, abs=0.01)
    assert limits["test_pearson_high"] == pytest.approx(fisher.high, abs=0.01)
    for key, value in found.items():
        assert limits[f"{key}_low"] < value < limits[f"{key}_high"]


def test_equal_numbers_share_a_rank():
    predictions, targets = some(60)
    rounded = {"logits": predictions["logits"].round()}
    expected = stats.spearmanr(targets.round(), rounded["logits"][:, 0]).statistic
    assert score(TASK, "x", rounded, targets.round(), ["spearman"])["x_spearman"] == pytest.approx(expected)


def test_what_is_not_defined_is_nan_and_said():
    targets = np.arange(12.0)
    alike = {"logits": np.full((12, 1), 2.7, np.float32)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_with_intervals(TASK, "test", alike, targets, TASK.metrics)
        assert all(math.isnan(found[key]) for key in ("test_pearson", "test_spearman", "test_pearson_low"))
        assert found["test_r2"] < 0
        assert math.isnan(score(TASK, "x", alike, np.ones(12), ["r2"])["x_r2"])
    assert TASK.shown_answer(TASK.only_answer(alike)) == "2.700, so correlations are not defined"
    assert TASK.only_answer({"logits": targets[:, None]}) is None
    with pytest.raises(
        BadInput, match="--metric_for_best_model pearson: the validation rows have one number"
    ):
        TASK.check_metric("pearson", np.ones(12))
    assert TASK.check_metric("rmse", np.ones(12)) == ""
    assert "8 validation rows are too few for a 90% interval" in TASK.check_metric("rmse", np.ones(8))


def test_less_error_than_a_baseline_is_a_negative_difference():
    predictions, targets = some()
    worse = {"logits": predictions["logits"] + 1}
    found = compare(TASK, "mean", predictions, worse, targets)
    assert found["test_rmse_over_mean_high"] < 0
    expected = sk.root_mean_squared_error(targets, predictions["logits"][:, 0])
    expected -= sk.root_mean_squared_error(targets, worse["logits"][:, 0])
    assert found["test_rmse_over_mean"] == pytest.approx(expected)


def test_the_radius_is_the_one_of_split_conformal_prediction():
    residuals = np.random.default_rng(0).permutation(99).astype(float)
    assert conformal_radius(residuals) == 89  # the 90th smallest of 99: ceil(0.9 * 100)
    assert conformal_radius(residuals[:10]) == np.sort(residuals[:10])[9]
    assert conformal_radius(np.arange(9.0)) == 8
    assert conformal_radius(np.arange(8.0)) is None


def test_intervals_hold_nine_of_ten_further_numbers():
    random, inside = np.random.default_rng(1), []
    for _ in range(300):
        residuals = abs(random.standard_cauchy(31))
        inside.append((residuals[30:] <= conformal_radius(residuals[:30])).mean())
    assert 0.85 < np.mean(inside) < 0.95


def test_coverage_is_a_score_of_test_rows_once_the_radius_is_known():
    predictions, targets = some(50)
    assert "coverage" not in TASK.metrics
    task = TASK.tune(predictions, targets)
    metric = task.metrics["coverage"]
    assert metric.only_tested
    assert score(task, "test", predictions, targets, ["coverage"])["test_coverage"] == 46 / 50
    assert task_of({**task.model_config(), "id2label": {0: "price"}}) == task


# --- answers ---


def test_an_answer_has_the_number_and_its_interval():
    task, predictions = Regression(("price",), radius=1.5), {"logits": np.array([[2.123456789], [-3]])}
    assert task.answer(predictions, 0) == {"price": 2.123457, "low": 0.6234568, "high": 3.623457}
    assert dict(task.columns(predictions, np.array([2, 0.1]))) == {
        "label": ["2", "0.1"],
        "prediction": ["2.12345679", "-3"],
        "low": ["0.623456789", "-4.5"],
        "high": ["3.62345679", "-1.5"],
    }
    assert task.say(predictions, 1) == "-3.000 (-4.500 to -1.500)"
    assert TASK.answer(predictions, 1) == {"price": -3, "low": None, "high": None}
    assert dict(TASK.columns(predictions))["low"] == ["", ""]
    assert TASK.no_answer.keys() == TASK.answer(predictions, 1).keys()
    assert Regression(("high",)).answer(predictions, 1) == {"value": -3, "low": None, "high": None}


# --- models ---


def write(path, rows: int) -> str:
    """Writes texts whose words say what the price is."""
    random = np.random.default_rng(rows)
    lines = ["text,price"]
    for _ in range(rows):
        words = random.choice(list(WORTH), random.integers(1, 4))
        price = 50_000 + 12_000 * np.mean([WORTH[word] for word in words]) + random.normal(0, 1500)
        lines.append(f"a film that was {' and '.join(words)},{price:.1f}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def settings_for(folder, **changes) -> TextSettings:
    files = {"train_file": write(folder / "train.csv", 60), "validation_file": write(folder / "v.csv", 20)}
    usual = {"task": "regression", "label_column_name": "price", "max_length": 16, "bf16": False}
    return TextSettings(**usual, **files, **changes)


def test_a_regression_goes_on_from_its_own_last_layer(tmp_path):
    """It answers in the unit; training needs it on the scale of the new data."""
    saved = tiny_model("bert", num_labels=1, problem_type="regression", id2label={0: "price"})
    with torch.no_grad():
        saved.classifier.bias.fill_(50_000)
        saved.classifier.weight.mul_(3000)
    saved.save_pretrained(tmp_path / "first")
    tiny_tokenizer("bert").save_pretrained(tmp_path / "first")
    settings = settings_for(tmp_path, model_name_or_path=str(tmp_path / "first"))
    data = load_text(settings)
    model = build_text_classifier(settings, data).eval()
    batch = data.collate([data.train[row] for row in range(5)])
    batch.pop("labels")
    with torch.no_grad():
        expected = saved.eval()(**batch).logits.numpy()
        np.testing.assert_allclose(data.task.predict(model, batch)["logits"], expected, rtol=1e-5)
    assert abs(model.classifier.bias.item()) < 5


def test_another_column_gets_a_new_last_layer(tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "first", 1, problem_type="regression", id2label={0: "stars"})
    settings = settings_for(tmp_path, model_name_or_path=str(folder))
    model = build_text_classifier(settings, load_text(settings))
    assert model.config.id2label == {0: "price"}
    assert abs(model.classifier.weight.std().item() - 0.2) < 0.1
    assert model.classifier.bias.item() == 0


def test_images_have_numbers_too(tmp_path):
    write_class_folders(tmp_path, 12, "test")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    page = "".join(f"{file},{100 + 3 * row}\n" for row, file in enumerate(files))
    (tmp_path / "list.csv").write_text(f"image,rating\n{page}")
    files = dict.fromkeys(("train_file", "validation_file"), str(tmp_path / "list.csv"))
    settings = ImageSettings(
        task="regression", image_size=16, model_type="resnet9", config_overrides="width=4", **files
    )
    data = load_images(settings)
    assert data.labels == ("rating",)
    batch = data.collate([data.train[row] for row in range(4)])
    assert batch["labels"].tolist() == [100, 103, 106, 109]
    model = build_image_classifier(settings, data).eval()
    inputs = {"pixel_values": batch["pixel_values"]}
    with torch.no_grad():
        before = data.task.predict(model, inputs)["logits"]
        finished = data.task.finish(model, inputs)
        np.testing.assert_allclose(finished.predict(model, inputs)["logits"], before, rtol=1e-6)
    with pytest.raises(BadInput, match="--mixup: not for --task regression"):
        data.task.loss(settings.replace(mixup=0.2), data.train.targets)


USE = """
import json, sys
from transformers import pipeline
answer = pipeline("text-classification", sys.argv[1], trust_remote_code=True)
print(json.dumps([answer(text)[0] for text in json.load(open(sys.argv[2]))]))
assert "hftune" not in sys.modules
"""


def test_a_run_learns_numbers_and_its_model_answers_in_their_unit_without_hftune(tmp_path, capsys):
    flags = ["--task", "regression", "--train_file", write(tmp_path / "train.csv", 400)]
    flags += ["--test_file", write(tmp_path / "test.csv", 60), "--label_column_name", "price"]
    flags += ["--num_train_epochs", 15, "--learning_rate", 0.02, "--bf16", "false", "--min_frequency", 1]
    flags += ["--config_overrides", "num_buckets=1000"]
    results = run_recipe(imdb_bag.recipe, flags, tmp_path / "run", figures=True)
    said = capsys.readouterr().out
    assert "rows: 360 train, 40 validation, 60 test; numbers of column 'price', mean 5" in said
    assert "best model: chosen by rmse" in said
    assert results["test_pearson"] > 0.9
    assert results["train_loss"] < 1.5  # standardised
    assert 1000 < results["test_rmse"] < 6000  # in the unit
    assert results["test_rmse_low"] <= results["test_rmse"] <= results["test_rmse_high"]
    assert {"test_mean_rmse", "test_tfidf_pearson", "test_rmse_over_tfidf_low"} <= results.keys()
    assert math.isnan(results["test_mean_pearson"])
    assert "test_tfidf_coverage" not in results
    assert "eval_coverage" not in results
    assert 0.75 < results["test_coverage_low"] <= results["test_coverage"] <= 1
    run = tmp_path / "run"
    config = json.loads((run / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert task_of(config) == Regression(("price",), radius=config["conformal_radius"])
    rows = read_table(str(run / "test_predictions.csv")).columns
    assert list(rows)[-5:] == ["text", "label", "prediction", "low", "high"]
    predicted, low = (np.array(rows[name].to_pylist(), float) for name in ("prediction", "low"))
    np.testing.assert_allclose(predicted - low, config["conformal_radius"], rtol=1e-5)
    page = (run / "README.md").read_text()
    assert "It gives texts a number: **price**." in page
    assert "radius = classify.model.config.conformal_radius" in page
    assert "of the test rows" in page
    assert "![What the model answered, and the true numbers, of the test rows](scatter.png)" in page
    assert "calibration" not in page

    out = str(tmp_path / "x.jsonl")
    texts = ["a film that was great", "a film that was awful and dull"]
    predict.main([str(run), *texts, "--output", out])
    answers = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [list(answer) for answer in answers] == [["text", "price", "low", "high"]] * 2
    assert answers[0]["low"] < 74_000 < answers[0]["high"]
    predict.main([str(run), str(tmp_path / "test.csv"), "--output", str(tmp_path / "x.csv")])
    table = read_table(str(tmp_path / "x.csv")).columns
    assert list(table) == ["row", "place", "text", "price", "prediction", "low", "high"]
    with pytest.raises(BadInput, match=r"--top_k: .* does not answer with labels"):
        predict.main([str(run), "a", "--top_k", "1"])
    capsys.readouterr()
    predict.main([str(run), *texts, "--format", "table"])
    assert f"{answers[0]['price']:,.0f}" in capsys.readouterr().out
    eval.main([str(run), "--output", str(tmp_path / "own.json")])
    own = json.loads((tmp_path / "own.json").read_text())
    for key in ("test_rmse", "test_spearman", "test_coverage_low", "test_loss"):
        assert own[key] == pytest.approx(results[key], rel=1e-5), key

    (tmp_path / "texts.json").write_text(json.dumps(rows["text"].to_pylist()[:20]))
    done = run_python(["-I", "-c", USE, run, tmp_path / "texts.json"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[0]["label"] == "price"
    np.testing.assert_allclose([one["score"] for one in found], predicted[:20], rtol=1e-5)


def test_a_saved_regression_is_read_by_its_kind(tmp_path):
    loaded = load_model(
        str(tiny_checkpoint("bert", tmp_path, 1, problem_type="regression", conformal_radius=0.5))
    )
    assert loaded.task == Regression(("LABEL_0",), radius=0.5)


def test_squared_error_reads_no_loss_of_the_model():
    class Model(torch.nn.Module):
        def forward(self, x):
            return type("Output", (), {"logits": x})

    batch = {"x": torch.tensor([[1.0], [2.0]]), "labels": torch.tensor([1.0, 4.0], dtype=torch.float64)}
    assert squared_error(Model(), batch).item() == 2


# --- the commands ---


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A price of 50,000, and the mean over words of 900 for each "good" and -600 for each "bad"."""
    folder = tmp_path_factory.mktemp("bag")
    tokenizer = tiny_tokenizer("bert")
    sizes = {"vocab_size": len(tokenizer), "embedding_dim": 1, "ngrams": 1, "num_labels": 1}
    named = {"problem_type": "regression", "id2label": {0: "price"}, "conformal_radius": 200.0}
    model = BagForSequenceClassification(BagConfig(**sizes, **named))
    with torch.no_grad():
        model.embedding.weight.zero_()
        model.embedding.weight[tokenizer.convert_tokens_to_ids("good")] = 3
        model.embedding.weight[tokenizer.convert_tokens_to_ids("bad")] = -2
        model.classifier.weight.fill_(300)
        model.classifier.bias.fill_(50_000)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def test_a_words_influence_is_what_it_does_to_the_number(bag):
    found = influence(bag, "good film")  # [CLS] good film [SEP]
    assert found.logits.tolist() == [50_225]
    np.testing.assert_allclose(found.drops, [225, -75], atol=0.01)
    assert coloured("good film", found, bag.task.faint) == [("good", 1), (" ", None), ("film", -0.333)]
    assert coloured("film", replace(found, words=[(0, 4)], drops=np.zeros(1)), 0.0) == [("film", 0)]
    assert demo._scores(bag, found.logits) == "50,225 (50,025 to 50,425)"


def test_onnx_is_compared_in_parts_of_the_largest_number(bag, tmp_path):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    from hftune.inference.onnx_export import ROWS, table, write_onnx

    texts = [f"{'good ' * (row % 5)}film {'bad ' * (row % 3)}" for row in range(ROWS)]
    comparison = write_onnx(bag, bag.inputs.rows(texts), tmp_path)
    assert comparison.agreement is None
    assert comparison.difference < 1e-6
    assert "same label" not in table(comparison)
    assert table(comparison).endswith(" of the largest")
    assert json.loads((tmp_path / "config.json").read_text())["conformal_radius"] == 200


def test_a_heat_map_is_titled_by_the_number(tmp_path, monkeypatch):
    pytest.importorskip("captum")
    model = ResNet9ForImageClassification(
        ResNet9Config(width=4, num_labels=1, problem_type="regression", id2label={0: "size"})
    )
    with torch.no_grad():
        model.classifier.bias.fill_(8 * 14.5)  # times the scale of its logits
        model.classifier.weight.zero_()
    model.save_pretrained(tmp_path / "run")
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        tmp_path / "run"
    )
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    titles = []
    monkeypatch.setattr(
        "hftune.report.plots.images.draw_overlays", lambda images, heats, told, path: titles.extend(told)
    )
    gradcam.main([str(tmp_path / "run"), str(tmp_path / "a.png"), "--output", str(tmp_path / "b.png")])
    assert titles == ["a.png: 14.50"]
