"""SIGKILL at random instants, other numbers of processes between kills, and a resume from every step."""

import random
import time
from collections import Counter
from pathlib import Path

from hftune.storage.checkpoint import list_checkpoints
from proofs.jobs import STEPS, Group, Job, finish, remove
from proofs.table import Row
from tests.runs import start_from

ENDS_WITHIN = 15.0  # seconds, for the processes whose neighbour was killed


def killed_at_random(job: Job, folder: Path, worlds: tuple[int, ...], kills: int, draw: random.Random) -> Row:
    """Kills a run three to six times at random instants, lets it finish, and again, until enough have hit.

    Args:
        job: What to run.
        folder: Where.
        worlds: How many processes the first, second, ... start has; they come round again.
        kills: How many must hit a run that lives.
        draw: Chooses instants and victims.

    Returns:
        The row: one trial per kill, which held if the run that it hit ended as if it had not.
    """
    how = " then ".join(str(world) for world in worlds)
    claim = f"{job.name}: killed at random on {how} process{'es' if worlds != (1,) else ''}, ends the same"
    with Row(claim) as row:
        began = time.monotonic()
        straight = finish(job, folder / "straight", worlds[0])
        lasts = time.monotonic() - began
        phases: Counter[str] = Counter()
        slowest = 0.0
        while row.tried < kills:
            run_dir = folder / "killed"
            wanted = min(draw.randint(3, 6), kills - row.tried)
            hits = start = 0  # a start counts once run.json stands, in which the first one notes its shares
            for _ in range(10 * wanted):
                if hits == wanted:
                    break
                with Group(job, run_dir, worlds[start % len(worlds)]) as group:
                    if group.wait(draw.uniform(0, lasts)):
                        break
                    phases[phase(run_dir)] += 1
                    hits += 1
                    slowest = max(slowest, _kill(group, draw))
                start += (run_dir / "run.json").exists()
            same = finish(job, run_dir, worlds[-1]) == straight and not list(run_dir.glob(".tmp-*"))
            for _ in range(hits):
                row.count(same)
            remove(run_dir)
        remove(folder / "straight")
        row.note = ", ".join(f"{count} {name}" for name, count in phases.most_common())
        if max(worlds) > 1:
            row.note += f"; a process whose neighbour was killed ended within {slowest:.1f} s"
    return row


def killed_while_saving(job: Job, folder: Path, world: int, kills: int, draw: random.Random) -> Row:
    """Kills runs while they write a checkpoint, at any point of a run, until enough have hit."""
    claim = f"{job.name}: killed while saving on {world} process{'es' if world > 1 else ''}, ends the same"
    with Row(claim) as row:
        straight = finish(job, folder / "straight", world)
        while row.tried < kills:
            run_dir = folder / "killed"
            saved = draw.randrange(STEPS // int(job.flags["save_steps"]))  # which of its saves
            hit = False
            with Group(job, run_dir, world) as group:
                while not hit and not group.wait(0.0):
                    steps = list_checkpoints(run_dir)
                    late = saved * int(job.flags["save_steps"]) <= max(steps, default=0)
                    hit = late and any(run_dir.glob(".tmp-checkpoint-*"))
            same = finish(job, run_dir, world) == straight and not list(run_dir.glob(".tmp-*"))
            if hit:
                row.count(same)
            remove(run_dir)
        remove(folder / "straight")
    return row


def _kill(group: Group, draw: random.Random) -> float:
    """Kills all processes or one; returns the seconds that the others lived on.

    Raises:
        AssertionError: They lived on for too long.
    """
    if len(group.processes) == 1 or draw.random() < 0.5:
        group.kill()
        return 0.0
    group.kill(only=draw.randrange(len(group.processes)))
    if "batches: " not in group.text():  # they have not met yet; torchrun kills whoever waits for the other
        return 0.0
    began = time.monotonic()
    assert group.wait(ENDS_WITHIN), f"a process waits for a dead one: {group.text()}"
    return time.monotonic() - began


def phase(run_dir: Path) -> str:
    """Says what a run was doing, by what it has left."""
    if not (run_dir / "run.json").exists():
        return "before training"
    if list(run_dir.glob(".tmp-checkpoint-*")):
        return "saving"
    if STEPS in list_checkpoints(run_dir):
        return "scoring"
    return "training"


def resumed_from_every_step(job: Job, folder: Path, accumulation: int, workers: int, every: int = 1) -> Row:
    """Starts a run again from each of its checkpoints, one per step, as if it had been killed there."""
    claim = (
        f"{job.name}: resumed after every {'' if every == 1 else f'{every}th '}step, accumulation "
        f"{accumulation}, {workers} workers, ends the same"
    )
    job = job.but(
        save_steps=1,
        save_total_limit="none",
        gradient_accumulation_steps=accumulation,
        dataloader_num_workers=workers,
    )
    with Row(claim) as row:
        straight = finish(job, folder / "every-step")
        steps = list_checkpoints(folder / "every-step")
        assert steps == list(range(1, STEPS + 1)), f"checkpoints of {steps}"
        for step in steps[every - 1 :: every]:
            run_dir = folder / f"from-{step}"
            start_from(folder / "every-step", run_dir, step)
            row.count(finish(job, run_dir) == straight)
            remove(run_dir)
        remove(folder / "every-step")
    return row
