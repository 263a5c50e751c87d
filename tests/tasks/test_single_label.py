"""Scores of one label a row: scikit-learn's numbers, their intervals, and what is said of labels."""

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from hftune.errors import BadInput, NonFiniteError
from hftune.tasks import find_task, intervals, task_of
from hftune.tasks.class_metrics import area_under_roc, rank
from hftune.tasks.single_label import SingleLabel
from hftune.training.evaluate import compare, label_results, score, score_with_intervals
from tests.kinds import another

METRICS = tuple(SingleLabel().metrics)
COUNTED = ("accuracy", "precision", "recall", "f1", "f1_macro", "mcc")


def task_for(classes, pos_label=None):
    return SingleLabel(tuple("abcdefgh"[:classes]), pos_label)


def rows(n, num_labels, address=0):
    random = np.random.default_rng([n, num_labels, address])
    labels = random.integers(0, num_labels, n)
    logits = random.normal(size=(n, num_labels)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return logits, labels


def softmax(logits):
    exponentials = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def scores(logits, labels, names=METRICS, pos_label=None):
    found = score(task_for(logits.shape[1], pos_label), "x", {"logits": logits}, labels, names)
    return dict(zip(names, found.values(), strict=True))


def limits(logits, labels, names=METRICS, pos_label=None):
    task = task_for(logits.shape[1], pos_label)
    found = score_with_intervals(task, "x", {"logits": logits}, labels, names)
    keys = ["x_loss" if name == "log_loss" else f"x_{name}" for name in names]
    return {name: (found[f"{key}_low"], found[f"{key}_high"]) for name, key in zip(names, keys, strict=True)}


def by_scikit_learn(logits, labels):
    predicted, num_labels = logits.argmax(1), logits.shape[1]
    average = {"average": "binary" if num_labels == 2 else "macro", "zero_division": 0}
    scores = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "precision": sk.precision_score(labels, predicted, **average),
        "recall": sk.recall_score(labels, predicted, **average),
        "f1": sk.f1_score(labels, predicted, **average),
        "f1_macro": sk.f1_score(labels, predicted, average="macro", zero_division=0),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "log_loss": sk.log_loss(labels, softmax(logits), labels=range(num_labels)),
        "roc_auc": math.nan,
    }
    if len(set(labels)) == num_labels:
        ranked = logits[:, 1] - logits[:, 0] if num_labels == 2 else softmax(logits)
        scores["roc_auc"] = sk.roc_auc_score(labels, ranked, multi_class="ovr")
    return scores


@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn on the raw rows
@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_scores_are_scikit_learns(num_labels):
    for n in (*range(1, 12), 33, 67):
        logits, labels = rows(n, num_labels)
        expected, found = by_scikit_learn(logits, labels), scores(logits, labels)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_calibration_error_is_that_of_its_definition():
    logits, labels = rows(500, 3)
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert scores(logits, labels, ["ece"])["ece"] == pytest.approx(expected, abs=1e-12)


def test_saturated_softmax_keeps_the_ranking():
    logits = np.array([[0, 60.0], [0, 50], [0, 55], [0, 40]])  # each softmax is (0, 1) in float64
    labels = np.array([1, 0, 1, 0])
    assert scores(logits, labels, ["roc_auc"])["roc_auc"] == 1
    three = np.concatenate([logits, np.full((4, 1), -1e3)], axis=1)
    three = np.concatenate([three, [[0, -1e3, 0]]])
    with np.errstate(divide="raise"):
        found = task_for(3).scored({"logits": three}, np.append(labels, 2), ["roc_auc"])
    assert area_under_roc(found["rank"][:, 1], np.append(labels, 2) == 1) == 1


def test_negative_and_positive_zero_tie():
    assert area_under_roc(rank(np.array([0.0, -0.0])), np.array([True, False])) == 0.5


def test_losses_stay_finite_and_bounded():
    logits, labels = np.array([[1e30, -1e30], [500.0, 0.0]]), np.array([1, 1])
    assert scores(logits, labels, ["log_loss"]) == {"log_loss": 100}
    assert limits(logits, labels, ["log_loss"]) == {"log_loss": (100, 100)}


def test_undefined_scores_are_nan_or_zero_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_class = np.array([[1.0, 0], [2, 0]]), np.array([0, 0])
        found = scores(*one_class)
        assert math.isnan(found["roc_auc"])
        assert (found["accuracy"], found["f1"], found["mcc"]) == (1, 0, 0)
        assert np.isnan(limits(*one_class, ["roc_auc"])["roc_auc"]).all()
        for num_labels in (2, 3):
            nothing = np.zeros((0, num_labels)), np.zeros(0, np.int64)
            assert np.isnan(list(scores(*nothing).values())).all()
            assert np.isnan(list(limits(*nothing).values())).all()


