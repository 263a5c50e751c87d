"""Where a number went wrong: the module, the weights, the gradient, the rows."""

import copy
import os

import pytest
import torch

from hftune.errors import NonFiniteError
from hftune.storage.checkpoint import list_checkpoints
from hftune.tasks.base import model_loss
from hftune.tasks.single_label import SingleLabel
from hftune.training.nonfinite import first_non_finite_module, non_finite
from proofs.jobs import PATIENCE, Group, make_jobs
from tests.tiny import tiny_model

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def pristine():
    return tiny_model("bert", num_labels=2)


@pytest.fixture
def model(pristine):
    return copy.deepcopy(pristine)


BATCH = {"input_ids": torch.tensor([[2, 9, 3], [2, 11, 3]]), "labels": torch.tensor([0, 1])}


def spoil(model, name: str, value: float) -> None:
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] = value


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize(
    "module",
    [
        "bert.embeddings.LayerNorm",
        "bert.encoder.layer.0.attention.self.value",
        "bert.encoder.layer.1.output.dense",
        "classifier",
    ],
)
def test_the_first_module_is_named(model, module, value):
    assert first_non_finite_module(model, model_loss, BATCH) is None
    spoil(model, f"{module}.bias", value)
    assert first_non_finite_module(model, model_loss, BATCH) == module


def test_no_hook_stays_behind(model):
    def broken_loss(model, batch):
        model(**batch)
        raise RuntimeError("broken")

    first_non_finite_module(model, model_loss, BATCH)
    with pytest.raises(RuntimeError, match="broken"):
        first_non_finite_module(model, broken_loss, BATCH)
    assert not any(module._forward_hooks for module in model.modules())


def explain(model, batches=(BATCH,), loss=model_loss, rows=(17, 4)) -> NonFiniteError:
    values = {"loss": NAN, "gradient norm": 0.123456, "learning rate": 1e-4}
    return non_finite(model, loss, list(batches), step=12, values=values, rows=list(rows))


def test_a_bad_weight_is_named_with_step_values_and_rows(model):
    spoil(model, "bert.encoder.layer.1.attention.self.query.weight", NAN)
    error = explain(model)
    assert error.exit_code == 3
    assert "step 12" in error.message
    assert "loss nan, gradient norm 0.1235, learning rate 0.0001" in error.message
    assert error.details == [
        "training rows 17, 4",
        "weights that are not finite: bert.encoder.layer.1.attention.self.query.weight",
        "first module with an output that is not finite: bert.encoder.layer.1.attention.self.query",
        "try a lower --learning_rate, a smaller --max_grad_norm, or --bf16 false --fp16 false",
    ]


def test_only_the_bad_micro_batch_shows_it(model):
    """The word of one row is spoilt; the micro-batch without it is fine."""
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[11] = INF
    good, bad = ({name: tensor[i : i + 1] for name, tensor in BATCH.items()} for i in (0, 1))
    assert first_non_finite_module(model, model_loss, good) is None
    details = explain(model, [good, bad]).details
    assert "first module with an output that is not finite: bert.embeddings.word_embeddings" in details


def test_a_gradient_alone_is_named(model):
    model(**BATCH).loss.backward()
    model.classifier.weight.grad[0, 0] = INF
    details = explain(model).details
    assert "every output is finite, but not the gradient of classifier.weight" in details
    assert not any("weights" in line or "module" in line for line in details)


def test_many_rows_are_cut_short(model):
    first = explain(model, rows=range(100, 150)).details[0]
    assert first.startswith("training rows 100, 101,")
    assert first.endswith("119 ...")


def spoil_the_second_process() -> None:
    """Makes the third loss of process 1 NaN, in whatever process this is called."""
    choose_loss = SingleLabel.loss

    def choose(self, settings, targets):
        loss, calls = choose_loss(self, settings, targets), []

        def spoiled(model, batch):
            calls.append(batch)
            bad = os.environ["RANK"] == "1" and len(calls) == 3
            return loss(model, batch) * (float("nan") if bad else 1.0)

        return spoiled

    SingleLabel.loss = choose


def test_a_nan_in_one_of_two_processes_ends_both_in_that_step(tmp_path):
    job = make_jobs(tmp_path / "data")["textcnn"].but(gradient_accumulation_steps=2, save_steps=1)
    with Group(job, tmp_path / "run", 2, spoil_the_second_process) as group:
        assert group.wait(PATIENCE)
        assert group.codes == [3, 3], group.text()
    first, second = group.text().split("error: ")[1:]
    told = "training stopped at step 2"
    if first.startswith("process 1: "):
        first, second = second, first
    assert first.startswith(told)
    assert "training rows" not in first
    assert "the loss of this process's rows is finite: another names the rows" in first
    assert second.startswith(f"process 1: {told}")
    assert "training rows" in second
    assert list_checkpoints(tmp_path / "run") == [1]
