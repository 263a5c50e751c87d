"""Launches a recipe: on all GPUs of this machine, else in one process; with the exit code of the run.

    hftune run imdb --max_length 256
    hftune run my_recipe.py --output_dir runs/mine
    hftune run imdb --seeds 5
    hftune run imdb --slurm "--nodes 2 --gpus-per-node 4 --time 8:00:00"

The flags are the recipe's own. `accelerate launch` and `torchrun` turn every exit code into 1; this one
returns what exit.json says.

--seeds N   train N times, one after the other, with seeds from --seed on: how much a score owes to luck

Each of the N runs is a run as any other, in OUTPUT_DIR/seed_S (OUTPUT_DIR is runs/NAME if it is not given).
The same command goes on where it was stopped, and reads what is finished; with a larger N it adds runs. At
the end a table has the scores of each seed, their mean and standard deviation (n - 1), and
OUTPUT_DIR/seeds.json the same numbers. --data_seed stays the same, so that all seeds train, validate and
test on the same rows: hftune compare OUTPUT_DIR/seed_* pairs them.

--slurm OPTIONS   submit the run to SLURM, with these options of sbatch, in quotes

Each node gets one `hftune run`, which starts a process for each GPU. OUTPUT_DIR/job.sh is the job; what it
prints goes to OUTPUT_DIR/slurm-N.out. Two minutes before the time limit the run saves and the job queues
again, to go on from there, as it does when it was preempted or has lost a node; --signal TERM@SECONDS among
the options is another time. With --wait among them the command waits for the end and returns the run's exit
code. OUTPUT_DIR must be on a file system that all nodes share. scancel N ends the job: the run saves first.

On several machines without SLURM, start the same on each with the variables that torchrun reads: PET_NNODES=2
PET_RDZV_BACKEND=c10d PET_RDZV_ENDPOINT=FIRST_MACHINE:29400.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from hftune.cli.recipes import find_recipe, recipe_file
from hftune.cli.seeds import is_finished, refuse_foreign_summary, refuse_together, show_seeds, take_flags
from hftune.cli.slurm import submit, take_options
from hftune.errors import BadInput, HftuneError, StoppedBySignal
from hftune.recipe import Recipe
from hftune.settings.base import Settings
from hftune.settings.parser import parse, read_flags


def main(argv: list[str]) -> None:
    """Becomes the run, or starts its processes and waits for them.

    Raises:
        BadInput: No such recipe, or a flag is wrong.
        SystemExit: With the exit code of a run of several processes.
    """
    if not argv:
        raise BadInput("hftune run: which recipe? hftune run NAME [flags]")
    name, *flags = argv
    slurm, flags = take_options(flags)
    own, flags = take_flags(flags, {"seeds"})
    seeds = read_flags(own, {"seeds": int}).get("seeds")
    recipe, file = find_recipe(name), str(recipe_file(name))
    settings = parse(recipe.settings, flags, prog=recipe.name, description=recipe.description)
    sys.stdout.flush()
    from hftune.storage.user_files import refuse_foreign_files

    run_dir = Path(settings.output_dir or Path("runs") / recipe.name)
    if slurm is not None:
        if seeds is not None:
            raise BadInput("--seeds and --slurm contradict each other: submit a job for each --seed")
        refuse_foreign_files(run_dir, settings)
        submit(recipe.name, [name, *flags], run_dir, slurm)
        return
    if seeds is not None:
        refuse_together(settings, seeds)
        run_seeds(recipe, file, flags, settings, seeds)
        return
    processes = count_gpus()
    if processes < 2 and not on_several_machines():
        os.execv(sys.executable, [sys.executable, file, *flags])  # its signals and its code are ours
    refuse_foreign_files(run_dir, settings)  # there the run would leave no exit.json
    raise SystemExit(launch_group([file, *flags], processes, run_dir))


def run_seeds(recipe: Recipe, file: str, flags: list[str], settings: Settings, count: int) -> None:
    """Runs a recipe once for each seed, and prints what the runs came to.

    Args:
        recipe: What is run.
        file: Its file.
        flags: The recipe's, as the user gave them.
        settings: The same, read.
        count: How many seeds, from `settings.seed` on.

    Raises:
        HftuneError: A run did not end well; the exit code is that run's.
    """
    from hftune.storage.user_files import refuse_foreign_files

    folder = Path(settings.output_dir or Path("runs") / recipe.name)
    refuse_foreign_summary(folder)
    _, flags = take_flags(flags, {"seed", "output_dir"})
    processes = count_gpus()
    run_dirs: list[Path] = []
    signals: list[int] = []
    for place in range(count):
        seed = settings.seed + place
        run_dirs.append(run_dir := folder / f"seed_{seed}")
        own = settings.replace(seed=seed, output_dir=str(run_dir))
        done = is_finished(recipe, own, run_dir)
        said = f"seed {seed}, {place + 1} of {count}: {run_dir}"
        print(f"{said} is finished" if done else said, flush=True)
        if done:
            continue
        refuse_foreign_files(run_dir, own)
        words = [file, *flags, "--seed", str(seed), "--output_dir", str(run_dir)]
        code = launch_group(words, processes, run_dir, signals)
        then = (
            f"{place + (code == 0)} of {count} seeds are finished in {folder}; the same command goes on there"
        )
        if code:
            error = HftuneError(f"seed {seed} ended with code {code}: {then}")
            error.exit_code = code
            raise error
        if signals:  # too late for the run, which had nothing left to do
            raise StoppedBySignal(signals[0], then)
    show_seeds(recipe.name, folder, run_dirs)


def count_gpus() -> int:
    """Returns the GPUs that this process may use; 0 where it is told to compute on the CPU."""
    import torch

    from hftune.runtime.device import computes_on_cpu

    return 0 if computes_on_cpu() else torch.accelerator.device_count()


def on_several_machines() -> bool:
    """Returns whether torchrun's own variables say that this is one machine of several."""
    return os.environ.get("PET_NNODES", "1") != "1"


def launch_group(argv: list[str], processes: int, run_dir: Path, signals: list[int] | None = None) -> int:
    """Runs a recipe in processes of its own, one per GPU; returns the exit code that the run left behind.

    Args:
        argv: The recipe's file and its flags.
        processes: How many on this machine; two or more, or those of several machines, are started by
            torchrun, which reads from its variables where these meet.
        run_dir: Where exit.json will be.
        signals: Gets the numbers of the signals that were passed on.
    """
    note = run_dir / "exit.json"
    before = note.stat().st_mtime_ns if note.exists() else None
    torchrun: list[str] = []
    if processes > 1 or on_several_machines():
        torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(max(1, processes))]
        torchrun += [] if on_several_machines() else ["--standalone"]
    group = subprocess.Popen([sys.executable, *torchrun, *argv])

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if signals is not None:
            signals.append(number)
        # SLURM signals every process of a step; after a second signal torchrun does not wait for the run
        if "SLURM_STEP_ID" not in os.environ:
            group.send_signal(number)

    before_it = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    code = group.wait()
    for number, handler in before_it.items():
        signal.signal(number, handler)
    written = note.exists() and note.stat().st_mtime_ns != before
    if written:
        return int(json.loads(note.read_text(encoding="utf-8"))["code"])
    return code if code >= 0 else 128 - code  # killed by a signal: the shell's convention
