"""How a process of a run takes its leave: one `error:` line, and `exit.json` in the run directory."""

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

from hftune.errors import BadInput, HftuneError, StoppedBySignal


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
    if is_main() and os.path.isfile(run_dir / ".lock"):
        from hftune.storage.run_dir import write_exit

        write_exit(run_dir, code, reason, "repeat the same command" if code not in (0, 2) else None)


def leave_at_once(run_dir: Path, error: HftuneError) -> NoReturn:
    """Ends the process from whatever thread, while the main one waits inside of a library."""
    tell(error)
    leave_note(run_dir, error.exit_code, error.message)
    os._exit(error.exit_code)