def test_bad_rows_are_refused():
    with pytest.raises(BadInput, match="label 2 cannot be scored: labels are 0 to 1"):
        scores(np.zeros((2, 2)), np.array([0, 2]))
    with pytest.raises(NonFiniteError):
        scores(np.array([[0, math.nan]]), np.array([0]))
    with pytest.raises(ValueError, match="do not fit"):
        score(task_for(2), "x", {"logits": np.zeros((2, 3))}, np.array([0, 1]), METRICS)


def test_unknown_names_get_the_nearest_and_the_list():
    with pytest.raises(BadInput, match="unknown metric 'acuracy': did you mean 'accuracy'") as error:
        SingleLabel().metric("acuracy")
    assert all(name in error.value.message for name in METRICS)
    with pytest.raises(BadInput, match="--task single: did you mean 'single_label'"):
        find_task("single")


def test_direction_of_each_metric():
    falling = [name for name in (*METRICS, "loss") if not SingleLabel().metric(name).greater_is_better]
    assert falling == ["log_loss", "ece", "loss"]


def test_wilson_gives_the_published_numbers():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (correct, n), expected in published.items():
        assert intervals.wilson(correct, n) == pytest.approx(expected, abs=5e-5)


def test_intervals_hold_the_estimate_inside_the_range():
    for num_labels in (2, 3):
        for n in (1, 2, 5, 60):
            found = scores(*rows(n, num_labels))
            for name, (low, high) in limits(*rows(n, num_labels)).items():
                if not math.isnan(low):
                    assert low <= found[name] <= high, (name, n)
                    assert low >= (-1 if name == "mcc" else 0)
                    assert high <= (math.inf if name == "log_loss" else 1)


@pytest.mark.parametrize(
    ("name", "separation", "least"),
    [("accuracy", 1.0, 0.92), ("f1", 1.0, 0.90), another("roc_auc", 2.5, 0.90)],
)
def test_intervals_cover_the_truth_nineteen_times_in_twenty(name, separation, least):
    random = np.random.default_rng(7)

    def sample(n):
        labels = (random.random(n) < 0.35).astype(int)
        score = random.normal(size=n) + separation * (labels - 0.5)
        return np.stack([-score / 2, score / 2], axis=1), labels

    truth = scores(*sample(1_000_000), [name])[name]
    found = np.array([limits(*sample(200), [name])[name] for _ in range(60)])
    share = ((found[:, 0] <= truth) & (truth <= found[:, 1])).mean()
    assert least <= share <= 0.99


def test_bootstrap_of_the_log_loss_is_near_the_normal_interval():
    logits, labels = rows(300, 3)
    loss = -np.log(softmax(logits)[np.arange(300), labels])
    half = 1.959964 * loss.std(ddof=1) / math.sqrt(300)
    found = limits(logits, labels, ["log_loss"])["log_loss"]
    assert found == pytest.approx((loss.mean() - half, loss.mean() + half), abs=0.01)


def test_intervals_are_the_same_every_time_and_alone():
    logits, labels = rows(80, 3)
    assert limits(logits, labels) == limits(logits, labels)
    assert limits(logits, labels, ["mcc"])["mcc"] == limits(logits, labels)["mcc"]


def test_difference_of_shares_holds_the_difference_and_mirrors():
    random = np.random.default_rng(0)
    a, b = random.random(2000) < 0.9, random.random(2000) < 0.8
    difference, low, high = intervals.difference_of_shares(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    plain = 1.959964 * (a.astype(int) - b).std() / math.sqrt(2000)
    assert (low, high) == pytest.approx((difference - plain, difference + plain), abs=5e-4)
    assert intervals.difference_of_shares(b, a) == pytest.approx((-difference, -high, -low))
    same = intervals.difference_of_shares(a[:10], a[:10])
    assert same[0] == 0
    assert same[1] < 0 < same[2]


def test_any_metric_of_two_models_can_be_compared():
    (logits, labels), (others, _) = rows(400, 3), rows(400, 3, 1)
    task = task_for(3)
    first, second = (task.scored({"logits": one}, labels, ["mcc"]) for one in (logits, others))
    difference, low, high = intervals.paired_difference(task.metric("mcc"), first, second, labels)
    assert difference == pytest.approx(
        scores(logits, labels, ["mcc"])["mcc"] - scores(others, labels, ["mcc"])["mcc"]
    )
    assert low <= difference <= high
    found = compare(task, "tfidf", {"logits": logits}, {"logits": others}, labels)
    expected = intervals.difference_of_shares(logits.argmax(1) == labels, others.argmax(1) == labels)
    assert tuple(found.values()) == expected
    assert next(iter(found)) == "test_accuracy_over_tfidf"


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_the_class_that_binary_scores_are_of_can_be_chosen(name):
    random = np.random.default_rng(3)
    logits, labels = random.normal(size=(60, 2)), random.integers(0, 2, 60)
    scorer = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}[name]
    for positive in (0, 1):
        expected = scorer(labels, logits.argmax(1), pos_label=positive)
        assert scores(logits, labels, [name], "ab"[positive])[name] == pytest.approx(expected, abs=1e-15)
        low, high = limits(logits, labels, [name], "ab"[positive])[name]
        assert low < expected < high


