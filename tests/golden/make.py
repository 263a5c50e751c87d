"""Makes the golden run of this version: a finished run of a small text model, and its last checkpoints.

    python -m tests.golden.make v1

Make one whenever the format of run.json or of a checkpoint changes, under a new name, and keep the old ones.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # before any library reads it

from hftune.recipes import imdb_textcnn
from tests.runs import run_recipe

HERE = Path(__file__).parent
KEPT_AT = 6  # of 9 steps: the checkpoint from which later versions go on
WORDS = {"good": ("fine", "great", "loved"), "bad": ("dull", "awful", "hated")}
FLAGS = [
    *("--config_overrides", "embedding_dim=4,num_filters=2", "--min_frequency", 1, "--max_length", 8),
    *("--max_steps", 9, "--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 2),
    *("--save_strategy", "steps", "--save_steps", 3, "--save_total_limit", "none", "--model_ema", 0.5),
    *("--load_best_model_at_end", "false", "--baselines", "false", "--bf16", "false"),
    *("--train_file", "train.csv", "--validation_file", "train.csv", "--test_file", "train.csv"),
]
COPIED = ("run.json", "all_results.json", "test_predictions.csv")


def write_rows(path: Path) -> None:
    """Writes the data of every golden run: 24 lines, half of each kind."""
    lines = ["text,label"]
    for number in range(12):
        for label, words in WORDS.items():
            lines.append(f"the film of year {number} was {words[number % 3]},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Trains in a scratch folder and copies what later versions need."""
    target = HERE / sys.argv[1]
    target.mkdir()
    os.chdir(tempfile.mkdtemp())
    write_rows(Path("train.csv"))
    run_recipe(imdb_textcnn.recipe, FLAGS, Path("run"))
    for name in COPIED:
        shutil.copy(Path("run", name), target)
    shutil.copytree(Path("run", f"checkpoint-{KEPT_AT}"), target / f"checkpoint-{KEPT_AT}")
    record = json.loads((target / "run.json").read_text(encoding="utf-8"))
    for name in ("all_results.json", "run.json"):  # written small
        content = json.loads((target / name).read_text(encoding="utf-8"))
        (target / name).write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    shutil.rmtree("run")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size:,} bytes, made with {record['versions']}")


if __name__ == "__main__":
    main()
