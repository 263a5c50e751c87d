"""A run's folder: one process holds it, and every file in it appears whole or not at all.

A file is written beside its place under a name that starts with `.tmp-`, flushed to the disk and
renamed; whoever is killed in between leaves only a `.tmp-` file, which the next start removes.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, Self, TextIO, get_origin, get_type_hints

from hftune.errors import BadInput, ResourceError
from hftune.settings.base import with_current_names

RECORD_FORMAT = 1
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
MODEL_FILES = (  # all that `from_pretrained` may read of a saved classifier
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.*",
    "merges.txt",
    "*.model",  # SentencePiece
    "preprocessor_config.json",
    "processor_config.json",
)
AT_THE_END = (  # what a run writes when it has trained; its other files are there from the start
    *MODEL_FILES,
    "*.py",
    "README.md",
    ".eval_results/*.yaml",
    "all_results.json",
    "confusion.png",
    "curve.png",
    "mistakes.png",
    "test_predictions.csv",
)


@contextlib.contextmanager
def explain_write_errors(path: Path, needed: int) -> Iterator[None]:
    """Turns a failure of the system, while a file or folder is written, into an ending with an exit code.

    Args:
        path: What is being written.
        needed: Bytes that it takes.

    Raises:
        BadInput: It cannot be written there: no permission, no such folder, a folder of that name, ...
        ResourceError: No space or quota left, file too large, input/output error, read-only disk.
    """
    try:
        yield
    except Exception as raised:
        error = system_error(raised)
        if error is None:
            raise
        if error.errno not in DISK_ERRORS:
            raise BadInput(f"{path} cannot be written: {error.strerror}") from raised
        free = shutil.disk_usage(nearest_existing(path.parent)).free
        raise ResourceError(
            f"{path}: {error.strerror}: {needed:,} bytes needed, {free:,} free; "
            "make room and repeat the command, nothing saved before is lost"
        ) from raised


def system_error(error: Exception) -> OSError | None:
    """Returns what the system said, also through a library in Rust such as safetensors or tokenizers."""
    if isinstance(error, OSError):
        return error
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def nearest_existing(path: Path) -> Path:
    """Returns a path if something is there, else the nearest above it where something is."""
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))


def write_synced(path: Path, chunks: Iterable[Any]) -> dict[str, Any]:
    """Writes bytes to a file and waits until the disk has them.

    Args:
        path: The file; its folder exists.
        chunks: Buffers of single bytes, written one after the other.

    Returns:
        `{"size": bytes, "sha256": hex}` of what was written.
    """
    size, digest = 0, hashlib.sha256()
    with open(path, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def sync_folder(path: Path) -> None:
    """Waits until the disk has a folder's entries: before that a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, obj: Any) -> None:
    """Writes a JSON file, whole or not at all; NaN and infinity, which JSON lacks, become null.

    Raises:
        BadInput: The place cannot be written.
        ResourceError: The disk has no room or fails; what stood at `path` still does.
        TypeError: `obj` holds something that JSON has no word for.
    """
    write_text(path, json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all.

    Raises:
        BadInput: The place cannot be written.
        ResourceError: The disk has no room or fails; what stood at `path` still does.
    """
    # a lone surrogate (undecodable bytes of a file name) has no UTF-8 form
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all; see `write_text`."""
    with explain_write_errors(path, len(data)):
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir()
        _replace(path, data)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        BadInput: There is no such file, it cannot be read, or it is not JSON (names line and column).
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{path}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not JSON: byte {error.start} is not UTF-8") from error


def write_exit(run_dir: Path, code: int, reason: str, command: str | None) -> None:
    """Writes exit.json: how the run ended and what goes on from there.

    The launchers of accelerate and torch flatten every exit code to 1; this file keeps the true one.
    The run is over and the user has been told, so a disk that takes no more is no further news.

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
        _replace(run_dir / "exit.json", text.encode())


def holder_of(lock: TextIO) -> str:
    """Says who holds a run's lock, such as "pid 17 on host", as far as its file tells."""
    lock.seek(0)
    try:
        holder = json.load(lock)
        return f"pid {holder['pid']} on {holder['host']}"
    except (ValueError, TypeError, KeyError):  # it has the lock and is about to write its name
        return "another process"


class RunDir:
    """A run's folder, held by one process until it is closed or dies; use it with `with`.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, lock: TextIO):
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path | str | None, name: str) -> Self:
        """Creates the folder if need be and takes its lock, `.lock`.

        One process per run does this; the others of its group only read.

        Args:
            path: The folder, or None for `runs/NAME`.
            name: The recipe's name.

        Raises:
            BadInput: The folder cannot be made or written, or another process holds it.
        """
        path = Path("runs", name) if path is None else Path(path)
        lock = _open_lock(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = holder_of(lock)
            lock.close()
            raise BadInput(f"{path} is in use by {holder}; choose another --output_dir") from error
        except OSError as error:
            lock.close()
            raise BadInput(f"{path}: file locks do not work there ({error.strerror})") from error
        # A forked worker inherits the lock and may outlive a killed run by seconds.
        os.register_at_fork(after_in_child=lock.close)
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        lock.flush()
        return cls(path, lock)

    def close(self) -> None:
        """Releases the lock; the empty-handed `.lock` stays, since removing it would be a race."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclasses.dataclass(kw_only=True)
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


def model_files(run_dir: Path) -> list[Path]:
    """Lists the files of a saved model: `MODEL_FILES`, and its source files where config.json names some."""
    found = {path for pattern in MODEL_FILES for path in run_dir.glob(pattern)}
    config = run_dir / "config.json"
    if config.is_file() and b'"auto_map"' in config.read_bytes():
        found |= set(run_dir.glob("*.py"))
    return sorted(path for path in found if path.is_file())


def hash_model(run_dir: Path) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each file of a saved model, by its name."""
    hashes = {}
    for path in model_files(run_dir):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def changed_files(run_dir: Path, record: RunRecord) -> dict[str, str]:
    """Says of each file of a finished run's model how it differs from what was scored.

    Args:
        run_dir: The run's folder.
        record: Its run.json; one without hashes has nothing to compare with.
    """
    scored, found = record.weights, hash_model(run_dir)
    if "config.json" not in scored:  # a run of an earlier hftune
        found = {name: digest for name, digest in found.items() if name in scored}
    changed = {}
    for name in sorted(scored.keys() | found.keys()):
        if name not in found:
            changed[name] = "missing"
        elif name not in scored:
            changed[name] = "was not there when the model was scored"
        elif found[name] != scored[name]:
            changed[name] = "not the one that was scored (other sha256)"
    return changed


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a run's numbers."""
    packages = ["hftune", "torch", "transformers", "datasets", "accelerate", "numpy"]
    return {"python": python_version(), **{package: version(package) for package in packages}}


def with_data_seed(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns a run's settings with `data_seed`, which in runs from before it was `seed`."""
    return {"data_seed": settings["seed"], **settings} if "seed" in settings else settings


def compare_settings(
    old: dict[str, Any], new: dict[str, Any], free: set[str], defaults: dict[str, Any]
) -> list[str]:
    """Lists the settings in which a run differs from the one that its folder holds.

    Args:
        old: The settings that run.json holds.
        new: The settings of this start.
        free: Names of settings that may change from start to start.
        defaults: What a setting was that run.json does not know, because it is younger.

    Returns:
        One line each, such as "learning_rate: 5e-05 there, 0.0001 here", in the order of `new`.
    """
    there, here = _plain({**{name: defaults[name] for name in new if name in defaults}, **old}), _plain(new)
    absent = object()
    lines = []
    for name in dict.fromkeys([*here, *there]):
        pair = there.get(name, absent), here.get(name, absent)
        if name not in free and pair[0] != pair[1]:
            said = ["not set" if value is absent else repr(value) for value in pair]
            lines.append(f"{name}: {said[0]} there, {said[1]} here")
    return lines


def _plain(value: Any) -> Any:
    """Returns a value as it comes back from a JSON file."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _replace(path: Path, data: bytes) -> None:
    """Puts a file in its place, whole or not at all."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        write_synced(temporary, [data])
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _open_lock(path: Path) -> TextIO:
    """Opens a folder's `.lock`, making the folder if need be."""
    advice = "choose another --output_dir"
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a+", encoding="utf-8")
    except FileExistsError as error:
        raise BadInput(f"--output_dir {path} is a file, not a folder; {advice}") from error
    except OSError as error:
        raise BadInput(f"--output_dir {path} cannot be written ({error.strerror}); {advice}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        lock.close()
        raise BadInput(f"--output_dir {path} cannot be written (Permission denied); {advice}")
    return lock
