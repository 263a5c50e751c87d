"""What a measured process notes: when each step ended, what the batches held, what came out.

Nothing heavy is imported before the program does so itself: its start is measured too.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import case


class Stopwatch:
    """Times the last epoch of a job; those before it warm up.

    Args:
        job: Its `rows` are a multiple of its `batch`, so that every epoch has the same steps.
    """

    def __init__(self, job: case.Job):
        self.job = job
        steps = job["rows"] // job["batch"]
        self.begin, self.end = (job["epochs"] - 1) * steps, job["epochs"] * steps
        self.marks: list[tuple[float, float]] = []
        self.reached: list[float] = []  # seconds since the launch: before the first step, after it

    def mark(self) -> None:
        """Notes that one more step is done; the first call stands before the first step."""
        if len(self.marks) in (0, 1, self.begin, self.end):
            wait_for_device()
        if len(self.marks) < 2:
            self.reached.append(time.time() - self.job["began"])
        self.marks.append((time.monotonic(), sum(os.times()[:4])))

    def report(self, *, accuracy: float, scored: int, tokens: int = 0, places: int = 0) -> None:
        """Writes the measurement.

        Args:
            accuracy: Of the trained model, 0 to 1.
            scored: Rows that it was scored on.
            tokens: Tokens of the timed epoch, padding not counted; 0 where rows are no texts.
            places: The same with padding.
        """
        seconds, cpu = (
            done - begun for begun, done in zip(self.marks[self.begin], self.marks[self.end], strict=True)
        )
        write(
            self.job,
            {
                **rates(self.job["rows"], seconds, tokens, places),
                "cpu_seconds": cpu,
                "steps": self.end - self.begin,
                "start_seconds": self.reached[0],
                "first_step_seconds": self.reached[1],
                "accuracy": accuracy,
                "scored_rows": scored,
            },
        )


def rates(rows: int, seconds: float, tokens: int, places: int) -> dict[str, float]:
    """Returns what was done a second, and the share of padding among all places of the batches."""
    found = {"rows": rows, "seconds": seconds, "rows_per_second": rows / seconds}
    if places:
        found |= {"tokens_per_second": tokens / seconds, "padding": 1 - tokens / places}
    return found


def write(job: case.Job, measurement: dict[str, Any]) -> None:
    """Leaves a measurement where the runner looks for it."""
    import torch

    measurement["threads"] = torch.get_num_threads()
    if torch.cuda.is_available():
        measurement["gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    Path(job["out"]).write_text(json.dumps(measurement), encoding="utf-8")


def wait_for_device() -> None:
    """Waits until a GPU has done what it was told, so that the time is the work's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def main(program: Callable[[case.Job], None]) -> None:
    """Runs a program on the job whose file is the one argument."""
    program(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
