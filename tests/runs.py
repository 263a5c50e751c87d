"""Whole runs, here or in processes of their own that may be killed, and what must not change in them."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO
from unittest.mock import patch

import numpy as np
import psutil
from PIL import Image
from safetensors.torch import load_file

from hftune.data.text.sample import load_sample
from hftune.launcher import launch
from hftune.recipe import Recipe
from hftune.seed import generator
from hftune.storage.checkpoint import list_checkpoints, load_checkpoint, tensor_digest
from hftune.storage.run_dir import RunRecord
from tests.forked import Program, start_python

ROOT = Path(__file__).parents[1]
GLOO = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
SIZES = {"train": 90, "validation": 20, "test": 20}  # 90: every epoch ends in a shorter window
FIGURES = (  # what a run draws in the end
    "hftune.report.plots.confusion.draw_confusion",
    "hftune.report.plots.images.draw_mistakes",
    "hftune.report.plots.label_bars.draw_label_bars",
    "hftune.report.plots.entities.draw_entities",
    "hftune.report.plots.scatter.draw_scatter",
    "hftune.report.plots.scatter.draw_furthest",
    "hftune.training.result.draw_curve",
)
COLOURS = {"blue": (90, 110, 150), "green": (100, 140, 100), "red": (150, 105, 95)}


def write(name: str, content: str | bytes) -> None:
    """Writes a file under the working folder, with the folders that it needs."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def feed(monkeypatch, data: bytes) -> None:
    """Makes bytes the standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def write_reviews(folder: Path) -> Path:
    """Writes rows of the built-in sample as train.csv, validation.csv and test.csv."""
    for name, split in load_sample().items():
        split.select(range(SIZES[name])).to_csv(folder / f"{name}.csv", index=False)
    return folder


def file_flags(reviews: Path) -> list:
    """Returns the flags that name the files of `write_reviews`."""
    return [part for name in SIZES for part in (f"--{name}_file", reviews / f"{name}.csv")]


def small_textcnn(reviews: Path, **changes) -> list:
    """Returns the flags of a TextCNN that is trained in a moment and keeps every checkpoint.

    Args:
        reviews: The folder of `write_reviews`.
        **changes: Further flags, or other values.
    """
    given = {"baselines": False, "bf16": False, "min_frequency": 1, "per_device_train_batch_size": 8}
    given |= {"config_overrides": "embedding_dim=8,num_filters=4"}
    given |= {"save_strategy": "steps", "save_total_limit": "none"}
    words = (part for name, value in (given | changes).items() for part in (f"--{name}", value))
    return [*file_flags(reviews), *words]


def write_images(folder: Path, sizes: dict[str, int]) -> Path:
    """Writes folders of classes with noisy images of three colours.

    Args:
        folder: Gets a folder for each set.
        sizes: Images by set, such as train.
    """
    for split, rows in sizes.items():
        for row in range(rows):
            name = list(COLOURS)[row % len(COLOURS)]
            noise = generator("picture", split, row).normal(0, 70, (20, 20, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / split / name / f"{row:03}.png")
    return folder


def write_record(folder: Path, *, finished: bool = True, **settings) -> Path:
    """Makes a folder with a saved model the directory of a run with these settings."""
    RunRecord(
        settings=settings,
        versions={},
        data_fingerprints={},
        threads=1,
        world_size=1,
        micro_batches_per_step=1,
        finished=finished,
    ).write(folder)
    return folder


def error_of(said: str) -> list[str]:
    """Returns the error line and its bullets, which are the last that a refused run says."""
    assert "Traceback" not in said
    lines = said.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("error: "))
    assert len(lines) - start <= 6
    assert all(line.startswith("  - ") for line in lines[start + 1 :])
    return lines[start:]


@contextlib.contextmanager
def without_figures() -> Iterator[None]:
    """Lets runs of this process draw nothing, which takes longer than all the rest of a tiny one."""
    with contextlib.ExitStack() as stack:
        for name in FIGURES:
            stack.enter_context(patch(name))
        yield


def run_recipe(recipe: Recipe, flags: list, run_dir: Path, *, figures: bool = False) -> dict[str, float]:
    """Launches a recipe in this process, with its figures only where somebody looks at them."""
    with contextlib.nullcontext() if figures else without_figures():
        return launch(recipe, [str(flag) for flag in [*flags, "--output_dir", run_dir]])


def run_here(module, flags: list, run_dir: Path) -> str:
    """Runs a recipe in this process; returns the digest of everything that must not change.

    The intervals of its scores, in no digest, come from few draws.
    """
    with patch("hftune.tasks.intervals.DRAWS", 20):
        run_recipe(module.recipe, flags, run_dir)
    return digest(run_dir)


def digest(run_dir: Path) -> str:
    """Hashes the result, the last checkpoint (weights, optimizer, counters), log and predictions."""
    last = load_checkpoint(run_dir / f"checkpoint-{list_checkpoints(run_dir)[-1]}")
    state = {name: value for name, value in last.state.items() if name != "progress"}
    progress = {name: value for name, value in last.state["progress"].items() if name != "seconds"}
    return json.dumps(
        [
            tensor_digest(load_file(run_dir / "model.safetensors")),
            {name: tensor_digest(tensors) for name, tensors in last.tensors.items()},
            state,
            progress,
            (run_dir / "log.jsonl").read_text(),
            *(path.read_text() for path in sorted(run_dir.glob("test_predictions.*"))),
        ],
        sort_keys=True,
    )


def start_from(straight: Path, copy: Path, step: int) -> None:
    """Makes the run directory that a run killed after `step` would have left."""
    copy.mkdir()
    for name in ("run.json", "log.jsonl"):
        shutil.copy(straight / name, copy)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "finished": False}))
    shutil.copytree(straight / f"checkpoint-{step}", copy / f"checkpoint-{step}")
    best = json.loads((copy / f"checkpoint-{step}/state.json").read_text())["progress"]["best_step"]
    if best and best != step:
        shutil.copytree(straight / f"checkpoint-{best}", copy / f"checkpoint-{best}")


def place(rank: int, processes: int, port: int) -> dict[str, str]:
    """Returns the variables by which torchrun tells a process on this machine its place among several."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in {**own, **shared}.items()} if processes > 1 else {}


