"""The runs that are tried, small but whole, and how one is started where it can be killed.

A run is forked from a server that has imported everything once, so that a start takes a second and not
ten; each of its processes has its own place in the group, as torchrun would give it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.forked import start_python
from tests.runs import digest, file_flags, free_port, place, write_images, write_reviews
from tests.tiny import tiny_checkpoint

ROOT = Path(__file__).resolve().parents[1]
STEPS = 40
PATIENCE = 120.0  # seconds after which a start counts as hanging
PROGRAM = "import sys; from proofs.jobs import become; become(sys.argv[1])"
SMALL = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "baselines": False,
    "bf16": False,
    "save_strategy": "steps",
    "save_steps": 4,
    "eval_strategy": "steps",
    "eval_steps": 8,
    "save_total_limit": 3,
}
PICTURES = {"train": 90, "validation": 18, "test": 18}  # 90: every epoch ends in a smaller batch


@dataclass(frozen=True)
class Job:
    """A recipe with flags.

    Args:
        name: What the table calls it.
        recipe: Its module in `hftune.recipes`, or "proofs.paced".
        flags: Its flags by name.
        sums_over_processes: Whether its numbers are the same on any number of processes: BatchNorm's
            statistics are those of each process's own rows, so that a model with it changes.
    """

    name: str
    recipe: str
    flags: dict[str, Any] = field(default_factory=dict)
    sums_over_processes: bool = True

    @property
    def file(self) -> Path:
        """The recipe's file."""
        return ROOT / (f"recipes/{self.recipe}.py" if "." not in self.recipe else "proofs/paced.py")

    def but(self, **flags: Any) -> "Job":
        """Returns the job with other flags."""
        return replace(self, flags={**self.flags, **flags})

    def words(self, run_dir: Path) -> list[str]:
        """Returns the command line behind the recipe's name."""
        given = {**self.flags, "output_dir": run_dir}
        return [str(word) for name, value in given.items() for word in (f"--{name}", value)]


def make_jobs(folder: Path) -> dict[str, Job]:
    """Writes data and a tiny encoder to a folder; returns one job of each kind, by name."""
    texts, images = make_data(folder)
    texts |= SMALL | {"max_length": 48}
    images |= SMALL | {"augmentation": "strong"}
    encoder = tiny_checkpoint("bert", folder / "encoder")
    vit = {"model_type": "vit_tiny_patch16_224", "image_size": 32}
    jobs = [
        Job("encoder", "imdb", {**texts, "model_name_or_path": encoder}),
        Job(
            "textcnn",
            "imdb_textcnn",
            {**texts, "config_overrides": "embedding_dim=8,num_filters=4", "min_frequency": 1},
        ),
        Job(
            "images",
            "shapes",
            {**images, "image_size": 16, "config_overrides": "width=4", "mixup": 0.4, "model_ema": 0.9},
            sums_over_processes=False,
        ),
        Job(
            "transformer of images",
            "shapes",
            {**images, **vit, "config_overrides": "depth=2,embed_dim=24,drop_rate=0.1,drop_path_rate=0.2"},
        ),
        Job(
            "hot dogs",  # channels_last and the fused optimizer, as recipes/hotdog.py has it
            "hotdog",
            {**images, "model_type": "test_resnet", "freeze_batch_norm": True, "image_size": 32},
        ),
    ]
    return {job.name: job for job in jobs}


def make_data(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes texts and images to a folder; returns the flags that name their files, for each."""
    folder.mkdir(parents=True, exist_ok=True)
    words = file_flags(write_reviews(folder))
    texts = dict(zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True))
    write_images(folder, PICTURES)
    return texts, {f"{split}_dir": folder / split for split in PICTURES}


class Group:
    """The processes of one start of a run; use it with `with`, which leaves none alive.

    Args:
        job: What to run.
        run_dir: Where.
        processes: How many, on gloo where there are several.
        before: Called in each process before the run, such as a fault to be; a function of a module.
        arguments: Of `before`, as JSON can hold them.
    """

    def __init__(
        self,
        job: Job,
        run_dir: Path,
        processes: int = 1,
        before: Callable[..., None] | None = None,
        arguments: Sequence[Any] = (),
    ):
        self.said = run_dir.with_name(f"{run_dir.name}.said")
        self.said.unlink(missing_ok=True)
        port = free_port()
        first = [before.__module__, before.__name__, *arguments] if before else []
        request = json.dumps([job.recipe, job.words(run_dir), first])
        shared = {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
        with self.said.open("ab") as output:
            self.processes = [
                start_python(
                    ["-c", PROGRAM, request],
                    cwd=ROOT,
                    env=os.environ | shared | place(rank, processes, port),
                    stdout=output.fileno(),
                    stderr=output.fileno(),
                    server="proofs",
                )
                for rank in range(processes)
            ]

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self, only: int | None = None) -> None:
        """Kills (SIGKILL) all processes that live, or one of them."""
        for process in self.processes if only is None else [self.processes[only]]:
            process.kill()
        if only is None:
            self.wait(PATIENCE)

    def wait(self, seconds: float) -> bool:
        """Waits for all to end; returns whether they have."""
        end = time.monotonic() + seconds
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        return None not in self.codes

    @property
    def codes(self) -> list[int | None]:
        """Exit codes, negative for a signal; None while it runs."""
        return [process.poll() for process in self.processes]

    def text(self) -> str:
        """Returns what all processes have printed."""
        return self.said.read_text(encoding="utf-8", errors="replace") if self.said.exists() else ""


def finish(job: Job, run_dir: Path, processes: int = 1) -> str:
    """Runs a job to its end; returns the sha256 over weights, optimizer, counters, log and predictions.

    Raises:
        AssertionError: It did not end, or not with code 0.
    """
    with Group(job, run_dir, processes) as group:
        ended = group.wait(PATIENCE)
        assert ended, f"{run_dir} hangs: {group.text()}"
        assert group.codes == [0] * processes, f"{run_dir} ended with {group.codes}: {group.text()}"
    return fingerprint(run_dir)


def fingerprint(run_dir: Path) -> str:
    """Returns the sha256 of everything that must not change in a finished run."""
    return hashlib.sha256(digest(run_dir).encode()).hexdigest()


def remove(run_dir: Path) -> None:
    """Removes a run that has been looked at."""
    shutil.rmtree(run_dir)
    run_dir.with_name(f"{run_dir.name}.said").unlink(missing_ok=True)


def become(request: str) -> None:
    """Is one process of a run; its exit code is the run's."""
    recipe, words, first = json.loads(request)
    os.fsync = lambda descriptor: None  # what a kill leaves does not depend on what the disk has
    if first:
        module, name, *arguments = first
        getattr(import_module(module), name)(*arguments)
    from hftune.errors import HftuneError
    from hftune.launcher import launch

    try:
        launch(import_module(recipe if "." in recipe else f"hftune.recipes.{recipe}").recipe, words)
    except HftuneError as error:  # told, and in a program of its own the exit code
        raise SystemExit(error.exit_code) from None
