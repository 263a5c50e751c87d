"""No network, no pickle, no code of strangers: what a process asks of Python is watched while it trains."""

import ctypes
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from proofs.jobs import PATIENCE, Group, Job, fingerprint, finish, remove
from proofs.table import Row

CLONE_NEWNET = 0x40000000  # from <sched.h>
PICKLED = b"cposix\nsystem\n(S'touch %s'\ntR."  # runs a command when it is unpickled
EVIL_FILES = (  # names under which trainers keep pickles
    "pytorch_model.bin",
    "optimizer.bin",
    "scheduler.bin",
    "random_states_0.pkl",
    "custom_checkpoint_0.pkl",
    "training_args.bin",
    "rng_state.pth",
    "optimizer.pt",
    "scheduler.pt",
    "model.ckpt",
    "last.ckpt",
    "checkpoint.pth.tar",
    "model_best.pth.tar",
    "dl_state_dict.bin",
    "model.pkl",
    "model.joblib",
    "data.npy",
    "tokenizer.pickle",
)
REMOTE_CODE = "import pathlib\npathlib.Path({!r}).touch()\n"


def watch(cut: bool) -> None:
    """Writes a line for every unpickled object and every connection of this process, from now on.

    Args:
        cut: Whether to take the network away as well, where the system allows it: the process gets a
            network of its own, without interfaces.
    """
    sys.addaudithook(_tell)
    if cut and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0:
        print("network: none", flush=True)


def _tell(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        where = " < ".join(f"{frame.filename}:{frame.name}" for frame in traceback.extract_stack()[-5:-1])
        os.write(2, f"audit: pickle {arguments} at {where}\n".encode())
    elif event in ("socket.connect", "socket.getaddrinfo"):
        os.write(2, f"audit: {event} {arguments[1:]}\n".encode())


def audited(group: Group) -> list[str]:
    """Returns what `watch` has told of."""
    return [line for line in group.text().splitlines() if line.startswith("audit:")]


def plant(folder: Path, canary: Path) -> None:
    """Lays pickles into a folder, under every name that trainers know, that would make a file if read."""
    for name in EVIL_FILES:
        (folder / name).write_bytes(PICKLED % str(canary).encode())


def without_network(job: Job, folder: Path) -> Row:
    """Runs a job to its end with the network cut off: the same, no connection, nothing unpickled."""
    with Row(f"{job.name}: without a network: ends the same, no pickle read, no address asked for") as row:
        straight = finish(job, folder / "with")
        run_dir = folder / "without"
        with Group(job, run_dir, 1, watch, (True,)) as group:
            assert group.wait(PATIENCE), "hangs without a network"
            same = group.codes == [0] and fingerprint(run_dir) == straight
            row.count(same and not audited(group))
            row.note = "network taken away" if "network: none" in group.text() else "connections counted only"
        remove(run_dir)
        remove(folder / "with")
    return row
