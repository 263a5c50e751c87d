"""Tells the state of a run directory: how far it came, what of it is whole, who holds it, what to do next.

Nothing is written or mended, so that it may be asked at any time, of a run that is training too.
"""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hftune.checkpoint import list_checkpoints, verify_checkpoint
from hftune.errors import BadInput, first_line
from hftune.rundir import RunRecord, hash_weights, read_json


@dataclass(frozen=True)
class CheckpointState:
    """One checkpoint folder.

    Args:
        step: Optimizer steps done.
        size: Bytes of all its files.
        problem: What is wrong with it, beginning with the file; None if it is whole.
    """

    step: int
    size: int
    problem: str | None


@dataclass(frozen=True)
class RunState:
    """What a run directory holds.

    Args:
        path: The directory.
        record: run.json; None where it is missing or damaged.
        ending: exit.json: how the last start ended; None where it was killed before it could tell.
        holder: The process that trains it now, such as "pid 17 on host"; None if nobody does.
        checkpoints: Its checkpoint folders, ascending.
        problems: What is wrong besides: run.json, and the model and results of a finished run.
    """

    path: Path
    record: RunRecord | None
    ending: dict[str, Any] | None
    holder: str | None
    checkpoints: list[CheckpointState]
    problems: list[str]

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.record is not None and self.record.finished

    @property
    def newest_whole(self) -> int | None:
        """The step from which the same command goes on."""
        return max((state.step for state in self.checkpoints if not state.problem), default=None)

    @property
    def sound(self) -> bool:
        """Whether the run is finished and whole, or can go on from a whole checkpoint."""
        return not self.problems and (self.finished or self.newest_whole is not None)

    def advice(self) -> str:
        """Says in one line what to do next."""
        from_there = f"goes on from checkpoint-{self.newest_whole}" if self.newest_whole is not None else ""
        if self.holder:
            return f"wait: {self.holder} is training it"
        if self.problems:
            writes = f"{from_there} and writes them anew" if from_there else "trains it anew"
            return f"remove {self.path / 'run.json'} and repeat the same command: it {writes}"
        if self.finished:
            return f"it is done: use {self.path} as a model, or publish it: hftune push {self.path}"
        return f"repeat the same command: it {from_there or 'starts anew, nothing was saved'}"


def verify_run(run_dir: Path) -> RunState:
    """Reads a run directory and checks every file of its checkpoints and its saved model.

    Args:
        run_dir: The run's folder.

    Raises:
        BadInput: It is no run directory: there is neither run.json nor a checkpoint.
    """
    if not run_dir.is_dir():
        raise BadInput(f"{run_dir}: no such folder; pass a run directory such as runs/imdb")
    steps = list_checkpoints(run_dir)
    if not steps and not (run_dir / "run.json").exists():
        raise BadInput(f"{run_dir}: holds neither run.json nor a checkpoint, so it is no run directory")
    states = [_state(run_dir, step) for step in steps]
    checkpoints = [state for state in states if state]
    record, problems = _record(run_dir)
    if record and record.finished:
        problems += _results_problems(run_dir, record)
    return RunState(run_dir, record, _ending(run_dir), holder(run_dir), checkpoints, problems)


def holder(run_dir: Path) -> str | None:
    """Says who holds a run's lock, such as "pid 17 on host"; None if nobody does."""
    try:
        lock = (run_dir / ".lock").open(encoding="utf-8")
    except OSError:  # a copy of a run, or none yet
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once, when the file is closed
        except BlockingIOError:
            pass
        else:
            return None
        try:
            named = json.load(lock)
        except ValueError:  # it has the lock and is about to write its name
            return "another process"
        return f"pid {named['pid']} on {named['host']}"


def _state(run_dir: Path, step: int) -> CheckpointState | None:
    path = run_dir / f"checkpoint-{step}"
    try:
        reason = verify_checkpoint(path)
        size = sum(file.lstat().st_size for file in path.iterdir())
    except FileNotFoundError:  # a run that trains has just replaced it by a newer one
        return None
    return CheckpointState(step, size, reason and reason.removeprefix(f"{path}/"))


def _record(run_dir: Path) -> tuple[RunRecord | None, list[str]]:
    try:
        record = RunRecord.read(run_dir)
    except BadInput as error:
        return None, [error.message]
    return record, [] if record else [f"{run_dir / 'run.json'}: missing"]


def _ending(run_dir: Path) -> dict[str, Any] | None:
    try:
        ending = read_json(run_dir / "exit.json")
    except BadInput:  # nobody told: killed, or copied without it
        return None
    return ending if isinstance(ending, dict) and {"code", "reason"} <= ending.keys() else None


def _results_problems(run_dir: Path, record: RunRecord) -> list[str]:
    """Says what is wrong with the model and the results of a finished run."""
    problems = []
    for name in ("config.json", "all_results.json"):
        try:
            read_json(run_dir / name)
        except BadInput as error:
            problems.append(error.message)
    found = hash_weights(run_dir)
    problems += [f"{run_dir / name}: missing" for name in sorted(record.weights.keys() - found.keys())]
    for name, digest in found.items():
        try:
            with safe_open(run_dir / name, framework="np"):  # its header must fit its size
                pass
        except (SafetensorError, OSError) as error:
            problems.append(f"{run_dir / name}: {first_line(error)}")
            continue
        if record.weights and digest != record.weights.get(name):
            problems.append(f"{run_dir / name}: other bits than those that were scored (other sha256)")
    return problems if found or record.weights else [*problems, f"{run_dir / 'model.safetensors'}: missing"]
