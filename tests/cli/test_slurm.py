"""Tests of `hftune run --slurm`: with a small script in sbatch's place, and the job script run by bash."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.cli.run import launch_group
from hftune.cli.run import main as run
from hftune.cli.slurm import SCRIPT, job_script, take_options
from hftune.errors import BadInput, HftuneError, StoppedBySignal
from hftune.runtime.signals import Stop

ACCEPTS = 'echo "$@" > sbatch.words; echo 7\n'


@pytest.fixture
def tools(here, monkeypatch):
    """Puts programs, by name, first on the path."""
    (here / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{here}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", [str(here / "bin/hftune")])

    def add(name: str, text: str) -> None:
        (here / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (here / "bin" / name).chmod(0o755)

    return add


def test_the_job_is_written_into_the_folder_and_submitted_with_the_options(tools, here, capsys):
    tools("sbatch", ACCEPTS)
    run(["imdb_bag", "--slurm", "--nodes 2 --comment 'a b'", "--output_dir", "runs/a b", "--max_steps", "5"])
    assert (here / "sbatch.words").read_text() == "--parsable --nodes 2 --comment a b runs/a b/job.sh\n"
    assert "job 7 is submitted: runs/a b/job.sh; squeue --job 7" in capsys.readouterr().out
    script = (here / "runs/a b/job.sh").read_text()
    assert f"#SBATCH --output='{here}/runs/a b/slurm-%j.out'\n" in script
    assert "#SBATCH --requeue\n" in script
    assert "bin/hftune run imdb_bag --output_dir 'runs/a b' --max_steps 5\n" in script
    run(["imdb_bag", "--slurm=", "--output_dir", "runs/a b"])  # its own script is replaced
    assert "max_steps" not in (here / "runs/a b/job.sh").read_text()


def test_what_sbatch_refuses_is_bad_input(tools):
    tools("sbatch", "echo 'sbatch: error: invalid partition specified: fast' >&2; exit 1\n")
    with pytest.raises(BadInput, match=r"^--slurm: sbatch: error: invalid partition specified: fast$"):
        run(["imdb_bag", "--slurm", "-p fast"])


def test_the_code_of_a_job_that_was_waited_for_comes_back(tools):
    tools("sbatch", "echo 7; exit 3\n")
    with pytest.raises(HftuneError, match="job 7 ended with code 3") as ending:
        run(["imdb_bag", "--slurm", "--wait"])
    assert ending.value.exit_code == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_wait_and_not_the_job(signum, tools, monkeypatch):
    tools("sbatch", "trap 'touch ended; exit' TERM; echo 7; while true; do sleep 0.05; done\n")
    wait = subprocess.Popen.wait

    def wait_stopped(process, timeout=None):
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        os.kill(os.getpid(), signum)
        return process.wait(timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_stopped)
    with pytest.raises(StoppedBySignal, match="job 7 goes on; scancel 7 stops it") as ending:
        run(["imdb_bag", "--slurm", "--wait"])
    assert ending.value.exit_code == 128 + signum
    assert Path("ended").exists()  # and no sbatch is left behind


def test_what_cannot_be_submitted_is_refused(tools, here, monkeypatch):
    tools("sbatch", ACCEPTS)
    for words, said in (
        (["--slurm"], "--slurm needs the options"),
        (["--slurm", "--comment 'a"], "--slurm --comment 'a: No closing quotation"),
        (["--slurm", "", "--seeds", "2"], "--seeds and --slurm contradict each other"),
        (["--slurm", "", "--max_stepps", "2"], "max_steps"),
    ):
        with pytest.raises(BadInput, match=said):
            run(["imdb_bag", *words])
    mine = here / "runs/mine" / SCRIPT
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(BadInput, match=r"job.sh is there, and not of hftune"):
        run(["imdb_bag", "--slurm", "", "--output_dir", "runs/mine"])
    assert mine.read_text() == "mine"
    (here / "file").write_text("")
    with pytest.raises(BadInput, match="file"):
        run(["imdb_bag", "--slurm", "", "--output_dir", "file/run"])
    assert not (here / "sbatch.words").exists()
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(BadInput, match="there is no sbatch here"):
        run(["imdb_bag", "--slurm", ""])
    assert not (here / "runs/imdb_bag").exists()


def test_the_options_of_sbatch_are_parted_from_the_flags():
    assert take_options(["--a", "1"]) == (None, ["--a", "1"])
    assert take_options(["--slurm", "--nodes 2", "--a", "1"]) == ("--nodes 2", ["--a", "1"])
    assert take_options(["--a", "1", "--slurm=--wait"]) == ("--wait", ["--a", "1"])


# --- the job script, run by bash


SRUN = 'echo "$@" > srun.words; env | grep ^PET_ | sort > variables; mkdir -p "$NEW"; exit $CODE\n'


@pytest.fixture
def job(tools, here):
    """Runs the script of a job, in whose place of `srun` a program makes a folder and ends with a code."""
    tools("srun", SRUN)
    tools("scontrol", 'if [ $1 = show ]; then echo n3; echo n4; else echo "$@" > requeued; fi\n')
    tools("sleep", "true\n")
    script = here / "job.sh"
    script.write_text(job_script("imdb", ["imdb", "--x", "a b"], here / "run", ["--nodes", "2"]))
    (here / "run/checkpoint-99").mkdir(parents=True)

    def start(code: int, new: str = "run/checkpoint-100", nodes: int = 2) -> int:
        given = {"SLURM_NNODES": nodes, "SLURM_JOB_ID": 17, "SLURM_JOB_NODELIST": "n[3-4]"}
        given |= {"CODE": code, "NEW": here / new}
        variables = os.environ | {name: str(value) for name, value in given.items()}
        return subprocess.run(["bash", str(script)], env=variables, check=False).returncode

    return start


def test_an_option_of_several_lines_stays_in_its_comment(here):
    script = job_script("imdb", ["imdb"], here, ["--comment", "a\nb"])
    assert "sbatch --comment 'a\\nb' " in script.splitlines()[1]


def test_each_node_gets_one_command_and_knows_the_first(job, here):
    assert job(0) == 0
    words = (here / "srun.words").read_text()
    assert words == f"--ntasks=2 --ntasks-per-node=1 {here}/bin/hftune run imdb --x a b\n"
    meeting = ["PET_NNODES=2", "PET_RDZV_BACKEND=c10d", "PET_RDZV_ENDPOINT=n3:20017", "PET_RDZV_ID=17"]
    assert (here / "variables").read_text().splitlines() == meeting
    assert not (here / "requeued").exists()
    assert job(0, nodes=1) == 0
    assert (here / "variables").read_text() == ""


@pytest.mark.parametrize("code", [2, 3, 6, 143])
def test_a_run_that_was_stopped_queues_again_if_it_came_further(code, job, here):
    assert job(code) == code
    assert (here / "requeued").exists() is (code in (6, 143))
    if code in (6, 143):
        assert (here / "requeued").read_text() == "requeue 17\n"


def test_a_run_that_comes_no_further_ends(job, here):
    assert job(143, new="run/checkpoint-99") == 143
    assert not (here / "requeued").exists()


def test_a_group_of_several_machines_is_started_by_torchrun(monkeypatch, here):
    group = here / "group"
    group.write_text('#!/bin/sh\necho "$@" > words\n')
    group.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(group))
    for nodes, processes, words in (
        (None, 1, ""),
        (None, 2, "-m torch.distributed.run --nproc_per_node 2 --standalone "),
        ("2", 0, "-m torch.distributed.run --nproc_per_node 1 "),
        ("1:2", 4, "-m torch.distributed.run --nproc_per_node 4 "),
    ):
        monkeypatch.setenv("PET_NNODES", nodes) if nodes else monkeypatch.delenv("PET_NNODES", raising=False)
        with Stop():  # handlers as they were
            assert launch_group(["recipe.py"], processes, here) == 0
        assert (here / "words").read_text() == f"{words}recipe.py\n"


@pytest.mark.parametrize("of_slurm", [False, True])
def test_a_signal_reaches_the_group_once(of_slurm, monkeypatch, here):
    group = here / "group"
    waits = "for n in 1 2 3 4 5; do sleep 0.1; done"
    group.write_text(f"#!/bin/bash\ntrap 'touch got' TERM; sleep 0.5; kill -TERM $PPID; {waits}\n")
    group.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(group))
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    if of_slurm:  # which has sent it one already
        monkeypatch.setenv("SLURM_STEP_ID", "0")
    received: list[int] = []
    launch_group(["recipe.py"], 2, here, received)
    assert received == [signal.SIGTERM]
    assert (here / "got").exists() is not of_slurm
