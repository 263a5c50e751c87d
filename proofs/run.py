"""Tries what hftune promises, many times, and writes what held to docs/proofs.md.

    python -m proofs.run                        # everything: an hour on two cores
    python -m proofs.run --only kills --kills 5
    python -m proofs.run --only draws --draws 1000 --jobs 2
    python -m proofs.run --only draws --draws 1 --first 137

Proofs: kills, saves, worlds, steps, draws, disk, damage, signals, ranks, together, network, nodes, slurm.
Each can be repeated alone; the page is made of the newest findings of all. `nodes` needs root, `slurm` also
the commands of SLURM and munge; where they cannot be tried it is said why.
"""

import argparse
import atexit
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

SCRATCH = ""
if __name__ == "__main__":  # each process that is tried imports this file too, and inherits the variables
    SCRATCH = tempfile.mkdtemp(prefix="hftune-proofs-")
    atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
    os.environ |= {  # before any library reads it
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": f"{SCRATCH}/cache",
        "HF_DATASETS_CACHE": f"{SCRATCH}/cache/datasets",
    }

from proofs.damage import all_noticed, real_checkpoint_damaged, small_checkpoints  # noqa: E402
from proofs.disk import CODES, failing_saves, files_that_may_not_grow  # noqa: E402
from proofs.draws import Data  # noqa: E402
from proofs.hosts import why_no_hosts  # noqa: E402
from proofs.jobs import ROOT, STEPS, Job, make_jobs  # noqa: E402
from proofs.kills import killed_at_random, killed_while_saving, resumed_from_every_step  # noqa: E402
from proofs.network import without_network  # noqa: E402
from proofs.nodes import on_two_hosts  # noqa: E402
from proofs.resumed import drawn_runs  # noqa: E402
from proofs.slurm import on_a_cluster, why_no_slurm  # noqa: E402
from proofs.stopping import (  # noqa: E402
    LAUNCHERS,
    TARGETS,
    launcher_killed,
    restarted_by_torchrun,
    stopped,
)
from proofs.table import Row, commit, keep, write_page  # noqa: E402
from proofs.together import started_together  # noqa: E402

KILLS = 50
DRAWS = 200
RECIPES = ("encoder", "textcnn", "images")
PAGE = ROOT / "docs" / "proofs.md"
FOUND = ROOT / "runs" / "proofs"


