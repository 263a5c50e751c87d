"""How a process ends: what an error means, one `error:` line, and `exit.json` in the run directory."""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from hftune.errors import BadInput, HftuneError, PeerFailed, ResourceError, StoppedBySignal
from hftune.runtime.offline import of_the_cache
from hftune.storage.files import DISK_ERRORS, system_error
from hftune.storage.run_dir import LOCK, write_exit

PEERS = r"(?i)gloo|NCCL|closed by peer|reset by peer"  # what torch.distributed says when one is gone
MEMORY = r"(?i)out of memory|can't allocate memory|not enough memory|ALLOC_FAILED"
NOT_DETERMINISTIC = r"(\S+) does not have a deterministic implementation"
CUBLAS_STARTED = r"not deterministic because it uses CuBLAS"
SAME_GPU = r"(?i)duplicate GPU detected"


def explain(error: Exception) -> HftuneError | None:
    """Returns an error that carries an exit code, or None for a bug."""
    if isinstance(error, HftuneError):
        return error
    of_system = system_error(error)
    if of_system and (refusal := of_the_cache(of_system)):
        return refusal
    if of_system and of_system.errno in DISK_ERRORS:
        return ResourceError(f"{of_system.filename or 'the disk'}: {of_system.strerror}")
    said = str(error) if isinstance(error, RuntimeError) else ""
    if isinstance(error, MemoryError) or re.search(MEMORY, said):
        return ResourceError(
            "out of memory; train with a smaller --per_device_train_batch_size and more "
            "--gradient_accumulation_steps, shorter texts or smaller images, or --gradient_checkpointing; "
            "score with a smaller --per_device_eval_batch_size"
        )
    if said.startswith("DataLoader timed out"):
        return PeerFailed(
            "a process that prepares batches does not answer; the same command goes on "
            "(--dataloader_num_workers 0 does without such processes)"
        )
    if said.startswith("DataLoader worker (pid"):
        return PeerFailed(
            "a process that prepares batches died, perhaps for want of memory, in a container shared memory; "
            "the same command goes on; --dataloader_num_workers 0 does without such processes"
        )
    if found := re.search(NOT_DETERMINISTIC, said):
        return BadInput(
            f"--full_determinism: on this device {found[1]} has no form that gives the same bits each time; "
            "choose another model, or leave the flag out"
        )
    if re.search(CUBLAS_STARTED, said):
        return BadInput(
            "--full_determinism: cuBLAS has another CUBLAS_WORKSPACE_CONFIG; set that variable to :4096:8 "
            "before the program starts"
        )
    if re.search(SAME_GPU, said):
        return BadInput("two processes of this run have the same GPU; start one process per GPU")
    if re.search(PEERS, said):
        last = f" ({said.strip().splitlines()[-1][:200]})" if "NCCL" in said else ""
        return PeerFailed(
            f"another process of this run failed or stalled{last}; see its own error, and once nothing is "
            "wrong with the command, repeat it to go on"
        )
    return None


def is_main() -> bool:
    """Returns whether this is the first process of its group, before any library is loaded."""
    return os.environ.get("RANK", "0") == "0"


def tell(error: HftuneError) -> None:
    """Prints `error: ...` once; what all processes know, the first one says.

    Where not even that can be written (a log on a full disk), the exit code has to say it.
    """
    with contextlib.suppress(OSError):
        if is_main():
            print(f"error: {error}", file=sys.stderr, flush=True)
        elif not isinstance(error, BadInput | StoppedBySignal):
            print(f"error: process {os.environ['RANK']}: {error}", file=sys.stderr, flush=True)


def leave_note(run_dir: Path, code: int, reason: str) -> None:
    """Writes `exit.json`, unless the folder never came to be the run's: then it has no lock."""
    if is_main() and os.path.isfile(run_dir / LOCK):
        write_exit(run_dir, code, reason, "repeat the same command" if code not in (0, 2) else None)


def abort(run_dir: Path, error: HftuneError) -> NoReturn:
    """Ends the process from whatever thread, while the main one waits inside of a library."""
    tell(error)
    leave_note(run_dir, error.exit_code, error.message)
    os._exit(error.exit_code)