def free_port() -> int:
    """Returns a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def words_of(module, flags: list, run_dir: Path) -> list[str]:
    """Returns what stands behind `python`, or behind torchrun's flags, to run a recipe."""
    recipe = ROOT / "recipes" / f"{module.recipe.name}.py"
    return [str(recipe), *map(str, flags), "--output_dir", str(run_dir)]


def start_there(
    words: list[str], processes: int, said: int = subprocess.DEVNULL, **env: str
) -> list[Program]:
    """Starts a program in processes of their own, on gloo where there are several.

    Args:
        words: What stands behind `python`.
        processes: How many.
        said: A descriptor for what they print.
        **env: Further variables.
    """
    port = free_port()
    places = [GLOO | env | place(rank, processes, port) for rank in range(processes)]
    return [start_python(words, cwd=ROOT, env=variables, stdout=said, stderr=said) for variables in places]


def end_there(started: list[Program], said: BinaryIO) -> None:
    """Waits until all of a program's processes have ended well; kills them where they take minutes."""
    try:
        codes = [program.wait(900) for program in started]
    finally:
        for program in started:
            program.kill()
    said.seek(0)
    assert codes == [0] * len(started), said.read().decode()


def run_there(module, flags: list, run_dir: Path, processes: int) -> str:
    """Runs a recipe in processes of its own, on gloo where there are several; returns the digest."""
    with tempfile.TemporaryFile() as said:
        end_there(start_there(words_of(module, flags, run_dir), processes, said.fileno()), said)
    return digest(run_dir)


def run_by_torchrun(module, flags: list, run_dir: Path, processes: int) -> str:
    """Does the same as users start it: each process takes ten seconds to load its libraries."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    launcher += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    line = [*launcher, *words_of(module, flags, run_dir)]
    done = subprocess.run(line, env=GLOO, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return digest(run_dir)


def kill_on_the_way(
    module, flags: list, run_dir: Path, processes: int, *, checkpoints: int = 1, wait: float = 0.0
) -> None:
    """Starts a run and kills all its processes (SIGKILL) once it has written some more checkpoints.

    Args:
        module: A module with a `recipe`.
        flags: Its flags.
        run_dir: Its run directory, which may hold an earlier part of the run.
        processes: How many.
        checkpoints: How many more there are when it dies.
        wait: Seconds that it lives on after the last of them.
    """
    before = set(list_checkpoints(run_dir))
    victims = start_there(words_of(module, flags, run_dir), processes)
    end = time.monotonic() + 300  # a run that hangs is killed too, and told below
    while len(set(list_checkpoints(run_dir)) - before) < checkpoints and time.monotonic() < end:
        if victims[0].poll() is not None:
            break
        time.sleep(0.01)
    time.sleep(wait)
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(victim.pid).children(recursive=True)  # loader processes
            for process in children:
                process.kill()
        victim.kill()
    for victim in victims:
        victim.wait()
    assert set(list_checkpoints(run_dir)) - before
    assert not (run_dir / "all_results.json").exists()
