"""What a person may want to do with a finished run."""

import sys
from pathlib import Path

from hftune.report.model_use import modality_of, use_line
from hftune.storage.files import read_json
from hftune.tasks.base import Task

TO_LOOK_AT = (
    *("curve.png", "confusion.png", "scatter.png", "entities.png", "labels.png", "mistakes.png"),
    *("test_predictions.csv", "test_predictions.jsonl"),
)
OWN_ROWS = {"image": "--train_dir FOLDER"} | dict.fromkeys(("text", "text pair"), "--train_file FILE.csv")


def next_steps(run_dir: Path, task: Task) -> list[str]:
    """Returns one line for each.

    Args:
        run_dir: The run's folder.
        task: What its model was asked.
    """
    there = [name for name in TO_LOOK_AT if (run_dir / name).exists()]
    config = read_json(run_dir / "config.json")
    steps = [
        f"look at {', '.join(there)} there",
        f"use it: {use_line(run_dir, task, config)}",
    ]
    if getattr(sys.modules["__main__"], "__file__", None):  # a notebook has none
        own = OWN_ROWS[modality_of(run_dir, config)]
        steps.append(f"try your own rows: accelerate launch {sys.argv[0]} {own} --output_dir runs/mine")
    return steps
