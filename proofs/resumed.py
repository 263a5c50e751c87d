"""Drawn runs, straight through and interrupted: each must end the same, to the bit."""

import json
import os
import re
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import hftune.training.loop
from hftune.data.batches import Step
from hftune.storage.checkpoint import list_checkpoints, load_checkpoint, tensor_digest
from hftune.training.log import read_log
from hftune.training.loop import Training
from proofs.draws import KINDS, Data, Draw, draw
from proofs.jobs import PATIENCE, Group, Job
from proofs.table import Row
from tests.runs import FIGURES

TIMES = ("train_runtime", "train_samples_per_second")
REFUSED, NOT_FINITE, LEFT_ALONE = 2, 3, 6  # exit codes
SAID, SHOWN = 3000, 100  # characters of what a failed run said, of what differs
SLOWEST = 4  # of the optimizers that timm names, kronw takes minutes on a busy core


@dataclass(frozen=True)
class Ending:
    """How a run ended: the exit codes of its processes, negative for a signal, and its error line."""

    codes: list[int | None]
    error: str
    said: str


Runner = Callable[[Job, Path, int, int | None, int | None], Ending]


def tried(drawn: Draw, folder: Path, run: Runner) -> tuple[str, str]:
    """Runs a draw straight through and interrupted.

    Args:
        drawn: What to run.
        folder: Room for its runs; it must not be there, and is removed.
        run: Runs (job, run directory, processes, a step, a signal to send to itself after that step).

    Returns:
        "held", "refused" or "not finite", and nothing; or "failed" and what is wrong.
    """
    folder.mkdir(parents=True)
    straight, other = folder / "straight", folder / "other"
    try:
        through = run(drawn.job, straight, drawn.processes, None, None)
        wrong = unexplained(through)
        first = 0
        if not wrong:
            first, again = interrupted(drawn, straight, other, run, through)
            wrong = unexplained(again) or difference(through, again, straight, other, first)
        if wrong:
            return "failed", wrong
        return {REFUSED: "refused", NOT_FINITE: "not finite"}.get(
            through.codes[0] or 0, "held"
        ), through.error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def interrupted(drawn: Draw, straight: Path, other: Path, run: Runner, through: Ending) -> tuple[int, Ending]:
    """Runs a draw in the way that it was drawn; returns after which step it went on, and how it ended."""
    left = list_checkpoints(straight)
    if drawn.way == "elsewhere" and left:
        whole = [step for step in left if best_at(straight, step) in (None, *left)] or left
        step = whole[int(drawn.place * len(whole))]
        job = drawn.job.but(resume_from_checkpoint=straight / f"checkpoint-{step}")
        return step, run(job, other, drawn.processes, None, None)
    steps = left[-1] if left else 1
    number = signal.SIGTERM if drawn.way == "stopped" else signal.SIGKILL
    first = run(drawn.job, other, drawn.processes, 1 + int(drawn.place * steps), number)
    if unexplained(first) and first.codes != [-signal.SIGKILL] * drawn.processes:
        return 0, first
    return 0, run(drawn.job, other, drawn.processes, None, None)


def best_at(run_dir: Path, step: int) -> int | None:
    """Returns the best step at a checkpoint: a run that goes on elsewhere needs it, and it may be gone."""
    state = json.loads((run_dir / f"checkpoint-{step}/state.json").read_text(encoding="utf-8"))
    return state["progress"]["best_step"]


def unexplained(ending: Ending) -> str:
    """Returns what is wrong with how a run ended by itself, nothing if it is an answer."""
    allowed = {0, REFUSED, NOT_FINITE, 128 + signal.SIGTERM}
    if set(ending.codes[1:]) and ending.codes[0] in (REFUSED, NOT_FINITE):
        allowed.add(LEFT_ALONE)  # the main process may end before the other has come as far
    if set(ending.codes) <= allowed and "Traceback" not in ending.said:
        return ""
    return f"ended with {ending.codes}: {ending.said[-SAID:]}"