def test_a_positive_class_that_is_none_is_refused_with_the_classes():
    assert SingleLabel(("ham", "spam")).positive == 1
    assert SingleLabel(("ham", "spam"), "ham").positive == 0
    with pytest.raises(BadInput, match="--pos_label Ham: no such class; the classes are ham, spam"):
        SingleLabel(("ham", "spam"), "Ham")
    with pytest.raises(BadInput, match="scores of 3 classes are means over all"):
        SingleLabel(("a", "b", "c"), "a")


def test_every_class_has_its_scores_by_name():
    def results(confusion, labels):
        sides = np.indices(confusion.shape).reshape(2, -1)
        true, predicted = (np.repeat(side, confusion.ravel()) for side in sides)
        task = SingleLabel(tuple(labels))
        return label_results("test", task.label_scores({"logits": np.eye(len(labels))[predicted]}, true))

    found = results(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["a b", "c", "d"])
    assert found["test_class_a b_precision"] == 1
    assert found["test_class_a b_recall"] == 0.75
    assert found["test_class_c_f1"] == pytest.approx(0.8)
    assert [found[f"test_class_{name}_support"] for name in ("a b", "c", "d")] == [4, 2, 0]
    assert math.isnan(found["test_class_d_recall"])
    assert results(np.array([[3, 0], [2, 0]]), ["a", "b"])["test_class_b_precision"] == 0
    assert results(np.eye(101, dtype=int), [str(n) for n in range(101)]) == {}


def test_one_answer_for_all_rows_is_noticed():
    task = task_for(2)
    assert task.only_answer({"logits": np.eye(2)[[1, 1, 1]]}) == 1
    assert task.only_answer({"logits": np.eye(2)[[1, 0, 1]]}) is None
    assert task.only_answer({"logits": np.eye(2)[[1]]}) is None  # one row has no other way


def test_a_saved_model_finds_its_task():
    from transformers import BertConfig, TimmWrapperConfig

    for kind in (TimmWrapperConfig, BertConfig):
        for names in (("LABEL_0", "LABEL_1"), ("b", "a", "c")):  # transformers leaves the first ones out
            config = kind(id2label=dict(enumerate(names)), architecture="resnet18")
            assert task_of(config.to_diff_dict()) == SingleLabel(names)


def test_an_answer_has_the_most_probable_first():
    task, predictions = task_for(3), {"logits": np.log(np.array([[0.2, 0.5, 0.3]]))}
    assert task.answer(predictions, 0) == {
        "label": "b",
        "score": 0.5,
        "scores": {"b": 0.5, "c": 0.3, "a": 0.2},
    }
    assert list(task.answer(predictions, 0, top_k=1)["scores"]) == ["b"]
    assert dict(task.columns(predictions, np.array([2]))) == {
        "label": ["c"],
        "prediction": ["b"],
        "a": ["0.200000"],
        "b": ["0.500000"],
        "c": ["0.300000"],
    }


def test_baselines_are_finite_where_a_class_or_all_others_are_absent():
    class Simple:
        name = "simple"

        def features(self):
            return np.eye(4), np.eye(4)[:2]

        def estimator(self):
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression()

    for targets in ([0, 2, 0, 2], [1, 1, 1, 1]):
        found = task_for(3).baselines(np.array(targets), 2, Simple())
        assert list(found) == ["majority", "simple"]
        for one in found.values():
            assert np.isfinite(one["logits"]).all()
            assert np.exp(one["logits"]).sum(1) == pytest.approx([1, 1])
    assert list(task_for(3).baselines(np.array([0, 1]), 5, None)) == ["majority"]
