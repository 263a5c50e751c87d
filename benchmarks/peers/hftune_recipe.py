"""hftune: a recipe as it is, told the case's rows and sizes by its own flags.

The clock hangs on the recipe's `after_step`; what each step held is read off the plan of batches when
all is done, so that nothing of the measurement runs in the loop but the clock.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import stopwatch
from case import Job

# What the two sides do not share is left out, and what only costs time around the steps.
PLAIN = {"eval_strategy": "no", "save_strategy": "no", "baselines": "false", "head_lr_multiplier": "1"}


def main(job: Job) -> None:
    """Trains by the recipe, and reports."""
    from hftune import launch

    watch = stopwatch.Stopwatch(job)
    recipe = import_module(f"hftune.recipes.{job['recipe']}").recipe
    seen: dict[str, Any] = {}

    def load_data(settings: Any) -> Any:
        seen["settings"], seen["data"] = settings, recipe.load_data(settings)
        return seen["data"]

    clocked = recipe.replace(load_data=load_data, after_step=lambda steps, model: watch.mark())
    results = launch(clocked, flags(job))
    if len(watch.marks) != watch.end + 1:
        raise SystemExit(f"error: {len(watch.marks) - 1} steps were made, not {watch.end}")
    if os.environ.get("RANK", "0") != "0":
        return
    tokens, places = contents(seen["settings"], seen["data"], watch)
    watch.report(
        accuracy=results["test_accuracy"], scored=len(seen["data"].test), tokens=tokens, places=places
    )


def flags(job: Job) -> list[str]:
    """Returns the recipe's command line."""
    given: dict[str, Any] = PLAIN | {
        "output_dir": f"{job['scratch']}/run",
        "per_device_train_batch_size": job["batch"] // job.get("processes", 1),
        "num_train_epochs": job["epochs"],
        "learning_rate": job["learning_rate"],
        "seed": job["seed"],
        "bf16": "true" if job["precision"] == "bf16" else "false",
    }
    if job.get("whole"):
        given |= {"dataset_name": job["data"], "max_steps": job["rows"] // job["batch"]}
        given["max_eval_samples"] = job["scored"]
    else:
        given |= {
            f"{name}_file": f"{job['folder']}/{name}.parquet" for name in ("train", "validation", "test")
        }
    for name in ("max_length", "image_size"):
        if name in job:
            given[name] = job[name]
    if "workers" in job:
        given["dataloader_num_workers"] = job["workers"]
    if job.get("model"):
        made = Path(job["folder"], "encoder")
        given["model_name_or_path"] = made if made.exists() else job["model"]
    given |= job.get("flags", {})
    return [*(str(part) for name, value in given.items() for part in (f"--{name}", value)), *job["extra"]]


def contents(settings: Any, data: Any, watch: stopwatch.Stopwatch) -> tuple[int, int]:
    """Returns the tokens of the timed steps without and with padding; zeros where rows are images."""
    from hftune.training.setup import build_plan

    if not hasattr(settings, "max_length"):
        return 0, 0
    processes = watch.job.get("processes", 1)
    plan = build_plan(settings, data, processes, processes * settings.gradient_accumulation_steps)
    batches = [micro.rows for step in plan.steps(watch.begin, watch.end) for micro in step.micro_batches]
    lengths = [plan.lengths[rows] for rows in batches]
    return sum(int(part.sum()) for part in lengths), sum(int(part.max()) * len(part) for part in lengths)


if __name__ == "__main__":
    stopwatch.main(main)
