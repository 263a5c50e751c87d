"""Whole runs in this process: a few reviews, a tiny encoder, and the door that users take."""

import os
from pathlib import Path
from unittest.mock import patch

import accelerate

from hftune.data.sample import load_sample
from hftune.launcher import launch
from hftune.recipe import Recipe

SIZES = {"train": 90, "validation": 20, "test": 20}  # 90: every epoch ends in a shorter window


def write_reviews(folder: Path) -> Path:
    """Writes rows of the built-in sample as train.csv, validation.csv and test.csv."""
    for name, split in load_sample().items():
        split.select(range(SIZES[name])).to_csv(folder / f"{name}.csv", index=False)
    return folder


def file_flags(reviews: Path) -> list:
    """Returns the flags that name the files of `write_reviews`."""
    return [part for name in SIZES for part in (f"--{name}_file", reviews / f"{name}.csv")]


def run_recipe(recipe: Recipe, flags: list, run_dir: Path) -> dict[str, float]:
    """Launches a recipe as a program of its own would, with nothing left of an earlier run."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    with patch.dict(os.environ):  # a run without the Hub tells its process to stay offline
        return launch(recipe, [str(flag) for flag in [*flags, "--output_dir", run_dir]])
