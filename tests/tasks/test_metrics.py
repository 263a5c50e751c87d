import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from hftune.errors import BadInput, NonFiniteError
from hftune.tasks import intervals
from hftune.tasks.metrics import (
    METRICS,
    ClassificationCounts,
    check_metrics,
    class_results,
    greater_is_better,
    known_metrics,
    only_answer,
    positive_class,
    score_confusion,
)

COUNTED = ("accuracy", "precision", "recall", "f1", "f1_macro", "mcc")


def rows(n, num_labels, address=0):
    random = np.random.default_rng([n, num_labels, address])
    labels = random.integers(0, num_labels, n)
    logits = random.normal(size=(n, num_labels)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return logits, labels


def softmax(logits):
    exponentials = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def counted(logits, labels, names=METRICS):
    counts = ClassificationCounts(logits.shape[1], names)
    counts.update(logits, labels)
    return counts


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
def test_scores_are_scikit_learns_of_the_raw_rows(num_labels):
    for n in range(1, 68):
        logits, labels = rows(n, num_labels)
        expected = by_scikit_learn(logits, labels)
        found = counted(logits, labels).compute(METRICS)
        assert {name: found[name] for name in COUNTED} == {name: expected[name] for name in COUNTED}
        for name in ("log_loss", "roc_auc"):
            assert found[name] == pytest.approx(expected[name], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_counts_do_not_depend_on_the_batches(num_labels):
    for n in range(1, 68):
        logits, labels = rows(n, num_labels)
        whole = counted(logits, labels).state()
        for parts in (2, 3):
            counts = ClassificationCounts(num_labels)
            for part in np.array_split(np.arange(n), parts):
                counts.update(logits[part], labels[part])
            assert {name: part.tolist() for name, part in counts.state().items()} == {
                name: part.tolist() for name, part in whole.items()
            }


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4), st.integers(0, 40), st.randoms(use_true_random=False), st.integers(1, 4))
def test_bits_do_not_depend_on_order_split_or_processes(num_labels, n, shuffler, processes):
    logits, labels = rows(n, num_labels)
    order = list(range(n))
    shuffler.shuffle(order)
    ranks = [ClassificationCounts(num_labels) for _ in range(processes)]
    for position, row in enumerate(order):
        ranks[position % processes].update(logits[row : row + 1], labels[row : row + 1])
    merged = ClassificationCounts.from_state(ranks[0].state())
    for rank in ranks[1:]:
        merged.merge(rank)
    whole = counted(logits, labels)
    assert merged.state().keys() == whole.state().keys()
    for name, part in whole.state().items():
        assert part.dtype == np.int64
        np.testing.assert_array_equal(merged.state()[name], part)
    assert repr(merged.compute(METRICS)) == repr(whole.compute(METRICS))
    assert repr(merged.intervals(METRICS)) == repr(whole.intervals(METRICS))


def test_a_state_is_a_copy():
    counts = counted(*rows(9, 2))
    before = counts.state()
    counts.update(*rows(5, 2))
    assert before["confusion"].sum() == 9


def test_compressed_counts_equal_many_raw_rows():
    confusion = np.array([[50, 3, 0], [7, 20, 1], [0, 0, 0]])
    labels, predicted = (np.repeat(side, confusion.ravel()) for side in np.divmod(np.arange(9), 3))
    assert score_confusion(confusion, "f1") == sk.f1_score(
        labels, predicted, average="macro", zero_division=0
    )
    assert score_confusion(confusion, "accuracy") == sk.accuracy_score(labels, predicted)


def test_calibration_error_is_that_of_its_definition():
    logits, labels = rows(500, 3)
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert counted(logits, labels).compute(["ece"])["ece"] == pytest.approx(expected, abs=1e-12)


def test_saturated_softmax_keeps_the_ranking():
    logits = np.array([[0, 60.0], [0, 50], [0, 55], [0, 40]])  # each softmax is (0, 1) in float64
    labels = np.array([1, 0, 1, 0])
    assert counted(logits, labels).compute(["roc_auc"])["roc_auc"] == 1
    three = np.concatenate([logits, np.full((4, 1), -1e3)], axis=1)
    three = np.concatenate([three, [[0, -1e3, 0]]])
    with np.errstate(divide="raise"):
        assert counted(three, np.append(labels, 2)).rankings[1].auc() == 1


def test_losses_stay_finite_and_bounded():
    counts = counted(np.array([[1e30, -1e30], [500.0, 0.0]]), np.array([1, 1]))
    assert counts.compute(["log_loss"]) == {"log_loss": 100}
    assert counts.intervals(["log_loss"]) == {"log_loss": (100, 100)}


