"""Launches a recipe: on all GPUs of this machine, else in one process; with the exit code of the run.

    hftune run imdb --max_length 256
    hftune run my_recipe.py --output_dir runs/mine

The flags are the recipe's own. `accelerate launch` and `torchrun` turn every exit code into 1; this one
returns what exit.json says.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from hftune.cli.recipes import find_recipe, recipe_file
from hftune.errors import BadInput
from hftune.settings.parser import parse


def main(argv: list[str]) -> None:
    """Becomes the run, or starts its processes and waits for them.

    Raises:
        BadInput: No such recipe, or a flag is wrong.
        SystemExit: With the exit code of a run of several processes.
    """
    if not argv:
        raise BadInput("hftune run: which recipe? hftune run NAME [flags]")
    name, *flags = argv
    recipe, file = find_recipe(name), str(recipe_file(name))
    settings = parse(recipe.settings, flags, prog=recipe.name, description=recipe.description)
    processes = count_gpus()
    sys.stdout.flush()
    if processes < 2:
        os.execv(sys.executable, [sys.executable, file, *flags])  # its signals and its code are ours
    run_dir = Path(settings.output_dir or Path("runs") / recipe.name)
    from hftune.storage.user_files import refuse_foreign_files

    refuse_foreign_files(run_dir, settings)  # there the run would leave no exit.json
    raise SystemExit(launch_group([file, *flags], processes, run_dir))


def count_gpus() -> int:
    """Returns the GPUs that this process may use."""
    import torch

    return torch.accelerator.device_count()


def launch_group(argv: list[str], processes: int, run_dir: Path) -> int:
    """Runs one process per GPU under torchrun; returns the exit code that the run left behind.

    Args:
        argv: The recipe's file and its flags.
        processes: How many.
        run_dir: Where exit.json will be.
    """
    note = run_dir / "exit.json"
    before = note.stat().st_mtime_ns if note.exists() else None
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    group = subprocess.Popen([*command, str(processes), *argv])

    def pass_on(number: int, _frame: FrameType | None) -> None:
        group.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = group.wait()
    written = note.exists() and note.stat().st_mtime_ns != before
    if written:
        return int(json.loads(note.read_text(encoding="utf-8"))["code"])
    return code if code >= 0 else 128 - code  # killed by a signal: the shell's convention
