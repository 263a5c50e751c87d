"""Float32 is float32, operations are deterministic on request, and neither outlives a run."""

import os

import pytest
import torch
from accelerate.state import AcceleratorState

from hftune.errors import BadInput
from hftune.inference.load import one_accelerator
from hftune.runtime.exit import explain
from hftune.runtime.kernels import choose_kernels, kept_kernels

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
CUDNN, MATMUL = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # so that what the code sets is undone
    monkeypatch.delenv(VARIABLE)
    with kept_kernels():
        yield


def chosen() -> dict[str, object]:
    return {
        "algorithms": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "deterministic": CUDNN.deterministic,
        "benchmark": CUDNN.benchmark,
        "tf32": (CUDNN.allow_tf32, MATMUL.allow_tf32),
        "variable": os.environ.get(VARIABLE),
    }


def test_everything_that_makes_cuda_deterministic_is_set():
    CUDNN.benchmark = True
    choose_kernels(deterministic=True)
    assert chosen() == {
        "algorithms": 2,  # an operation without such a form is an error
        "fill": False,
        "deterministic": True,
        "benchmark": False,
        "tf32": (False, False),
        "variable": ":4096:8",
    }


def test_without_the_request_only_float32_is_as_it_is_called():
    CUDNN.allow_tf32 = MATMUL.allow_tf32 = True
    before = chosen()
    choose_kernels()
    assert chosen() == before | {"tf32": (False, False)}


def test_what_the_user_set_for_cublas_stays(monkeypatch):
    monkeypatch.setenv(VARIABLE, ":16:8")
    choose_kernels(deterministic=True)
    assert os.environ[VARIABLE] == ":16:8"


@pytest.mark.parametrize("tf32", [True, False])
def test_all_is_put_back(tf32):
    CUDNN.allow_tf32, MATMUL.allow_tf32 = tf32, not tf32
    CUDNN.benchmark = True
    torch.use_deterministic_algorithms(False)
    before = chosen()
    with kept_kernels():
        choose_kernels(deterministic=True)
        assert chosen() != before
    assert chosen() == before | {"variable": ":4096:8"}  # which the launcher puts back


def test_a_program_that_uses_the_newer_names_is_served():
    CUDNN.conv.fp32_precision, CUDNN.rnn.fp32_precision = "tf32", "ieee"
    with pytest.raises(RuntimeError):  # what torch answers where the two differ
        assert CUDNN.allow_tf32
    with kept_kernels():
        choose_kernels()
        assert not CUDNN.allow_tf32
    assert (CUDNN.conv.fp32_precision, CUDNN.rnn.fp32_precision) == ("tf32", "ieee")


def test_what_a_program_set_for_all_of_torch_does_not_reach_a_run(monkeypatch):
    monkeypatch.setattr(torch.backends, "fp32_precision", "tf32")
    choose_kernels()
    assert [part.fp32_precision for part in (CUDNN.conv, CUDNN.rnn, MATMUL)] == ["ieee"] * 3


def test_a_saved_model_too_computes_float32_in_full():
    CUDNN.allow_tf32 = True
    AcceleratorState._reset_state(reset_partial_state=True)
    one_accelerator()
    assert not CUDNN.allow_tf32
    AcceleratorState._reset_state(reset_partial_state=True)


def test_an_operation_without_a_deterministic_form_is_named_in_one_line():
    choose_kernels(deterministic=True)
    with pytest.raises(RuntimeError) as error:  # one of the few that have none on a CPU either
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    explained = explain(error.value)
    assert isinstance(explained, BadInput)
    assert "--full_determinism: on this device put_ has no form" in str(explained)


def test_a_cublas_that_started_otherwise_is_told():
    said = (  # by torch 2.14
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
        "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it "
        "uses CuBLAS and you have CUDA >= 10.2."
    )
    explained = explain(RuntimeError(said))
    assert isinstance(explained, BadInput)
    assert "set that variable to :4096:8 before the program starts" in str(explained)
