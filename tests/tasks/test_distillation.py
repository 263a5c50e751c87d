import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from transformers import AutoModelForSequenceClassification

from hftune.data.taught import TEACHER, UNLABELED
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks.distillation import soft_losses
from hftune.tasks.multi_label import MultiLabel
from hftune.tasks.regression import Regression
from hftune.tasks.single_label import SingleLabel
from tests.tiny import tiny_model

LABELS = ("bad", "fair", "good")
TARGETS = np.array([0, 1, 2, 2])  # of the training rows, for class weights


@pytest.fixture
def batch():
    """Five rows, of which the second and the last have no label."""
    random = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.randint(5, 20, (5, 7), generator=random),
        "attention_mask": torch.ones(5, 7, dtype=torch.int64),
        "labels": torch.tensor([2, UNLABELED, 0, 1, UNLABELED]),
        TEACHER: 3 * torch.randn(5, 3, generator=random),
    }


@pytest.fixture(scope="module")
def model() -> AutoModelForSequenceClassification:
    return tiny_model("bert", num_labels=3)


def loss_of(**changes):
    settings = TextSettings(teacher="runs/teacher", task="single_label", **changes)
    return SingleLabel(LABELS).loss(settings, TARGETS)


def logits_of(model, batch) -> np.ndarray:
    with torch.no_grad():
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return out.logits.double().numpy()


def test_the_loss_is_that_of_hinton_and_others(model, batch):
    """Weighted: T^2 KL(teacher || student) of softened answers, and the cross-entropy of labelled rows."""
    found = loss_of(distillation_temperature=3.0, distillation_alpha=0.7)(model, batch).item()
    logits, taught = logits_of(model, batch), batch[TEACHER].double().numpy()
    p, log_p, log_q = softmax(taught / 3, 1), log_softmax(taught / 3, 1), log_softmax(logits / 3, 1)
    soft = 9 * (p * (log_p - log_q)).sum(1)
    own = np.zeros(5)
    for row in (0, 2, 3):
        own[row] = -log_softmax(logits, 1)[row, batch["labels"][row]]
    assert found == pytest.approx((0.7 * soft + 0.3 * own).mean(), rel=1e-5)


def test_the_gradient_hardly_depends_on_a_high_temperature():
    """For which its square is there: of high ones the gradient is (z - v) / C, of logits with mean 0."""
    taught = torch.tensor([[1.0, -2.0, 0.5]])
    for temperature in (50.0, 500.0):
        logits = torch.tensor([[0.3, 0.4, -0.7]], requires_grad=True)
        soft_losses(logits, taught, temperature).sum().backward()
        expected = (logits.detach() - (taught - taught.mean())) / 3
        torch.testing.assert_close(logits.grad, expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("changes", [{}, {"class_weight": "1,2,3", "label_smoothing_factor": 0.1}], ids=str)
def test_without_a_weight_the_teacher_changes_nothing(model, batch, changes):
    batch["labels"] = torch.tensor([2, 1, 0, 1, 0])
    plain = SingleLabel(LABELS).loss(TextSettings(task="single_label", **changes), TARGETS)
    expected = plain(model, {name: of for name, of in batch.items() if name != TEACHER}).item()
    assert loss_of(distillation_alpha=0, **changes)(model, batch).item() == pytest.approx(expected, rel=1e-6)


def test_micro_batches_add_up_whatever_labels_they_have(model, batch):
    loss, whole = loss_of(class_weight="1,2,3", label_smoothing_factor=0.2), 0.0
    for rows in ([0], [1], [2, 3], [4]):
        part = {name: of[rows] for name, of in batch.items()}
        whole += loss(model, part).item() * len(rows) / 5
    assert whole == pytest.approx(loss(model, batch).item(), rel=1e-5)


@pytest.mark.parametrize("task", [MultiLabel(LABELS), Regression(("stars",))], ids=["several", "number"])
def test_other_tasks_have_no_teacher(task):
    settings = TextSettings(teacher="runs/teacher", task="multi_label")
    with pytest.raises(BadInput, match="--teacher: not for --task multi_label"):
        task.loss(settings, np.zeros((4, 3), np.float32))