class Trials:
    """All proofs, each a method that yields its rows.

    Args:
        jobs: What can be run, by name.
        folder: Room for runs.
        kills: How many kills each recipe gets on each number of processes.
        draws: Numbers of the settings that are drawn.
        at_once: How many of those run at a time.
    """

    def __init__(self, jobs: dict[str, Job], folder: Path, kills: int, draws: range, at_once: int):
        self.jobs, self.folder, self.kills, self.draws, self.at_once = jobs, folder, kills, draws, at_once
        self.draw = random.Random(0)

    def all_kills(self) -> Iterator[Row]:
        """SIGKILL at random instants, on one process and on two."""
        for name in RECIPES:
            for world in ((1,), (2,)):
                yield killed_at_random(self.jobs[name], self.folder, world, self.kills, self.draw)

    def saves(self) -> Iterator[Row]:
        """SIGKILL while a checkpoint is written, which random instants seldom meet."""
        times = max(1, self.kills // 5)
        for name in RECIPES:
            for world in (1, 2):
                yield killed_while_saving(self.jobs[name], self.folder, world, times, self.draw)

    def worlds(self) -> Iterator[Row]:
        """The same with another number of processes after each kill; the first has two micro-batches."""
        for job in self.jobs.values():
            if job.sums_over_processes:
                two = job.but(gradient_accumulation_steps=2)
                yield killed_at_random(two, self.folder, (1, 2, 1), self.kills, self.draw)

    def steps(self) -> Iterator[Row]:
        """A resume from every step."""
        for name in (*RECIPES, "hot dogs"):
            for accumulation in (1, 3):
                for workers in (0, 2):
                    yield resumed_from_every_step(self.jobs[name], self.folder, accumulation, workers)

    def drawn(self) -> Iterator[Row]:
        """Settings drawn at random."""
        yield from drawn_runs(Data(self.folder / "drawn"), self.folder, self.draws, self.at_once)

    def disk(self) -> Iterator[Row]:
        """Disks that fail or are full."""
        for name in ("encoder", "images"):
            yield failing_saves(self.jobs[name], self.folder, CODES)
            yield files_that_may_not_grow(self.jobs[name], self.folder)

    def damage(self) -> Iterator[Row]:
        """Checkpoints that are not what was written."""
        path = small_checkpoints(self.folder / "small")
        yield all_noticed("a small checkpoint: every bit, every length: noticed", path, self.draw, None)
        for name in RECIPES:
            yield real_checkpoint_damaged(self.jobs[name], self.folder, self.draw)

    def signals(self) -> Iterator[Row]:
        """SIGTERM and SIGINT."""
        for name in LAUNCHERS:
            yield stopped(self.jobs["encoder"], self.folder, [name], list(TARGETS), self.draw)

    def ranks(self) -> Iterator[Row]:
        """Processes that lose their launcher or a neighbour."""
        launchers = [name for name in LAUNCHERS if name not in ("python", "hftune run")]
        yield launcher_killed(self.jobs["encoder"], self.folder, launchers)
        yield restarted_by_torchrun(self.jobs["encoder"], self.folder, max(1, self.kills // 5))

    def together(self) -> Iterator[Row]:
        """Runs that share their caches."""
        for name in ("encoder", "textcnn"):
            yield started_together(self.jobs[name], self.folder, max(1, self.kills // 10))

    def network(self) -> Iterator[Row]:
        """No network."""
        for job in self.jobs.values():
            yield without_network(job, self.folder)

    def nodes(self) -> Iterator[Row]:
        """Two hosts by torchrun."""
        if why := why_no_hosts():
            print(f"nodes: not tried: {why}", flush=True)
            return
        yield from on_two_hosts(self.jobs, self.folder)

    def slurm(self) -> Iterator[Row]:
        """Two nodes by SLURM."""
        if why := why_no_slurm():
            print(f"slurm: not tried: {why}", flush=True)
            return
        yield from on_a_cluster(self.jobs, self.folder)


def main() -> None:
    """Runs the proofs that were asked for, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", help="one proof instead of all")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"kills of each kind (default {KILLS})")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"drawn settings (default {DRAWS})")
    parser.add_argument("--first", type=int, default=0, help="number of the first draw (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="draws at a time (default 1)")
    asked = parser.parse_args()
    # A shell starts what runs in its background deaf to Ctrl-C, and all that this starts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    at = commit()  # files may be edited while it tries
    jobs = make_jobs(Path(SCRATCH, "data"))
    draws = range(asked.first, asked.first + asked.draws)
    trials = Trials(jobs, Path(SCRATCH), asked.kills, draws, asked.jobs)
    proofs: dict[str, Callable[[], Iterator[Row]]] = {
        "kills": trials.all_kills,
        "saves": trials.saves,
        "worlds": trials.worlds,
        "steps": trials.steps,
        "draws": trials.drawn,
        "disk": trials.disk,
        "damage": trials.damage,
        "signals": trials.signals,
        "ranks": trials.ranks,
        "together": trials.together,
        "network": trials.network,
        "nodes": trials.nodes,
        "slurm": trials.slurm,
    }
    if asked.only and asked.only not in proofs:
        parser.error(f"--only {asked.only}: there are {', '.join(proofs)}")
    failed = 0
    for name in [asked.only] if asked.only else proofs:
        rows = []
        for row in proofs[name]():
            rows.append(row)
            failed += row.tried - row.held
            print(f"{row.held}/{row.tried}  {row.claim}  ({row.seconds:.0f} s) {row.note}", flush=True)
        if rows:
            keep(rows, FOUND, name, at)
        write_page(FOUND, list(proofs), PAGE, STEPS)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
