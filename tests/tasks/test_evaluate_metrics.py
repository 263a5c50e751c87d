import math
import socket

import numpy as np
import pytest

from hftune.errors import BadInput
from hftune.tasks.single_label import SingleLabel
from hftune.training.evaluate import score

evaluate_metrics = pytest.importorskip("hftune.tasks.evaluate_metrics")

CLASS_ID_NAMES = ("accuracy", "precision", "recall", "f1", "mcc")
LOGIT_NAMES = ("roc_auc", "log_loss", "ece")


@pytest.fixture(scope="module")
def sample():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 120)
    logits = random.normal(size=(120, 3))
    logits[np.arange(120), labels] += 1
    names = [*CLASS_ID_NAMES, *LOGIT_NAMES]
    found = score(SingleLabel(("a", "b", "c")), "x", {"logits": logits}, labels, names)
    return logits, labels, dict(zip(names, found.values(), strict=True))


def predictions(name, logits):
    return logits if name in LOGIT_NAMES else logits.argmax(1)


@pytest.mark.parametrize("name", CLASS_ID_NAMES + LOGIT_NAMES)
def test_scores_are_the_counts_however_rows_are_added(name, sample):
    logits, labels, expected = sample
    metric = evaluate_metrics.load(name)
    values = predictions(name, logits)
    metric.add_batch(predictions=values[:50], references=labels[:50])
    metric.add(prediction=values[50].tolist(), reference=int(labels[50]))
    assert len(metric) == 51
    (score,) = metric.compute(predictions=values[51:].tolist(), references=labels[51:].tolist()).values()
    assert score == expected[name]
    assert len(metric) == 0  # starts anew
    assert list(metric.compute(predictions=values, references=labels).values()) == [expected[name]]


def test_two_instances_do_not_share_counts(sample):
    logits, labels, expected = sample
    first, second = evaluate_metrics.load("accuracy"), evaluate_metrics.load("accuracy")
    first.add_batch(predictions=logits.argmax(1), references=labels)
    assert math.isnan(second.compute()["accuracy"])
    assert first.compute() == {"accuracy": expected["accuracy"]}


def test_combine_takes_the_modules(sample):
    import evaluate

    logits, labels, expected = sample
    both = evaluate.combine([evaluate_metrics.load("accuracy"), evaluate_metrics.load("mcc")])
    both.add_batch(predictions=logits.argmax(1), references=labels)
    assert both.compute() == {"accuracy": expected["accuracy"], "matthews_correlation": expected["mcc"]}


def test_class_ids_and_logits_are_told_apart():
    with pytest.raises(ValueError, match="class ids"):
        evaluate_metrics.load("f1").compute(predictions=[[0.1, 0.9]], references=[1])
    with pytest.raises(ValueError, match="class ids"):
        evaluate_metrics.load("f1").compute(predictions=[[0, 1], [1, 0]], references=[1, 0])
    with pytest.raises(ValueError, match="logits"):
        evaluate_metrics.load("roc_auc").compute(predictions=[1, 0], references=[1, 0])
    with pytest.raises(ValueError, match="0 or more"):
        evaluate_metrics.load("f1").compute(predictions=[1, 0], references=[-1, 0])
    with pytest.raises(ValueError, match="2 predictions do not fit 1 references"):
        evaluate_metrics.load("f1").compute(predictions=[1, 0], references=[1])


def test_several_processes_are_refused():
    with pytest.raises(ValueError, match="gather"):
        evaluate_metrics.TaskMetric("accuracy", num_process=2, process_id=0, experiment_id="x")


def test_unknown_name_gets_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'accuracy'"):
        evaluate_metrics.load("acuracy")


def test_no_network_and_no_files(tmp_path, monkeypatch):
    def refuse(*args, **settings):
        raise AssertionError("the network was asked")

    for name in ("getaddrinfo", "create_connection", "socket"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    for name in CLASS_ID_NAMES + LOGIT_NAMES:
        metric = evaluate_metrics.load(name)
        metric.add_batch(predictions=[[0, 1], [1, 0]] if name in LOGIT_NAMES else [1, 0], references=[1, 0])
        assert "stored examples: 2" in repr(metric)
        metric.compute()
    assert not list(tmp_path.iterdir())
