"""What a person may want to do with a finished run."""

import sys
from pathlib import Path

from hftune.report.model_use import task_of, use_line
from hftune.storage.files import read_json

TO_LOOK_AT = ("curve.png", "confusion.png", "mistakes.png", "test_predictions.csv")


def next_steps(run_dir: Path) -> list[str]:
    """Returns one line for each."""
    there = [name for name in TO_LOOK_AT if (run_dir / name).exists()]
    own = "--train_dir FOLDER" if task_of(run_dir) == "image-classification" else "--train_file FILE.csv"
    steps = [
        f"look at {', '.join(there)} there",
        f"use it: {use_line(run_dir, read_json(run_dir / 'config.json'))}",
    ]
    if getattr(sys.modules["__main__"], "__file__", None):  # a notebook has none
        steps.append(f"try your own rows: accelerate launch {sys.argv[0]} {own} --output_dir runs/mine")
    return steps
