"""SIGTERM and SIGINT through every launcher, a neighbour killed, a launcher killed: saved, and no orphans."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from hftune.storage.checkpoint import latest_valid, list_checkpoints
from proofs.jobs import ROOT, Job, finish, remove
from proofs.table import Row

BIN = Path(sys.executable).parent
STARTS_WITHIN = 120.0  # seconds until a launcher's run has its first checkpoint
STOPS_WITHIN = 10.0
ORPHANS_AFTER = 15.0
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv_backend", "c10d"]
TORCHRUN += ["--rdzv_endpoint", "localhost:0", "--nproc_per_node"]
ACCELERATE = [str(BIN / "accelerate"), "launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no"]
LAUNCHERS = {  # name -> words before the recipe's file, processes
    "python": ([sys.executable], 1),
    "hftune run": ([str(BIN / "hftune"), "run"], 1),
    "accelerate launch": (ACCELERATE, 1),
    "torchrun 1": ([*TORCHRUN, "1"], 1),
    "torchrun 2": ([*TORCHRUN, "2"], 2),
}
TARGETS = ("launcher", "one process", "all")


def slow(job: Job) -> Job:
    """Returns a job that lasts long enough to be stopped, and saves seldom."""
    return job.but(max_steps=40_000, save_steps=100, eval_steps=40_000, logging_steps=100)


def start(job: Job, launcher: str, run_dir: Path) -> subprocess.Popen:
    """Starts a job by a launcher, in a session of its own, and waits for its first checkpoint.

    Raises:
        AssertionError: It ended before, or took too long.
    """
    before, _ = LAUNCHERS[launcher]
    line = [*before, str(ROOT / "recipes" / f"{job.recipe}.py"), *job.words(run_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    said = run_dir.with_name(f"{run_dir.name}.said")
    with said.open("wb") as output:
        started = subprocess.Popen(
            line, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    wait_for_checkpoint(started, run_dir, said)
    return started


def wait_for_checkpoint(started: subprocess.Popen, run_dir: Path, said: Path) -> None:
    """Waits until a run has saved something.

    Raises:
        AssertionError: It ended before, or took too long; none of its processes is left.
    """
    end = time.monotonic() + STARTS_WITHIN
    while not list_checkpoints(run_dir):
        assert started.poll() is None, said.read_text()
        if time.monotonic() > end:
            stop(started, signal.SIGKILL, "all")
            raise AssertionError(f"{started.args} does not start: {said.read_text()}")
        time.sleep(0.02)


def family(started: subprocess.Popen) -> list[psutil.Process]:
    """Returns a launcher and all that descend from it, the recipe's processes among them."""
    launcher = psutil.Process(started.pid)
    return [launcher, *launcher.children(recursive=True)]


def stop(started: subprocess.Popen, signum: int, target: str) -> tuple[float, list[int]]:
    """Sends a signal to a launcher, to one process of the run or to all.

    Returns:
        The seconds until the last process had ended, and the pids of those that had not in time.
    """
    members = family(started)
    chosen = {"launcher": members[:1], "one process": members[-1:], "all": members}[target]
    began = time.monotonic()
    for process in chosen:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signum)
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(ORPHANS_AFTER)
    _, alive = psutil.wait_procs(members[1:], timeout=max(0.0, began + ORPHANS_AFTER - time.monotonic()))
    took = time.monotonic() - began
    for process in [*alive, *([members[0]] if started.poll() is None else [])]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    started.wait()
    return took, [process.pid for process in alive]


def stopped(
    job: Job,
    folder: Path,
    launchers: list[str],
    targets: list[str],
    draw: random.Random,
    signals: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
) -> Row:
    """Stops a run through launchers, by SIGTERM and by SIGINT, to each target.

    Held: all ended within 10 s and no orphan was left; exit.json has 143 or 130; the newest checkpoint is
    whole and of the step at which it was stopped.
    """
    tried = ", ".join(launchers)
    with Row(
        f"{job.name}: SIGTERM, SIGINT to {' or '.join(targets)} through {tried}: saved, no orphans"
    ) as row:
        slowest = 0.0
        for launcher in launchers:
            for signum in signals:
                for target in targets:
                    run_dir = folder / "stopped"
                    started = start(slow(job), launcher, run_dir)
                    time.sleep(draw.uniform(0, 1))
                    took, orphans = stop(started, signum, target)
                    slowest = max(slowest, took)
                    held = took <= STOPS_WITHIN and not orphans and saved_at_stop(run_dir)
                    row.count(held)
                    if not held:
                        row.note += f"{launcher}, {signum}, {target}: {took:.1f} s, orphans {orphans}; "
                    remove(run_dir)
        row.note += f"slowest {slowest:.1f} s"
    return row


def saved_at_stop(run_dir: Path) -> bool:
    """Says whether a stopped run told so and left a checkpoint of the very step."""
    path, broken = latest_valid(run_dir)
    note = run_dir / "exit.json"
    if path is None or broken or not note.exists():
        return False
    ending = json.loads(note.read_text(encoding="utf-8"))
    step = int(path.name.removeprefix("checkpoint-"))
    return ending["code"] in (130, 143) and f"step {step:,} is saved" in ending["reason"]


def launcher_killed(job: Job, folder: Path, launchers: list[str]) -> Row:
    """Kills launchers with SIGKILL, which they cannot pass on. Held: no process of the run lives on."""
    with Row(f"{job.name}: SIGKILL to {', '.join(launchers)}: no orphans") as row:
        for launcher in launchers:
            run_dir = folder / "orphaned"
            _, orphans = stop(start(slow(job), launcher, run_dir), signal.SIGKILL, "launcher")
            row.count(not orphans)
            remove(run_dir)
    return row


def restarted_by_torchrun(job: Job, folder: Path, times: int) -> Row:
    """Kills one of two processes under `torchrun --max_restarts`: it starts both again, to the same end."""
    with Row(
        f"{job.name}: one of two processes killed under torchrun --max_restarts 2: ends the same"
    ) as row:
        straight = finish(job, folder / "straight", 2)
        for _ in range(times):
            run_dir = folder / "restarted"
            said = run_dir.with_name("restarted.said")
            line = [*TORCHRUN, "2", "--max_restarts", "2", str(ROOT / "recipes" / f"{job.recipe}.py")]
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "ACCELERATE_USE_CPU": "true",
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else the second group reads keys of the first
            }
            with said.open("wb") as output:
                started = subprocess.Popen(
                    [*line, *job.words(run_dir)], env=environment, stdout=output, stderr=output
                )
            wait_for_checkpoint(started, run_dir, said)
            family(started)[-1].kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(STARTS_WITHIN)
            ended = started.poll() == 0
            for process in family(started) if started.poll() is None else []:
                process.kill()
            row.count(ended and finish(job, run_dir, 2) == straight)
            remove(run_dir)
        remove(folder / "straight")
    return row
