"""Runs that start at the same moment and share every cache: each ends as if it were alone."""

from pathlib import Path

from proofs.jobs import PATIENCE, Group, Job, fingerprint, finish, remove
from proofs.table import Row

AT_ONCE = 8


def started_together(job: Job, folder: Path, rounds: int) -> Row:
    """Starts eight runs of a text recipe at once; each round cuts texts elsewhere, so no cache is warm."""
    with Row(f"{job.name}: {AT_ONCE} runs at once on shared caches end as one alone") as row:
        for number in range(rounds):
            cold = job.but(max_length=24 + number, max_steps=8, eval_steps=8)
            groups = [Group(cold, folder / f"at-once-{place}") for place in range(AT_ONCE)]
            ended = all(group.wait(AT_ONCE * PATIENCE) for group in groups)
            alone = finish(cold, folder / "alone")
            for place, group in enumerate(groups):
                run_dir = folder / f"at-once-{place}"
                row.count(ended and group.codes == [0] and fingerprint(run_dir) == alone)
                remove(run_dir)
            remove(folder / "alone")
    return row
