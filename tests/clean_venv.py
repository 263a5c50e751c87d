"""Proves that what hftune pushes is used where hftune is not installed: in a virtual environment without it.

    python -m tests.clean_venv              # a new environment, filled from the package registry: about 6 GB
    python -m tests.clean_venv --borrow     # a new environment that borrows this one's packages: seconds

Each kind of model is trained for a moment and pushed to the tests' own Hub by `hftune push`. In the new
environment transformers' pipeline pulls it by its id and must give the probabilities of the run's
test_predictions.csv; so must the model saved again from there, in a process that may not ask the Hub; and
timm must load what is timm's. An environment in which hftune can be imported is refused.
"""

import csv
import json
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hftune.data.image.sample import load_shapes
from hftune.recipe import Recipe
from hftune.recipes import imdb, shapes
from tests.hub.test_push import environment
from tests.loopback import WRITE, Hub
from tests.runs import file_flags, run_recipe, write_reviews
from tests.tiny import tiny_checkpoint

TOLERANCE = 1e-5  # of a probability; test_predictions.csv has six digits
ROWS = 12  # of each test set
PACKAGES = ["torch", "torchvision", "transformers>=5.23,<6", "timm>=1.0.23", "pillow"]
SHORT = ["--max_steps", 6, "--baselines", "false", "--bf16", "false"]
SHORT += ["--per_device_train_batch_size", 8, "--learning_rate", 1e-2]
OWN_CODE = {"textcnn", "bilstm", "bag", "pooled", "resnet9"}

