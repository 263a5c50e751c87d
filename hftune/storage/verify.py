"""Tells the state of a run directory: how far it came, what of it is whole, who holds it, what to do next.

Nothing is written or repaired, so that it may be asked at any time, of a run that is training too.
"""

import fcntl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hftune.errors import BadInput, first_line
from hftune.storage.checkpoint import list_checkpoints, verify_checkpoint
from hftune.storage.files import read_json
from hftune.storage.model_files import changed_files
from hftune.storage.run_dir import LOCK, RunRecord, holder_of


@dataclass(frozen=True)
class CheckpointState:
    """One checkpoint folder.

    Args:
        step: Optimizer steps done.
        size: Bytes of all its files.
        problem: What is wrong with it, beginning with the file; None if one can go on from it.
        lost_best: The step that it names as the best so far, where it is whole but that one is not: the end
            of the run would look for its model there. None otherwise.
    """

    step: int
    size: int
    problem: str | None
    lost_best: int | None = None


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
    def latest_valid(self) -> int | None:
        """The step of the newest checkpoint that one can go on from to the end."""
        return max((state.step for state in self.checkpoints if not state.problem), default=None)

    @property
    def sound(self) -> bool:
        """Whether the run is finished and whole, or can go on from a whole checkpoint."""
        return not self.problems and (self.finished or self.latest_valid is not None)

    def advice(self) -> str:
        """Says in one line what to do next."""
        newest = self.latest_valid
        if self.holder:
            return f"wait: {self.holder} is training it"
        if self.finished and not self.problems:
            return f"it is done: use {self.path} as a model, or publish it: hftune push {self.path}"
        from_there = f"goes on from checkpoint-{newest}" if newest is not None else ""
        if self.problems:
            then = f"{from_there} and writes them again" if from_there else "trains it from the start"
        else:
            then = from_there or "starts from nothing, as nothing was saved"
        # The command would go on from these, and find no best model at its end.
        lost = [state for state in self.checkpoints if state.lost_best is not None]
        dead_ends = [state for state in lost if newest is None or state.step > newest]
        remove = [self.path / "run.json"] if self.problems else []
        remove += [self.path / f"checkpoint-{state.step}" for state in dead_ends]
        there = ", ".join(str(path) for path in remove if path.exists())
        back = f"bring back checkpoint-{dead_ends[-1].lost_best}, or " if dead_ends else ""
        first = f"{back}remove {there} and " if there else ""
        return f"{first}repeat the same command: it {then}"


def verify_run(run_dir: Path) -> RunState:
    """Reads a run directory and checks every file of its checkpoints and its saved model.

    Args:
        run_dir: The run's folder.

    Raises:
        BadInput: It is no run directory, as there is neither run.json nor a checkpoint, or cannot be read.
    """
    if not run_dir.is_dir():
        raise BadInput(f"{run_dir}: no such folder; pass a run directory such as runs/imdb")
    try:
        steps = list_checkpoints(run_dir)
    except OSError as error:
        raise BadInput(f"{run_dir} cannot be read: {error.strerror}") from None
    if not steps and not (run_dir / "run.json").exists():
        raise BadInput(f"{run_dir}: holds neither run.json nor a checkpoint, so it is no run directory")
    states = [_state(run_dir, step) for step in steps]
    checkpoints = [state for state in states if state]
    record, problems = _record(run_dir)
    if record and record.finished:
        problems += _results_problems(run_dir, record)
    held_by = holder(run_dir)
    takes_best = record is None or record.settings.get("load_best_model_at_end", True)
    at_its_end = record is not None and record.finished and not problems
    if takes_best and not at_its_end and not held_by:  # one that trains deletes old checkpoints meanwhile
        checkpoints = _mark_lost_best(run_dir, checkpoints)
    return RunState(run_dir, record, _ending(run_dir), held_by, checkpoints, problems)


def holder(run_dir: Path) -> str | None:
    """Says who holds a run's lock, such as "pid 17 on host"; None if nobody does."""
    try:
        lock = (run_dir / LOCK).open(encoding="utf-8")
    except OSError:  # a copy of a run, or none yet
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once, when the file is closed
        except BlockingIOError:
            pass
        else:
            return None
        return holder_of(lock)


def _state(run_dir: Path, step: int) -> CheckpointState | None:
    path = run_dir / f"checkpoint-{step}"
    try:
        reason = verify_checkpoint(path)
        size = sum(file.lstat().st_size for file in path.iterdir())
    except FileNotFoundError:  # a run that trains has just replaced it by a newer one
        return None
    except OSError:  # the reason says it
        size = 0
    return CheckpointState(step, size, reason and reason.removeprefix(f"{path}/"))


def _mark_lost_best(run_dir: Path, checkpoints: list[CheckpointState]) -> list[CheckpointState]:
    """Gives a problem to whole checkpoints whose best model's checkpoint is missing or broken."""
    whole = {state.step for state in checkpoints if not state.problem}
    marked = []
    for state in checkpoints:
        best = None if state.problem else _best_step(run_dir / f"checkpoint-{state.step}/state.json")
        if best is not None and best not in whole:
            how = "broken" if best in {other.step for other in checkpoints} else "missing"
            reason = f"checkpoint-{best}, the best so far, is {how}"
            state = replace(state, problem=reason, lost_best=best)
        marked.append(state)
    return marked


def _best_step(path: Path) -> int | None:
    """Returns the step that a checkpoint's state names as the best so far; None where it names none."""
    state = read_json(path)
    progress = state.get("progress") if isinstance(state, dict) else None
    return progress.get("best_step") if isinstance(progress, dict) else None


def _record(run_dir: Path) -> tuple[RunRecord | None, list[str]]:
    try:
        record = RunRecord.read(run_dir)
    except BadInput as error:
        return None, [error.message]
    return record, [] if record else [f"{run_dir / 'run.json'}: missing"]


def _ending(run_dir: Path) -> dict[str, Any] | None:
    try:
        ending = read_json(run_dir / "exit.json")
    except BadInput:  # no exit.json: killed, or copied without it
        return None
    return ending if isinstance(ending, dict) and {"code", "reason"} <= ending.keys() else None


def _results_problems(run_dir: Path, record: RunRecord) -> list[str]:
    """Says what is wrong with the model and the results of a finished run."""
    problems = {}  # by file: what it cannot even be read for says more than that it changed
    for name in ("config.json", "all_results.json"):
        try:
            read_json(run_dir / name)
        except BadInput as error:
            problems[name] = error.message
    weights = sorted(run_dir.glob("model*.safetensors"))
    for path in weights:
        try:
            with safe_open(path, framework="np"):  # its header must fit its size
                pass
        except (SafetensorError, OSError) as error:
            problems[path.name] = f"{path}: {first_line(error)}"
    if not weights:
        problems["model.safetensors"] = f"{run_dir / 'model.safetensors'}: missing"
    if record.weights:
        for name, what in changed_files(run_dir, record.weights).items():
            problems.setdefault(name, f"{run_dir / name}: {what}")
    return list(problems.values())
