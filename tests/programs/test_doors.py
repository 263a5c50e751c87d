"""CONTRIBUTING.md: each change applies to a copy of the code, in few places, and its command shows it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from tests.forked import run_python

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
DOORS = {
    title: (diff, commands)
    for title, diff, commands in re.findall(
        r"^### ([^\n]+)\n\n[^\n]+\n\n```diff\n(.*?)^```\n\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
}
FILES = {  # that a change touches, new ones with a +
    "A metric": ["hftune/tasks/class_metrics.py"],
    "A text model": ["hftune/models/standalone/__init__.py", "+hftune/models/standalone/average.py"],
    "A preset of augmentation": ["hftune/data/image/presets.py"],
    "A task": ["hftune/tasks/__init__.py", "+hftune/tasks/ordered.py"],
    "A recipe": ["+recipes/imdb_characters.py"],
    "A command": ["hftune/cli/main.py", "+hftune/cli/rows.py"],
}


def go_through(title: str, folder: Path) -> str:
    """Makes a change in a copy of the code, and runs its commands there; returns what they print."""
    diff, commands = DOORS[title]
    for name in ("hftune", "recipes", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    # An installed clone has its recipes elsewhere: here they must be the copy's.
    (folder / "hftune" / "recipes").symlink_to(folder / "recipes")
    subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, text=True, check=True)
    said = ""
    for command in commands.splitlines():
        program, *words = shlex.split(command)
        start = {"python": [], "hftune": [Path(sys.executable).parent / "hftune"]}[program]
        done = run_python([*start, *words], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)})
        assert done.returncode == 0, done.stderr
        said += done.stdout
    return said


def results_of(folder: Path, name: str = "imdb_bag") -> dict[str, float]:
    return json.loads((folder / "runs" / name / "all_results.json").read_text())


def test_each_change_is_one_file_and_one_line():
    assert DOORS.keys() == FILES.keys()
    for title, (diff, _) in DOORS.items():
        hunks = re.findall(r"^--- (\S+)\n\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", diff, re.MULTILINE | re.DOTALL)
        assert [("+" if old == "/dev/null" else "") + new for old, new, _ in hunks] == FILES[title], title
        assert not re.search(r"^-(?!-- )", diff, re.MULTILINE), f"{title}: a line is removed"
        if len(hunks) == 2:  # a new file, and its line in another
            assert len(re.findall(r"^\+", hunks[0][2], re.MULTILINE)) == 1, title


def test_a_metric(tmp_path):
    assert "balanced accuracy" in go_through("A metric", tmp_path)
    results = results_of(tmp_path)
    low, score, high = (results[f"test_balanced_accuracy{end}"] for end in ("_low", "", "_high"))
    assert 0 < low < score < high < 1
    assert results["test_tfidf_balanced_accuracy"] > 0
    assert "balanced accuracy" in (tmp_path / "runs" / "imdb_bag" / "README.md").read_text()


def test_a_text_model_that_transformers_loads(tmp_path, monkeypatch):
    go_through("A text model", tmp_path)
    run = tmp_path / "runs" / "imdb_bag"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = AutoModelForSequenceClassification.from_pretrained(run, trust_remote_code=True)
    assert type(model).__name__ == "AverageForSequenceClassification"
    assert model.config.embedding_dim == 16
    assert results_of(tmp_path)["train_steps"] == 5


def test_a_preset_of_augmentation(tmp_path):
    assert go_through("A preset of augmentation", tmp_path) == "look at runs/shapes/augment.png\n"
    assert (tmp_path / "runs" / "shapes" / "augment.png").stat().st_size > 10_000


def test_a_task(tmp_path):
    assert "steps off" in go_through("A task", tmp_path)
    results = results_of(tmp_path)
    low, score, high = (results[f"test_steps_off{end}"] for end in ("_low", "", "_high"))
    assert low <= score <= high
    assert score == pytest.approx(1 - results["test_accuracy"])  # of two labels


def test_a_recipe(tmp_path):
    assert re.search(r"^imdb_characters +imdb ", go_through("A recipe", tmp_path), re.MULTILINE)
    assert results_of(tmp_path, "imdb_characters")["train_steps"] == 5


def test_a_command(tmp_path):
    assert go_through("A command", tmp_path) == (
        "examples/reviews/train.csv: 48 rows; columns: text, label\n"
    )
