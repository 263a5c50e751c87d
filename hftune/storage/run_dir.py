"""A run's folder: the lock of the process that holds it, and run.json, which says what the run is."""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, Self, TextIO, get_origin, get_type_hints

from hftune.errors import BadInput
from hftune.settings.base import with_current_names
from hftune.storage.files import read_json, replace_file, write_json

RECORD_FORMAT = 1
LOCK = ".lock"


@contextlib.contextmanager
def lock_run_dir(path: Path) -> Iterator[None]:
    """Creates a run's folder if need be and holds its lock, `.lock`, until the end or until it dies.

    One process per run does this; the others of its group only read. The file stays, since removing it
    would be a race.

    Raises:
        BadInput: The folder cannot be made or written, or another process holds it.
    """
    with _open_lock(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"{path} is in use by {holder_of(lock)}; choose another --output_dir") from error
        except OSError as error:
            raise BadInput(f"{path}: file locks do not work there ({error.strerror})") from error
        # A forked worker inherits the lock and may outlive a killed run by seconds.
        os.register_at_fork(after_in_child=lock.close)
        lock.truncate(0)
        begun = datetime.now(UTC).isoformat()
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "begun": begun}))
        lock.flush()
        os.fsync(lock.fileno())  # on a shared disk the other machines of the run look for it
        yield


def _open_lock(path: Path) -> TextIO:
    """Opens a folder's `.lock`, making the folder if need be."""
    advice = "choose another --output_dir"
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+", encoding="utf-8")
    except FileExistsError as error:
        raise BadInput(f"--output_dir {path} is a file, not a folder; {advice}") from error
    except OSError as error:
        raise BadInput(f"--output_dir {path} cannot be written ({error.strerror}); {advice}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        lock.close()
        raise BadInput(f"--output_dir {path} cannot be written (Permission denied); {advice}")
    return lock


def holder_of(lock: TextIO) -> str:
    """Says who holds a run's lock, such as "pid 17 on host", as far as its file tells."""
    lock.seek(0)
    try:
        holder = json.load(lock)
        return f"pid {holder['pid']} on {holder['host']}"
    except (ValueError, TypeError, KeyError):  # it has the lock and is about to write its name
        return "another process"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """run.json: what the run's numbers depend on, and how far it has come.

    Args:
        settings: The run's settings by name.
        versions: Package versions, see `package_versions`.
        data_fingerprints: A fingerprint for each split.
        threads: Threads per process; sums in another order give other last digits.
        world_size: Processes.
        micro_batches_per_step: Micro-batches of one optimizer step over all processes; fixed at the start.
        best_step: The optimizer step whose model is the best so far.
        last_step: The newest saved optimizer step.
        finished: Whether the run has come to its end.
        weights: SHA-256 (hex) of each file of the model, as it was scored: what `hash_model` returned. Runs
            of an earlier hftune hold those of the weights alone.
        parts: The identity of each part of the recipe, and of the model's class.
        sources: SHA-256 (hex) of each file that the model began from.
        claimed: Whether the files of the names that a run writes at its end are the run's own.
        files: SHA-256 (hex) of each file that the finished run left.
        precision: "bf16", "fp16" or "no"; None in runs of an earlier hftune.
        device: What it was begun on, see `device_name`; None likewise.
        facts: What a later score needs to know of the training rows, see `Task.facts`.
        averaged: Of a model that `hftune average` made: the runs and checkpoints whose weights it is the mean
            of, each with the SHA-256 (hex) of its tensors, see `tensor_digest`. The other fields are those of
            the best of them.
    """

    settings: dict[str, Any]
    versions: dict[str, str]
    data_fingerprints: dict[str, str]
    threads: int
    world_size: int
    micro_batches_per_step: int
    best_step: int | None = None
    last_step: int | None = None
    finished: bool = False
    weights: dict[str, str] = dataclasses.field(default_factory=dict)
    # What follows is younger than format 1: what a record does not have is not compared.
    parts: dict[str, str] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    claimed: bool = True
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    precision: str | None = None
    device: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    averaged: dict[str, str] = dataclasses.field(default_factory=dict)

    def write(self, run_dir: Path) -> None:
        """Writes run.json, whole or not at all."""
        write_json(run_dir / "run.json", {"format": RECORD_FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def read(cls, run_dir: Path) -> Self | None:
        """Reads run.json; None where the folder holds no run yet.

        Raises:
            BadInput: The file is not one of hftune's, or of a newer hftune.
        """
        path = run_dir / "run.json"
        if not os.path.exists(path):  # of a pathlib path it raises, where a name is too long for the disk
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not isinstance(record.get("format"), int):
            raise BadInput(f"{path}: not written by hftune; choose another --output_dir")
        if record["format"] != RECORD_FORMAT:
            raise BadInput(f"{path}: has format {record['format']}, this hftune reads format {RECORD_FORMAT}")
        del record["format"]
        fields = dataclasses.fields(cls)
        nothing = dataclasses.MISSING  # a field with a default may be younger than the record
        needed = {field.name for field in fields if field.default is field.default_factory is nothing}
        if wrong := (needed - set(record)) | (set(record) - {field.name for field in fields}):
            raise BadInput(f"{path}: missing or unknown key {min(wrong)!r}; choose another --output_dir")
        for name, hint in get_type_hints(cls).items():
            if name in record and not isinstance(record[name], dict if get_origin(hint) is dict else hint):
                raise BadInput(f"{path}: {name} is {record[name]!r}; choose another --output_dir")
        return cls(**record | {"settings": with_current_names(record["settings"])})


def change_record(run_dir: Path, **changes: Any) -> RunRecord:
    """Writes run.json with other values of some fields; returns what stands there now.

    The only way in which a record changes: the file is what counts, so that no part of a run holds an old
    copy.

    Args:
        run_dir: The run's folder, which holds a run.json.
        **changes: Fields of `RunRecord`.
    """
    record = RunRecord.read(run_dir)
    assert record is not None, f"{run_dir} has lost its run.json"
    record = dataclasses.replace(record, **changes)
    record.write(run_dir)
    return record


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a run's numbers."""
    packages = ["hftune", "torch", "transformers", "datasets", "accelerate", "numpy"]
    return {"python": python_version(), **{package: version(package) for package in packages}}


def settings_of(record: RunRecord) -> dict[str, Any]:
    """Returns a run's settings as they are written today.

    In runs from before `data_seed` that was `seed`, in those from before `task` a row had one label, and the
    score that chooses the best model could stand there with the split's name.
    """
    settings = {"task": "single_label", **record.settings}
    if "seed" in settings:
        settings.setdefault("data_seed", settings["seed"])
    if metric := settings.get("metric_for_best_model"):
        settings["metric_for_best_model"] = metric.removeprefix("eval_")
    return settings


def write_exit(run_dir: Path, code: int, reason: str, command: str | None) -> None:
    """Writes exit.json: how the run ended and what goes on from there.

    The launchers of accelerate and torch flatten every exit code to 1; this file keeps the true one.
    The run is over and the user has its message, so a full disk adds nothing.

    Args:
        run_dir: The run's folder.
        code: The exit code.
        reason: One line.
        command: The command that resumes or finishes the run; None where there is nothing left to do.
    """
    ending = {"code": code, "reason": reason, "resume_command": command}
    ending["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(ending, indent=2) + "\n"
    with contextlib.suppress(OSError):
        replace_file(run_dir / "exit.json", text.encode())
