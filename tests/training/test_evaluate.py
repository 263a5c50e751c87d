"""Predictions in the data's order, whatever the batches and the processes, and the scores of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from hftune.data.text.tokenize import TextCollator
from hftune.tasks.single_label import SingleLabel
from hftune.training import evaluate as scoring
from tests.tiny import tiny_model

N, CLASSES = 41, 3
TASK = SingleLabel(("a", "b", "c"))
CPU = torch.device("cpu")


def process(index: int, of: int) -> SimpleNamespace:
    """The part of an Accelerator that scoring uses."""
    return SimpleNamespace(
        process_index=index, num_processes=of, device=CPU, unwrap_model=lambda model: model
    )


ALONE = process(0, 1)


class Rows(torch.utils.data.Dataset):
    """Texts of random ids, of all lengths, in no order."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.lengths = random.integers(1, 30, N)
        self.targets = random.integers(0, CLASSES, N)
        self.ids = [random.integers(5, 50, length) for length in self.lengths]

    def __len__(self):
        return N

    def __getitem__(self, row):
        return {"input_ids": self.ids[row], "label": int(self.targets[row])}


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows()


@pytest.fixture(scope="module")
def model():
    return tiny_model("bert", num_labels=CLASSES)


@pytest.fixture(scope="module")
def one_by_one(model, rows) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([model(torch.tensor(ids)[None]).logits.numpy() for ids in rows.ids])


def predict(model, rows, accelerator=ALONE, rows_per_batch=16, **options) -> np.ndarray:
    collate = TextCollator(0)
    found = scoring.predict(TASK, model, rows, collate, accelerator, rows_per_batch=rows_per_batch, **options)
    return found["logits"]


@pytest.mark.parametrize("rows_per_batch", [1, 3, 64])
def test_predictions_stand_in_the_datas_order(model, rows, one_by_one, rows_per_batch):
    logits = predict(model.train(), rows, rows_per_batch=rows_per_batch)
    assert logits.dtype == np.float32
    assert np.ptp(one_by_one, axis=0).min() > 0.01  # the rows do differ
    np.testing.assert_allclose(logits, one_by_one, atol=1e-5)


def test_workers_change_nothing(model, rows):
    assert np.array_equal(predict(model, rows, workers=2), predict(model, rows))


@pytest.mark.parametrize("rows_per_batch", [1, 3, 64])
def test_scores_are_those_of_the_predictions(model, rows, one_by_one, rows_per_batch):
    predictions = {"logits": predict(model, rows, rows_per_batch=rows_per_batch)}
    found = scoring.score(TASK, "eval", predictions, rows.targets, ["accuracy", "f1", "log_loss"])
    answers = one_by_one.argmax(1)
    assert found["eval_accuracy"] == accuracy_score(rows.targets, answers)
    assert found["eval_f1"] == pytest.approx(f1_score(rows.targets, answers, average="macro"))
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(one_by_one), torch.from_numpy(rows.targets))
    assert found["eval_loss"] == pytest.approx(float(loss), abs=1e-5)


def in_two_processes(monkeypatch, function):
    """Runs a function as process 0 and then as process 1, and gives it what both have gathered."""
    shares = []

    def gather(share):
        shares.append(share)
        return [item for share in shares for item in share]

    monkeypatch.setattr(scoring, "gather_object", gather)
    answers = [function(process(index, 2)) for index in (0, 1)]
    return answers[1], shares


@pytest.mark.parametrize("rows_per_batch", [3, 64])  # 64: the second process has nothing to do
def test_two_processes_share_the_batches_and_agree_to_the_bit(monkeypatch, model, rows, rows_per_batch):
    alone = predict(model, rows, rows_per_batch=rows_per_batch)
    together, shares = in_two_processes(monkeypatch, lambda us: predict(model, rows, us, rows_per_batch))
    assert np.array_equal(together, alone)
    assert sum(len(ids) for share in shares for ids, _ in share) == N  # no row twice


def test_scoring_leaves_no_inference_mode_and_no_randomness_behind(model, rows):
    before = torch.get_rng_state()
    predict(model, rows)
    assert not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_no_rows_have_no_predictions(model):
    assert predict(model, []).shape == (0, CLASSES)
