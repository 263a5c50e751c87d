"""Files that appear whole or not at all, and what a disk or a folder says when it takes none.

A file is written beside its place under a name that starts with `.tmp-`, flushed to the disk and renamed; a
process that is killed in between leaves only a `.tmp-` file, which the next start removes.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hftune.errors import BadInput, ResourceError

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


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


def can_write_in(folder: Path) -> bool:
    """Returns whether files can be put into a folder, which is there or can be made."""
    place = nearest_existing(folder)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


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
    write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
        replace_file(path, data)


def replace_file(path: Path, data: bytes) -> None:
    """Puts a file in its place, whole or not at all."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        write_synced(temporary, [data])
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder of a path's name that takes its place in the end: whole or not at all.

    Args:
        path: Where nothing is, or an empty folder.

    Raises:
        BadInput: The place cannot be written.
        ResourceError: The disk has no room or fails.
    """
    with explain_write_errors(path, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
    try:
        folder = place / path.name
        folder.mkdir()
        yield folder
        with explain_write_errors(path, 0):
            sync_folder(folder)
            os.rename(folder, path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(place, ignore_errors=True)


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


def plain(value: Any) -> Any:
    """Returns a value as it comes back from a JSON file."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def hash_file(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
