"""Whether all processes of a run do the same: each machine has a command line and files of its own."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator

from hftune.errors import BadInput, listed
from hftune.storage.files import plain
from hftune.storage.run_dir import LOCK, package_versions
from hftune.training.context import Run

NFS_FORGETS = 60.0  # seconds for which an NFS client may remember that a file was not there


def refuse_differences(run: Run, parts: Mapping[str, str]) -> None:
    """Compares packages, run directory, settings, recipe and precision; the main process holds its lock.

    Args:
        run: The run.
        parts: The identities of the recipe's parts.

    Raises:
        BadInput: One of them is another on another process; on all of them.
    """
    accelerator, run_dir = run.accelerator, run.run_dir
    if accelerator.num_processes == 1:
        return
    refuse_difference(
        accelerator,
        package_versions(),
        lambda process, names: (
            f"process {process} has other versions than process 0: of {names}; install the same everywhere"
        ),
    )
    refuse_difference(
        accelerator,
        {"lock": _read_lock(run)},
        lambda process, _: (
            f"--output_dir {run_dir}: process {process} does not see what process 0 writes there; several "
            "machines need a folder on a file system that they share"
        ),
    )
    told = {f"--{name}": value for name, value in dataclasses.asdict(run.settings).items()}
    del told["--output_dir"]  # two machines may have two names for it
    refuse_difference(
        accelerator,
        told,
        lambda process, names: (
            f"process {process} was started with other settings than process 0: {names}; give all the same "
            "command"
        ),
    )
    refuse_difference(
        accelerator,
        parts,
        lambda process, names: (
            f"process {process} has another recipe than process 0: its {names}; give all the same files"
        ),
    )
    refuse_difference(
        accelerator,
        {"precision": accelerator.mixed_precision},
        lambda process, _: (
            f"process {process} would compute in another precision than process 0; choose one for all: "
            "--bf16 false --fp16 false is float32"
        ),
    )


def refuse_difference(
    accelerator: Accelerator, facts: Mapping[str, Any], explain: Callable[[int, str], str]
) -> None:
    """Raises `BadInput` on every process if a fact is another on one of them.

    Args:
        accelerator: The processes, all of which call this.
        facts: What JSON can hold, by its name.
        explain: Makes the message of the number of a process and of the names of the facts.
    """
    if accelerator.num_processes == 1:
        return
    names = sorted(facts)
    own = [_number(names), *(_number(facts[name]) for name in names)]
    short = _gather(accelerator, [own[0], _number(own)])
    for process, (of_names, of_all) in enumerate(short):
        if of_names != short[0][0]:  # another version of hftune has other names
            raise BadInput(explain(process, "hftune"))
        if of_all != short[0][1]:
            every = _gather(accelerator, own)
            pairs = zip(names, every[0][1:], every[process][1:], strict=True)
            raise BadInput(explain(process, listed(name for name, one, other in pairs if one != other)))


def _number(value: Any) -> int:
    """Returns 63 bits of a value's hash."""
    text = json.dumps(plain(value), sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _gather(accelerator: Accelerator, numbers: list[int]) -> list[list[int]]:
    """Returns the numbers of each process, int64."""
    own = torch.tensor([numbers], dtype=torch.int64, device=accelerator.device)
    return accelerator.gather(own).tolist()


def _read_lock(run: Run) -> str | None:
    """Returns what the main process wrote into the folder's lock; None where it does not arrive."""
    run.accelerator.wait_for_everyone()
    path = run.run_dir / LOCK
    end = time.monotonic() + NFS_FORGETS
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.5)
    return path.read_text(encoding="utf-8") if path.exists() else None
