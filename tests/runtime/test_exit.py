"""The last words of a process reach whoever can still hear them."""

import errno
import json

import pytest

from hftune.errors import BadInput, PeerFailed, ResourceError
from hftune.runtime.exit import explain, leave_note, tell


class FullDisk:
    """A log on a disk that is full."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_does_not_hide_the_exit_code(monkeypatch):
    monkeypatch.setattr("sys.stderr", FullDisk())
    tell(ResourceError("no room"))


@pytest.mark.parametrize(("rank", "said"), [("0", "error: no"), ("1", "error: process 1: no")])
def test_each_process_says_its_own_trouble(rank, said, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    tell(PeerFailed("no"))
    assert capsys.readouterr().err == f"{said}\n"


def test_what_all_processes_know_the_first_one_says(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    tell(BadInput("no"))
    assert capsys.readouterr().err == ""


def test_only_the_first_process_leaves_the_note(monkeypatch, tmp_path):
    (tmp_path / ".lock").touch()
    monkeypatch.setenv("RANK", "1")
    leave_note(tmp_path, 6, "gone")
    assert not (tmp_path / "exit.json").exists()
    monkeypatch.setenv("RANK", "0")
    leave_note(tmp_path, 6, "gone")
    assert json.loads((tmp_path / "exit.json").read_text())["code"] == 6


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error", "a.txt"),
        RuntimeError("Error while serializing (os error 28)"),
    ],
)
def test_a_disk_that_fails_has_exit_code_four_whoever_met_it(error):
    assert isinstance(explain(error), ResourceError)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", 4),
        ("CUDA error: out of memory", 4),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", 4),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", 4),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", 4),
        ("NCCL error: unhandled cuda error 'out of memory'", 4),
        ("NCCL error: Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000", 2),
        ("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer", 6),
        ("DataLoader timed out after 600 seconds", 6),
        ("NCCL communicator was aborted\nLast error:\nRemote process exited", 6),
    ],
)
def test_what_torch_says_has_its_exit_code(said, code):
    assert explain(RuntimeError(said)).exit_code == code


def test_nccl_is_quoted():
    assert "(Remote process exited)" in str(explain(RuntimeError("NCCL error\nRemote process exited")))


def test_another_runtime_error_is_a_bug():
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
