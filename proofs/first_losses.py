"""Prints the first ten losses of every recipe, to the last digit: what should change nothing keeps them.

    python -m proofs.first_losses > before.json      # in one checkout
    python -m proofs.first_losses before.json        # in another, on the same machine

The recipes run as they stand, on data and checkpoints that this makes: no Hub, no downloads, one thread.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ["--dataset_name", "sample", "--max_train_samples", "400", "--max_eval_samples", "40"]
COMMON = ["--max_steps", "10", "--logging_steps", "1", "--eval_strategy", "no", "--save_strategy", "no"]
COMMON += ["--baselines", "false"]
FLOAT32 = ["--bf16", "false"]


def flags(folder: Path) -> dict[str, list[str]]:
    """Returns what each recipe is told besides COMMON, and makes what the flags name."""
    from tests.tiny import tiny_checkpoint

    encoder = tiny_checkpoint("bert", folder / "encoder")
    photos = [*SAMPLE, "--model_type", "mobilenetv2_035", "--image_size", "64"]
    return {
        "imdb": [*SAMPLE, *FLOAT32, "--model_name_or_path", str(encoder), "--max_length", "64"],
        "imdb_bag": [*SAMPLE, *FLOAT32],
        "imdb_bilstm": [*SAMPLE, *FLOAT32, "--config_overrides", "embedding_dim=32,hidden_size=32"],
        "imdb_textcnn": [*SAMPLE, *FLOAT32, "--config_overrides", "embedding_dim=32,num_filters=16"],
        "shapes": [*SAMPLE, *FLOAT32],
        "cifar10": [*SAMPLE, *FLOAT32, "--config_overrides", "width=8"],
        "hotdog": [*photos, *FLOAT32],
        "hotdog-bf16": [*photos, "--bf16", "true"],
    }


def losses(name: str, given: list[str], folder: Path) -> list[float]:
    """Runs a recipe in a process of its own; returns its first losses."""
    run_dir = folder / name
    recipe = f"recipes/{name.partition('-')[0]}.py"
    command = [sys.executable, recipe, *COMMON, *given, "--output_dir", str(run_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr[-1000:]}")
    records = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def main() -> None:
    """Prints the losses, or compares them with those of a file."""
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: losses(name, given, Path(scratch)) for name, given in flags(Path(scratch)).items()}
    if len(sys.argv) < 2:
        print(json.dumps(found, indent=1))
        return
    before = json.loads(Path(sys.argv[1]).read_text())
    changed = [name for name in found if found[name] != before.get(name)]
    print(f"{len(found) - len(changed)} of {len(found)} recipes as before", *changed)
    raise SystemExit(1 if changed else 0)


if __name__ == "__main__":
    main()