def test_sums_do_not_overflow_after_a_hundred_million_rows():
    state = counted(np.array([[0, 1e3], [0, 1e3]]), np.array([0, 0])).state()  # the greatest loss there is
    million = {
        name: part * 50_000_000 if name in ("confusion", "nll", "bins") else part
        for name, part in state.items()
    }
    counts = ClassificationCounts.from_state(million)
    assert counts.compute(["log_loss"]) == {"log_loss": 100}
    assert counts.intervals(["log_loss"])["log_loss"] == pytest.approx((100, 100), abs=1e-3)


def test_undefined_scores_are_nan_or_zero_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_class = counted(np.array([[1.0, 0], [2, 0]]), np.array([0, 0]))
        scores = one_class.compute(METRICS)
        assert math.isnan(scores["roc_auc"])
        assert (scores["accuracy"], scores["f1"], scores["mcc"]) == (1, 0, 0)
        assert np.isnan(one_class.intervals(["roc_auc"])["roc_auc"]).all()
        for num_labels in (2, 3):
            nothing = ClassificationCounts(num_labels)
            assert np.isnan(list(nothing.compute(METRICS).values())).all()
            assert np.isnan(list(nothing.intervals(METRICS).values())).all()


def test_bad_rows_are_refused_and_leave_no_trace():
    counts = ClassificationCounts(2)
    with pytest.raises(BadInput, match="label 2 cannot be scored: labels are 0 to 1"):
        counts.update(np.zeros((2, 2)), np.array([0, 2]))
    with pytest.raises(NonFiniteError):
        counts.update(np.array([[0, math.nan]]), np.array([0]))
    with pytest.raises(ValueError, match="do not fit"):
        counts.update(np.zeros((2, 3)), np.array([0, 1]))
    assert not counts.confusion.any()


def test_ranking_is_kept_only_if_asked_for():
    counts = counted(*rows(20, 3), names=["accuracy"])
    assert not any(name.startswith("ranking") for name in counts.state())
    with pytest.raises(ValueError, match="without roc_auc"):
        counts.compute(["roc_auc"])
    with pytest.raises(ValueError, match="cannot be added"):
        counts.merge(counted(*rows(20, 3)))


def test_unknown_names_get_the_nearest_and_the_list():
    with pytest.raises(BadInput, match="unknown metric 'acuracy': did you mean 'accuracy'") as error:
        check_metrics(["f1", "acuracy"])
    assert all(name in error.value.message for name in known_metrics())
    with pytest.raises(BadInput):
        ClassificationCounts(2, ["f2"])
    with pytest.raises(BadInput):
        greater_is_better("rocauc")


def test_direction_of_each_metric():
    assert [name for name in (*METRICS, "loss") if not greater_is_better(name)] == ["log_loss", "ece", "loss"]


@pytest.mark.parametrize("num_labels", [2, 4])
def test_bootstrap_formulas_are_scikit_learns(num_labels):
    random = np.random.default_rng(num_labels)
    for _ in range(50):
        confusion = random.integers(0, 4, (num_labels, num_labels)) * random.integers(0, 2, (num_labels, 1))
        confusion[0, 0] += 1
        margins = (part[None] for part in (confusion.diagonal(), confusion.sum(1), confusion.sum(0)))
        for name, (score,) in intervals.confusion_scores(*margins).items():
            assert score == pytest.approx(score_confusion(confusion, name), abs=1e-12), name


def test_resampling_in_chunks_still_makes_all_draws(monkeypatch):
    confusion = np.array([[40, 10], [5, 45]])
    whole = intervals.confusion(confusion)
    monkeypatch.setattr(intervals, "CELLS_AT_ONCE", 600)
    assert intervals.confusion(confusion) == whole


def test_wilson_gives_the_published_numbers():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (correct, n), limits in published.items():
        assert intervals.wilson(correct, n) == pytest.approx(limits, abs=5e-5)


def test_intervals_hold_the_estimate_inside_the_range():
    for num_labels in (2, 3):
        for n in (1, 2, 5, 60, 2000):
            counts = counted(*rows(n, num_labels))
            scores = counts.compute(METRICS)
            for name, (low, high) in counts.intervals(METRICS).items():
                if not math.isnan(low):
                    assert low <= scores[name] <= high, (name, n)
                    assert low >= (-1 if name == "mcc" else 0)
                    assert high <= (math.inf if name == "log_loss" else 1)