# What a stranger does: words are the jobs, the folder of what is saved again, and "pull" or "again".
STRANGER = """
import importlib.util, json, sys
if importlib.util.find_spec("hftune"):
    sys.exit("hftune can be imported in this environment, so it proves nothing")
import torch
import transformers
from PIL import Image

transformers.logging.set_verbosity_error()
jobs, home, step = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
answers = {}
for name, job in jobs.items():
    texts = job["task"] == "text-classification"
    inputs = job["inputs"] if texts else [Image.open(path) for path in job["inputs"]]
    trust = {"trust_remote_code": True} if job["own_code"] else {}
    source = job["id"] if step == "pull" else f"{home}/{name}"
    pipe = transformers.pipeline(job["task"], source, device="cpu", dtype=torch.float32, **trust)
    told = pipe(inputs, top_k=1000, **({"truncation": True} if texts else {}))
    answers[name] = [{one["label"]: one["score"] for one in row} for row in told]
    if step == "pull":
        pipe.model.save_pretrained(f"{home}/{name}")
        processor = pipe.tokenizer if texts else pipe.image_processor
        if name != "timm":  # transformers 5.23 reads this processor from config.json and cannot write it
            processor.save_pretrained(f"{home}/{name}")
        else:
            import timm

            model = timm.create_model(f"hf_hub:{job['id']}", pretrained=True).eval()
            with torch.inference_mode():
                rows = model(processor(inputs, return_tensors="pt")["pixel_values"]).softmax(-1).tolist()
            labels = [pipe.model.config.id2label[number] for number in range(len(rows[0]))]
            answers["timm.create_model"] = [dict(zip(labels, row)) for row in rows]
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Kind:
    """A model to push: which recipe trains it, and what its test rows are to a pipeline."""

    recipe: Recipe
    flags: list
    task: str
    inputs: list[str]


def kinds(folder: Path) -> dict[str, Kind]:
    """Returns each kind of model, with data in a folder."""
    (folder / "reviews").mkdir()
    reviews = write_reviews(folder / "reviews")
    encoder = tiny_checkpoint("bert", folder / "encoder")
    models = {
        "textcnn": ["--model_type", "textcnn", "--config_overrides", "embedding_dim=8,num_filters=6"],
        "bilstm": ["--model_type", "bilstm", "--config_overrides", "embedding_dim=8,hidden_size=6"],
        "bag": ["--model_type", "bag", "--config_overrides", "embedding_dim=8,num_buckets=97"],
        "pooled": ["--model_name_or_path", encoder, "--pooling", "attention"],
        "native": ["--model_name_or_path", encoder],
        "resnet9": ["--model_type", "resnet9", "--config_overrides", "width=4", "--image_size", 16],
        "timm": ["--model_type", "resnet10t", "--image_size", 32],
    }
    with (reviews / "test.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:ROWS]
    images = []
    for row, image in enumerate(load_shapes()["test"].select(range(ROWS))["image"]):
        images.append(str(folder / f"{row}.png"))
        image.save(images[-1])
    of_texts = [*SHORT, *file_flags(reviews), "--max_length", 48]
    of_images = [*SHORT, "--max_train_samples", 48]
    return {
        name: Kind(shapes.recipe, [*of_images, *flags], "image-classification", images)
        if name in ("resnet9", "timm")
        else Kind(imdb.recipe, [*of_texts, *flags], "text-classification", texts)
        for name, flags in models.items()
    }


def make_environment(folder: Path, borrow: bool) -> Path:
    """Makes a virtual environment without hftune; returns its Python."""
    venv.create(folder, with_pip=not borrow, symlinks=True)
    python = folder / "bin" / "python"
    if not borrow:
        quiet = ["install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", *quiet, *PACKAGES], check=True)
        return python
    # A folder that a .pth file names is searched, but .pth files inside it are not read: no editable install.
    (target,) = folder.glob("lib/python*/site-packages")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (target / "borrowed.pth").write_text("\n".join(packages) + "\n")
    return python


def expected(run_dir: Path) -> list[dict[str, float]]:
    """Returns the probabilities of a run's first test rows, by label."""
    with (run_dir / "test_predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for _, row in zip(range(ROWS), csv.DictReader(file), strict=False)]
    return [
        {name: float(text) for name, text in row.items() if name not in ("row", "label", "prediction")}
        for row in rows
    ]


def difference(told: list[dict[str, float]], run_dir: Path) -> float:
    """Returns the largest difference between the probabilities of a pipeline and those of a run."""
    truth = expected(run_dir)
    assert [row.keys() for row in told] == [row.keys() for row in truth], "other labels, or other rows"
    pairs = zip(told, truth, strict=True)
    differences = [abs(here[label] - there[label]) for here, there in pairs for label in there]
    return float(np.max(differences))  # NaN, if there is one


def push(run_dir: Path, name: str, variables: dict[str, str]) -> None:
    """Pushes a run as a user would."""
    program = [sys.executable, "-c", "from hftune.cli.main import main; main()"]
    words = ["push", run_dir, "--hub_model_id", f"ann/{name}"]
    subprocess.run([*program, *words], env=variables, check=True, stdout=subprocess.DEVNULL)


def ask(python: Path, words: list[str], variables: dict[str, str], folder: Path) -> dict[str, list]:
    """Lets a stranger use the models."""
    done = subprocess.run(
        [python, "-I", "-c", STRANGER, *words],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"error: in the clean environment: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prove(folder: Path, borrow: bool) -> dict[tuple[str, str], float]:
    """Returns, for each model and each way to it, the largest difference of a probability."""
    python = make_environment(folder / "venv", borrow)
    found: dict[tuple[str, str], float] = {}
    home = folder / "user"
    home.mkdir()
    with Hub() as hub:
        variables = environment(home, hub.url, WRITE) | {"HF_HUB_DISABLE_XET": "1"}
        jobs = {}
        for name, kind in kinds(folder).items():
            run_recipe(kind.recipe, kind.flags, folder / "runs" / name)
            push(folder / "runs" / name, name, variables)
            jobs[name] = {"id": f"ann/{name}", "task": kind.task, "inputs": kind.inputs}
            jobs[name]["own_code"] = name in OWN_CODE
        again = folder / "again"
        variables["HF_HOME"] = str(folder / "stranger")
        for step in ("pull", "again"):
            told = ask(python, [json.dumps(jobs), str(again), step], variables, folder)
            for name, rows in told.items():
                run = "timm" if name == "timm.create_model" else name
                found[name, step] = difference(rows, folder / "runs" / run)
            variables["HF_HUB_OFFLINE"] = "1"
    return found


def main() -> None:
    """Prints a table of what was tried, and ends with code 1 where something differs."""
    borrow = sys.argv[1:] == ["--borrow"]
    if sys.argv[1:] and not borrow:
        raise SystemExit(f"error: {sys.argv[1]}: the only flag is --borrow")
    with tempfile.TemporaryDirectory(prefix="hftune-clean-") as folder:
        found = prove(Path(folder), borrow)
    table = Table("model", "how", "largest difference of a probability")
    ways = {"pull": "by its id from the Hub", "again": "saved again by the stranger, no Hub"}
    for (name, step), value in found.items():
        table.add_row(name, ways[step], f"{value:.1e}")
    Console().print(table)
    if not all(value <= TOLERANCE for value in found.values()):
        raise SystemExit(f"error: more than {TOLERANCE:g}")


if __name__ == "__main__":
    main()