def difference(through: Ending, again: Ending, straight: Path, other: Path, first: int) -> str:
    """Says in what two runs differ, nothing if in nothing.

    Args:
        through: How the one that went straight through ended.
        again: How the other ended.
        straight: The folder of the one.
        other: The folder of the other.
        first: The step after which the other's log begins.
    """
    if (through.codes[0], through.error) != (again.codes[0], again.error):
        return f"{through.codes} {through.error} | {again.codes} {again.error}: {again.said[-SAID:]}"
    if through.codes[0]:
        return ""
    one, two = (traces(folder, first) for folder in (straight, other))
    names = [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
    lines = (f"{name}: {one.get(name, '')[:SHOWN]} | {two.get(name, '')[:SHOWN]}" for name in sorted(names))
    return "".join(f"\n  {line}" for line in lines)


def traces(run_dir: Path, first: int) -> dict[str, str]:
    """Returns all that a finished run must leave the same, by name."""
    results = json.loads((run_dir / "all_results.json").read_text(encoding="utf-8"))
    predictions = [path.read_text(encoding="utf-8") for path in run_dir.glob("test_predictions.*")]
    found = {
        "weights": tensor_digest(load_file(run_dir / "model.safetensors")),
        **{name: repr(value) for name, value in results.items() if name not in TIMES},
        "predictions": "".join(predictions),
        "log": repr([record for record in read_log(run_dir / "log.jsonl") if record["step"] > first]),
    }
    last = run_dir / f"checkpoint-{results['train_steps']}"
    if first < results["train_steps"]:  # else nothing was left to do, and no checkpoint to be written
        checkpoint = load_checkpoint(last)
        found |= {f"checkpoint: {name}": tensor_digest(part) for name, part in checkpoint.tensors.items()}
        found |= {f"state: {name}": json.dumps(value) for name, value in parts(checkpoint.state).items()}
    return found


def parts(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what a checkpoint's state.json holds, without the time."""
    progress = {name: value for name, value in state["progress"].items() if name != "seconds"}
    return {**state, "progress": progress}


def forked(job: Job, run_dir: Path, processes: int, step: int | None, number: int | None) -> Ending:
    """Runs a job in processes of its own."""
    with Group(job, run_dir, processes, signal_after, (step, number)) as group:
        ended = group.wait(SLOWEST * PATIENCE)
        codes = group.codes if ended else [None] * processes
    said = group.text()
    return Ending(codes, error_line(said), said if ended else f"hangs: {said}")


def error_line(said: str) -> str:
    """Returns the main process's error line and its bullets."""
    found = re.search(r"^error: (?!process ).*(\n  - .*)*", said, re.MULTILINE)
    return found[0] if found else ""


def signal_after(step: int | None, number: int | None) -> None:
    """Lets this process send itself a signal after a step; and draw no figures, and compile nothing."""
    torch.compiler.set_stance("force_eager")  # one optimizer compiles itself, for a minute
    for name in FIGURES:
        module, _, function = name.rpartition(".")
        setattr(import_module(module), function, lambda *_, **__: None)
    if step is not None and number is not None:
        hftune.training.loop.update = after(step, lambda: os.kill(os.getpid(), number))


def after(step: int, do: Callable[[], None]) -> Callable:
    """Returns the loop's `update`, which does something once that many steps are done."""
    update = hftune.training.loop.update

    def and_more(training: Training, of_plan: Step, batches: Iterator[dict]) -> tuple[float, float, int]:
        result = update(training, of_plan, batches)
        if of_plan.number + 1 == step:
            do()
        return result

    return and_more


def drawn_runs(data: Data, folder: Path, numbers: range, jobs: int) -> Iterator[Row]:
    """Tries a range of draws, several at a time; prints those that fail, which can be repeated alone."""

    def one(number: int) -> tuple[str, str]:
        drawn = draw(number, data)
        try:
            outcome, words = tried(drawn, folder / f"draw-{number}", forked)
        except Exception:  # one draw must not end the others
            outcome, words = "failed", traceback.format_exc()
        if outcome == "failed":
            print(f"FAILED {drawn}\n{words}\n", flush=True)
        elif outcome != "held":
            print(f"draw {number} {outcome}: {words}", flush=True)
        return drawn.job.name.rpartition(" ")[0], outcome

    with Row("settings drawn at random") as whole, ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(one, numbers))
    for kind in KINDS:
        outcomes = Counter(outcome for name, outcome in found if name == kind)
        row = Row(f"{kind}: settings drawn at random, resumed from a random step, end the same")
        row.tried, row.held = outcomes.total(), outcomes.total() - outcomes["failed"]
        row.seconds = whole.seconds * row.tried / max(1, len(found))
        row.note = ", ".join(
            f"{outcomes[name]} {name}" for name in ("refused", "not finite") if outcomes[name]
        )
        yield row
