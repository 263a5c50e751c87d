"""A frozen process ends the run of the others, by name; a frozen group that wakes goes on."""

import json
import os
import signal
import time

import pytest

from hftune.errors import PeerFailed
from hftune.launcher import explain
from hftune.runtime import heartbeat as peers
from hftune.storage.checkpoint import latest_valid, list_checkpoints
from proofs.jobs import PATIENCE, Group, fingerprint, finish, make_jobs
from proofs.stopping import slow

BEAT, MISSED = 0.1, 20  # seconds, beats


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))["textcnn"]


def hurry() -> None:
    """Lets a process of the group miss another after two seconds."""
    peers.BEAT, peers.MISSED = BEAT, MISSED


def started(job, run_dir, before=hurry):
    """Starts two processes; returns them when they have trained and saved."""
    group = Group(job, run_dir, 2, before)
    while not list_checkpoints(run_dir):
        assert not group.wait(0.01), group.text()
    return group


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_process_is_named_by_the_other(frozen, job, tmp_path):
    job = slow(job).but(gradient_accumulation_steps=2, save_steps=40)
    with started(job, tmp_path / "run") as group:
        os.kill(group.processes[frozen].pid, signal.SIGSTOP)
        other = group.processes[1 - frozen]
        assert other.wait(30) == 6, group.text()
    errors = [line for line in group.text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    # the first process holds the store at which all meet, where no launcher does
    named = "process 1 of this run" if frozen else "the store at which the processes of this run meet"
    assert f"{named} has not answered for {BEAT * MISSED:.0f} s" in errors[0]
    assert "Traceback" not in group.text()
    if frozen:
        assert json.loads((tmp_path / "run/exit.json").read_text())["code"] == 6
    assert latest_valid(tmp_path / "run")[1] == []


def test_a_group_that_slept_together_goes_on(job, tmp_path):
    job = job.but(gradient_accumulation_steps=2, max_steps=60, save_steps=20, eval_steps=60)
    straight = finish(job, tmp_path / "straight", 2)
    with started(job, tmp_path / "run") as group:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in group.processes:
                os.kill(process.pid, number)
            time.sleep(2 * BEAT * MISSED)
        assert group.wait(PATIENCE)
        assert group.codes == [0, 0], group.text()
    assert fingerprint(tmp_path / "run") == straight


@pytest.mark.parametrize(
    "words",
    [
        "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4242",
        "[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv",
        "NCCL communicator was aborted on rank 1.",
    ],
)
def test_what_torch_says_of_a_lost_process_has_the_exit_code_six(words):
    assert isinstance(explain(RuntimeError(words)), PeerFailed)
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_a_process_alone_listens_to_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with peers.Heartbeat(pytest.fail) as heartbeat:
        assert not any(thread.is_alive() for thread in heartbeat._threads)


def test_processes_that_torchrun_restarted_at_different_times_hear_each_other(job, tmp_path):
    job = slow(job).but(gradient_accumulation_steps=2, save_steps=40)
    with started(job, tmp_path / "run", hurry_restarted) as group:
        assert not group.wait(2 * BEAT * MISSED), group.text()


def hurry_restarted() -> None:
    """Does as where one host's torchrun has restarted its process once, and the other's is new."""
    hurry()
    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(1 - int(os.environ["RANK"]))
