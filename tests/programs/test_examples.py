"""The projects in examples/ do what they say, run as a user would: in a copy of their folder, by python."""

import json
import runpy
import shutil
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from tests.forked import run_python

EXAMPLES = Path(__file__).parents[2] / "examples"

# Without hftune: what a project saved is for others.
LOAD = """
import json, sys
sys.modules["hftune"] = None
from transformers import pipeline
task, folders, *inputs = sys.argv[1:]
labels = {}
for folder in folders.split():
    answers = pipeline(task, folder, trust_remote_code=True)(inputs)
    best = [max([a] if isinstance(a, dict) else a, key=lambda one: one["score"]) for a in answers]
    labels[folder] = [one["label"] for one in best]
print(json.dumps(labels))
"""


def python(folder: Path, *words: str) -> str:
    done = run_python(words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(folder: Path, task: str, runs: str, *inputs: str) -> dict[str, list[str]]:
    """Returns the labels that each saved model gives in a process that lacks hftune."""
    said = python(folder, "-I", "-c", LOAD, task, runs, *inputs)
    return json.loads(said.splitlines()[-1])


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("runs")))


def test_reviews_with_a_model_of_its_own(tmp_path):
    folder = copied("reviews", tmp_path)
    python(folder, "reviews.py", "--bf16", "false")
    results = json.loads((folder / "runs/reviews/all_results.json").read_text())
    assert results["test_accuracy"] > 0.7
    config = json.loads((folder / "runs/reviews/config.json").read_text())
    assert (config["model_type"], config["pooling"]) == ("pooled_encoder", "mean")
    texts = ["Warm rolls, friendly people, wonderful tea.", "Stale rolls, rude people, awful tea."]
    given = answers(folder, "text-classification", "runs/reviews", *texts)
    assert given == {"runs/reviews": ["kind", "unkind"]}


def test_tiles_with_data_of_its_own_in_both_loops(tmp_path):
    folder = copied("tiles", tmp_path)
    python(folder, "tiles.py", "--bf16", "false")
    results = json.loads((folder / "runs/tiles/all_results.json").read_text())
    assert results["test_samples"] == 24
    assert results["test_accuracy"] > 0.7
    said = python(folder, "with_trainer.py")
    (scores,) = (line for line in said.splitlines() if "test_accuracy" in line)
    assert {"test_accuracy", "test_f1_macro", "test_ece"} <= {
        word.strip(" {'") for word in scores.replace(",", ":").split(":")
    }
    draw = runpy.run_path(str(folder / "tiles.py"))["draw"]
    for row in (900, 901):
        Image.fromarray(draw(row)).save(folder / f"{row}.png")
    runs = ["runs/tiles", "runs/trainer"]
    given = answers(folder, "image-classification", " ".join(runs), "900.png", "901.png")
    assert given == {run: ["striped", "chequered"] for run in runs}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_a_project_names_its_modules_and_hftune(name):
    project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())
    modules = project["tool"]["setuptools"]["py-modules"]
    assert {path.stem for path in (EXAMPLES / name).glob("*.py")} == set(modules)
    assert project["project"]["dependencies"][0].startswith("hftune")
    page = (EXAMPLES / name / "README.md").read_text()
    assert all(f"{module}.py" in page for module in modules)
