import math

import numpy as np
import pytest
import torch

from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks import possible_tasks, task_of
from hftune.tasks.intervals import intervals
from hftune.tasks.masked_lm import MaskedLM, masked_loss
from hftune.training.evaluate import score
from tests.models.test_masked_logits import some_batch, tiny_masked_lm


def test_scores_by_hand():
    """Two rows of 1 and 3 masked tokens: the mean is over tokens, not over rows."""
    found = {"nll": np.array([2.0, 3.0]), "hits": np.array([0, 2])}
    scores = score(MaskedLM(), "eval", found, np.array([1, 3]), ["perplexity", "mlm_accuracy", "log_loss"])
    assert scores == {"eval_perplexity": math.exp(1.25), "eval_mlm_accuracy": 0.5, "eval_loss": 1.25}
    none = score(MaskedLM(), "eval", MaskedLM().nothing(), np.zeros(0), ["perplexity"])
    assert math.isnan(none["eval_perplexity"])


def test_rows_keep_sums_and_no_logits():
    model, batch = tiny_masked_lm("bert"), some_batch()
    whole = model(**batch)
    labels = batch["labels"]
    counts = (labels >= 0).sum(1).numpy()
    with torch.inference_mode():
        loss = masked_loss(model, batch).item()
        found = MaskedLM().predict_rows(model, dict(batch), counts)
    assert found["nll"].shape == found["hits"].shape == (3,)
    assert found["nll"].sum() / counts.sum() == pytest.approx(loss, abs=1e-5)
    of_rows = torch.nn.functional.cross_entropy(whole.logits.transpose(1, 2), labels, reduction="none").sum(1)
    assert found["nll"] == pytest.approx(of_rows.tolist(), abs=1e-4)
    right = (whole.logits.argmax(2) == labels).sum(1)
    assert found["hits"].tolist() == right.tolist()


@pytest.mark.usefixtures("device_without_float64")
def test_a_device_without_float64_predicts():
    batch = some_batch()
    with torch.inference_mode():
        found = MaskedLM().predict_rows(tiny_masked_lm("bert"), batch, (batch["labels"] >= 0).sum(1).numpy())
    assert found["nll"].dtype == np.float64


def test_intervals_are_drawn_over_rows():
    task, random = MaskedLM(), np.random.default_rng(0)
    counts = random.integers(1, 20, 200)
    found = {"nll": counts * random.normal(3, 0.5, 200), "hits": random.binomial(counts, 0.3)}
    values = {name: metric.compute(found, counts) for name, metric in task.metrics.items()}
    limits = intervals(task.metrics, found, counts, values)
    for name, (low, high) in limits.items():
        assert low < values[name] < high
    assert limits["perplexity"] == pytest.approx(tuple(map(math.exp, limits["log_loss"])))


def test_a_table_of_predictions_is_read_back():
    found, counts = {"nll": np.array([2.5, 3.25]), "hits": np.array([0, 2])}, np.array([1, 3])
    columns = [[str(cell) for cell in cells] for _, cells in MaskedLM().columns(found, counts)]
    again, targets = MaskedLM().read_columns(columns)
    assert targets.tolist() == [1, 3]
    assert again["nll"] == pytest.approx(found["nll"], abs=1e-8)
    assert again["hits"].tolist() == [0, 2]


def test_a_saved_model_finds_its_task():
    task = task_of({"architectures": ["RobertaForMaskedLM"], "mask_token": "<mask>"})
    assert task == MaskedLM(mask="<mask>")
    assert "<mask>" in task.use("text").arguments


def test_a_recipe_with_labels_refuses_it():
    with pytest.raises(BadInput, match="--task masked_lm: this recipe reads labels"):
        possible_tasks(TextSettings(task="masked_lm"))