@pytest.mark.parametrize(
    ("name", "separation", "least"), [("accuracy", 1.0, 0.92), ("f1", 1.0, 0.90), ("roc_auc", 2.5, 0.91)]
)
def test_intervals_cover_the_truth_nineteen_times_in_twenty(name, separation, least):
    random = np.random.default_rng(7)

    def sample(n):
        labels = (random.random(n) < 0.35).astype(int)
        score = random.normal(size=n) + separation * (labels - 0.5)
        return counted(np.stack([-score / 2, score / 2], axis=1), labels, [name])

    truth = sample(1_000_000).compute([name])[name]
    limits = np.array([sample(200).intervals([name])[name] for _ in range(300)])
    share = ((limits[:, 0] <= truth) & (truth <= limits[:, 1])).mean()
    assert least <= share <= 0.99


def test_log_loss_interval_is_the_normal_one_of_the_rows():
    logits, labels = rows(300, 3)
    loss = -np.log(softmax(logits)[np.arange(300), labels])
    half = 1.959964 * loss.std(ddof=1) / math.sqrt(300)
    found = counted(logits, labels).intervals(["log_loss"])["log_loss"]
    assert found == pytest.approx((loss.mean() - half, loss.mean() + half), abs=1e-7)


def test_calibration_interval_of_calibrated_and_overconfident_rows():
    random = np.random.default_rng(3)
    score = random.normal(0, 2, 1000)
    labels = (random.random(1000) < 1 / (1 + np.exp(-score))).astype(int)
    logits = np.stack([np.zeros(1000), score], axis=1)
    assert counted(logits, labels).intervals(["ece"])["ece"][0] == 0
    assert counted(3 * logits, labels).intervals(["ece"])["ece"][0] > 0.05


def test_perfect_ranking_keeps_a_width():
    low, high = intervals.ranking(1.0, 20, 10)
    assert 0.7 < low < 0.95
    assert high == 1
    mirrored = intervals.ranking(0.0, 20, 10)
    assert mirrored == pytest.approx((0, 1 - low), abs=1e-9)


def test_mcnemar_is_exact_and_knows_ties():
    a = np.array([True] * 8 + [False] * 2 + [True] * 90)
    b = np.array([False] * 8 + [True] * 2 + [True] * 90)
    assert intervals.mcnemar(a, b) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert intervals.mcnemar(a, b) == intervals.mcnemar(b, a)
    assert intervals.mcnemar(a, a) == 1


def test_paired_difference_holds_the_difference_and_mirrors():
    random = np.random.default_rng(0)
    a, b = random.random(2000) < 0.9, random.random(2000) < 0.8
    difference, low, high = intervals.paired_difference(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    plain = 1.959964 * (a.astype(int) - b).std() / math.sqrt(2000)
    assert (low, high) == pytest.approx((difference - plain, difference + plain), abs=5e-4)
    assert intervals.paired_difference(b, a) == pytest.approx((-difference, -high, -low))
    same = intervals.paired_difference(a[:10], a[:10])
    assert same[0] == 0
    assert same[1] < 0 < same[2]


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_the_class_that_binary_scores_are_of_can_be_chosen(name):
    random = np.random.default_rng(3)
    logits, labels = random.normal(size=(60, 2)), random.integers(0, 2, 60)
    scorer = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}[name]
    for positive in (0, 1):
        counts = ClassificationCounts(2, [name], positive)
        counts.update(logits, labels)
        expected = scorer(labels, logits.argmax(1), pos_label=positive)
        assert counts.compute([name])[name] == expected
        low, high = counts.intervals([name])[name]
        assert low < expected < high


def test_a_positive_class_that_is_none_is_refused_with_the_classes():
    assert positive_class(["ham", "spam"], None) == 1
    assert positive_class(["ham", "spam"], "ham") == 0
    with pytest.raises(BadInput, match="--pos_label Ham: no such class; the classes are ham, spam"):
        positive_class(["ham", "spam"], "Ham")
    with pytest.raises(BadInput, match="scores of 3 classes are means over all"):
        positive_class(["a", "b", "c"], "a")


def test_every_class_has_its_scores_by_name():
    found = class_results("test", np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["a b", "c", "d"])
    assert found["test_class_a b_precision"] == 1
    assert found["test_class_a b_recall"] == 0.75
    assert found["test_class_c_f1"] == pytest.approx(0.8)
    assert [found[f"test_class_{name}_support"] for name in ("a b", "c", "d")] == [4, 2, 0]
    assert math.isnan(found["test_class_d_recall"])
    assert class_results("test", np.array([[3, 0], [2, 0]]), ["a", "b"])["test_class_b_precision"] == 0
    assert class_results("test", np.eye(101, dtype=int), [str(n) for n in range(101)]) == {}


def test_one_answer_for_all_rows_is_noticed():
    assert only_answer(np.array([[0, 3], [0, 2]])) == 1
    assert only_answer(np.array([[1, 3], [0, 2]])) is None
    assert only_answer(np.array([[0, 1], [0, 0]])) is None  # one row has no other way
