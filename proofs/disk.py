"""A disk that fails at any call of a save, and files that may not grow: the checkpoint before stays whole."""

import builtins
import contextlib
import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hftune.storage import files
from hftune.storage.checkpoint import latest_valid, list_checkpoints
from proofs.jobs import PATIENCE, Group, Job, finish, remove
from proofs.table import Row

CODES = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EDQUOT": errno.EDQUOT}
LIMITS = (0, 100, 1_000, 4_000, 10_000, 20_000, 40_000, 60_000)  # bytes; the checkpoints have more


@contextlib.contextmanager
def failing_disk(code: int, at: int, for_ever: bool = False) -> Iterator[list[str]]:
    """Lets one call to the disk fail: opening, writing, flushing or renaming a file, making a folder.

    Args:
        code: The system's error number.
        at: Which call fails, from 1 on; 0: none does.
        for_ever: Whether all that follow fail too.

    Yields:
        The names of the calls so far.
    """
    calls: list[str] = []

    def pass_by(name: str) -> None:
        calls.append(name)
        if len(calls) == at or (for_ever and 0 < at <= len(calls)):
            raise OSError(code, os.strerror(code))

    def checked(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked_call(*arguments: Any, **named: Any) -> Any:
            pass_by(name)
            return call(*arguments, **named)

        return checked_call

    class File(io.FileIO):
        def write(self, data: Any) -> int:
            pass_by("write")
            return super().write(data) or 0

    def opened(path: Any, mode: str = "r", **named: Any) -> Any:
        if mode != "wb":
            return builtins.open(path, mode, **named)
        pass_by("open")
        return io.BufferedWriter(File(path, "wb"))

    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(files, "open", opened, create=True))
        for name in ("fsync", "rename", "mkdir"):
            stack.enter_context(patch.object(os, name, checked(name, getattr(os, name))))
        yield calls


def fail_in_save(step: int, code: int, at: int) -> None:
    """Makes the disk fail, in this process, while the checkpoint of a step is saved."""
    from hftune.training import state

    save = state.save_checkpoint

    def save_on_a_failing_disk(run_dir: Path, number: int, *rest: Any) -> Path:
        if number != step:
            return save(run_dir, number, *rest)
        with failing_disk(code, at) as calls:
            path = save(run_dir, number, *rest)
        print(f"calls of a save: {len(calls)}")
        return path

    state.save_checkpoint = save_on_a_failing_disk


def limit_files(size: int) -> None:
    """Makes every file that grows beyond a size an error, in this process: EFBIG."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def failing_saves(job: Job, folder: Path, codes: dict[str, int], calls: list[int] | None = None) -> Row:
    """Runs a job on a disk that fails at each call of its third save, then again on a good one.

    Held: exit code 4 and one line, the checkpoint before is whole, and the same command ends the same.
    """
    with Row(
        f"{job.name}: {', '.join(codes)} at every call of a save: exit 4, nothing lost, ends the same"
    ) as row:
        straight = finish(job, folder / "straight")
        step = step_of_save(job, 3)
        for code in codes.values():
            for call in calls or range(1, count_calls(job, folder, step) + 1):
                run_dir = folder / "full"
                with Group(job, run_dir, 1, fail_in_save, (step, code, call)) as group:
                    assert group.wait(PATIENCE), "hangs on a full disk"
                    told = explained(group, 4, f"checkpoint-{step}: ")
                whole, broken = latest_valid(run_dir)
                saved = whole is not None and not broken
                row.count(told and saved and finish(job, run_dir) == straight)
                remove(run_dir)
        remove(folder / "straight")
    return row


def step_of_save(job: Job, which: int) -> int:
    """Returns the step of a job's first, second, ... checkpoint."""
    return which * int(job.flags["save_steps"])


def count_calls(job: Job, folder: Path, step: int) -> int:
    """Returns how often one save calls the disk."""
    with Group(job, folder / "counted", 1, fail_in_save, (step, errno.EIO, 0)) as group:
        assert group.wait(PATIENCE), "hangs"
        text = group.text()
    remove(folder / "counted")
    return int(text.split("calls of a save: ")[1].split()[0])


def files_that_may_not_grow(job: Job, folder: Path, limits: tuple[int, ...] = LIMITS) -> Row:
    """Runs a job half through, goes on under RLIMIT_FSIZE, then without; held as for `failing_saves`."""
    with Row(f"{job.name}: RLIMIT_FSIZE at {len(limits)} sizes: exit 4, nothing lost, ends the same") as row:
        straight = finish(job, folder / "straight")
        for limit in limits:
            run_dir = folder / "limited"
            with Group(job, run_dir) as group:
                while not list_checkpoints(run_dir) and not group.wait(0.005):
                    pass
            with Group(job, run_dir, 1, limit_files, (limit,)) as group:
                assert group.wait(PATIENCE), "hangs on a full disk"
                told = group.codes == [4] and "Traceback" not in group.text()
            after, broken = latest_valid(run_dir)
            row.count(told and not broken and after is not None and finish(job, run_dir) == straight)
            remove(run_dir)
        remove(folder / "straight")
    return row


def explained(group: Group, code: int, part: str) -> bool:
    """Says whether a run ended with a code and one error line that has a part."""
    text = group.text()
    errors = [line for line in text.splitlines() if line.startswith("error:")]
    return group.codes == [code] and len(errors) == 1 and part in errors[0] and "Traceback" not in text
