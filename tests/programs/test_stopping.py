"""Killed, stopped, restarted on other numbers of processes, started twice: the run ends as if nothing was."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from hftune.errors import HftuneError
from hftune.recipes import imdb_textcnn
from hftune.storage.checkpoint import list_checkpoints, load_checkpoint
from proofs.jobs import PATIENCE, ROOT, Group, fingerprint, finish, make_jobs, remove
from proofs.kills import killed_at_random, resumed_from_every_step
from proofs.stopping import stopped
from tests.runs import run_recipe


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.mark.every_kind
def test_kills_at_random_instants_change_nothing(jobs, tmp_path):
    row = killed_at_random(jobs["textcnn"], tmp_path, (1,), 2, random.Random(1))
    assert (row.held, row.tried) == (2, 2)


def test_kills_and_other_numbers_of_processes_change_nothing(jobs, tmp_path):
    job = jobs["encoder"].but(gradient_accumulation_steps=2)
    row = killed_at_random(job, tmp_path, (1, 2, 1), 2, random.Random(1))
    assert (row.held, row.tried) == (2, 2)


@pytest.mark.every_kind
def test_a_resume_with_workers_changes_nothing(jobs, tmp_path):
    job = jobs["images"].but(eval_steps=20)
    row = resumed_from_every_step(job, tmp_path, accumulation=3, workers=2, every=17)
    assert (row.held, row.tried) == (2, 2)


def test_a_signal_to_accelerate_saves_and_leaves_no_orphan(jobs, tmp_path):
    """It ends at once and tells its child nothing; `make proof` tries the other launchers."""
    row = stopped(
        jobs["textcnn"], tmp_path, ["accelerate launch"], ["launcher"], random.Random(0), [signal.SIGTERM]
    )
    assert (row.held, row.tried) == (1, 1), row.note


@pytest.mark.parametrize(("name", "told"), [("torchrun", True), ("accelerate", True), ("bash", False)])
def test_a_process_follows_its_launcher_alone(name, told, tmp_path):
    """A parent of that name starts a process and is killed."""
    child = "from hftune.runtime.signals import Stop; import time\nwith Stop():\n    print(1, flush=True)"
    child += "\n    time.sleep(3)"
    parent = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    script = tmp_path / name
    script.write_text(parent)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as started:
        assert started.stdout.readline() == "1\n"
        started.kill()
        assert ("stopped by SIGTERM" in started.stderr.read()) is told


def test_the_same_run_twice_is_refused_with_the_pid_that_holds_it(jobs, tmp_path):
    job = jobs["textcnn"].but(max_steps=40_000, eval_steps=40_000)
    run_dir = tmp_path / "run"
    with Group(job, run_dir) as first:
        while not list_checkpoints(run_dir):
            assert not first.wait(0.01), first.text()
        with Group(job, run_dir, 1, say_elsewhere, (str(tmp_path / "second.said"),)) as second:
            assert second.wait(PATIENCE)
        text = (tmp_path / "second.said").read_text()
        assert second.codes == [2]
        assert f"error: {run_dir} is in use by pid {first.processes[0].pid} on " in text
        assert "Traceback" not in text
        assert not first.wait(0)


def say_elsewhere(path: str) -> None:
    output = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)


def test_runs_at_the_same_time_share_their_caches(jobs, tmp_path):
    job = jobs["encoder"].but(max_steps=4, save_steps=2, eval_steps=4)
    with contextlib.ExitStack() as stack:
        groups = [stack.enter_context(Group(job, tmp_path / str(number))) for number in range(4)]
        assert all(group.wait(PATIENCE) for group in groups)
        assert [group.codes for group in groups] == [[0]] * 4
    assert len({fingerprint(tmp_path / str(number)) for number in range(4)}) == 1


def use_threads(number: int) -> None:
    torch.set_num_threads(number)


def test_another_number_of_threads_is_told_in_one_line(jobs, tmp_path):
    job = jobs["textcnn"].but(max_steps=8)
    finish(job, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["threads"] == 1
    record["finished"] = False
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    shutil.rmtree(tmp_path / "run/checkpoint-8")
    with Group(job, tmp_path / "run", 1, use_threads, (2,)) as group:
        assert group.wait(PATIENCE)
        lines = [line for line in group.text().splitlines() if " threads" in line]
    assert len(lines) == 1
    assert "this run had 1 threads, now it has 2: the last bits will differ" in lines[0]
    assert "OMP_NUM_THREADS=1" in lines[0]
    remove(tmp_path / "run")


# --- several processes


def test_processes_that_cannot_share_the_steps_are_refused_with_the_number(jobs, tmp_path):
    job = jobs["textcnn"].but(max_steps=8)
    finish(job, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**record, "finished": False}))
    with Group(job, tmp_path / "run", 2) as group:
        assert group.wait(PATIENCE)
        assert group.codes == [2, 2]
        lines = [line for line in group.text().splitlines() if line.startswith("error: ")]
    assert lines == [
        "error: 2 processes cannot share the 1 micro-batches per step with which this run began; "
        "the number of processes must divide 1"
    ]


# --- what is not finite


def spoil_loss(value):
    def loss(model, batch):
        loss.calls += 1
        return model(**batch).loss * (value if loss.calls == 3 else 1.0)

    loss.calls = 0
    return {"loss": loss}


def spoil_gradient(value):
    def loss(model, batch):
        loss.calls += 1
        answer = model(**batch).loss
        if loss.calls == 3:
            answer.register_hook(lambda gradient: gradient * value)
        return answer

    loss.calls = 0
    return {"loss": loss}


def spoil_weight(value):
    def after_step(steps, model):
        if steps == 2:
            with torch.no_grad():
                model.get_input_embeddings().weight[:, 0] = value

    return {"after_step": after_step}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient, spoil_weight])
def test_what_is_not_finite_stops_in_its_step_with_the_rows(spoil, value, jobs, tmp_path, capsys, quick_disk):
    job = jobs["textcnn"].but(save_steps=1, save_total_limit="none")
    words = job.words(tmp_path / "run")
    recipe = imdb_textcnn.recipe.replace(**spoil(value))
    at = words.index("--output_dir")
    capsys.readouterr()
    with pytest.raises(HftuneError) as ending:
        run_recipe(recipe, words[:at], tmp_path / "run")
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert ending.value.exit_code == 3
    if spoil is spoil_weight:  # refused where it would be written
        assert list_checkpoints(tmp_path / "run") == [1]
    else:
        assert "step 3" in said
        assert "training rows" in said
        assert list_checkpoints(tmp_path / "run") == [1, 2]
    for step in list_checkpoints(tmp_path / "run"):
        tensors = load_checkpoint(tmp_path / f"run/checkpoint-{step}").tensors
        assert all(torch.isfinite(tensor).all() for group in tensors.values() for tensor in group.values())
