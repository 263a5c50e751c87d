"""Checkpoints that are whole or absent: safetensors and JSON under a manifest of sizes and hashes.

    checkpoint-300/
        model.safetensors, optimizer.safetensors, ...   tensors by name
        state.json                                      everything else
        manifest.json                                   size and sha256 of each file, written last

A save fills a temporary folder beside its place, flushes every file, then the folder, renames it
and flushes the rename. A load reads nothing before every size and hash agrees. No pickle at all.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from hftune.errors import BadInput, NonFiniteError
from hftune.storage.files import explain_write_errors, sync_folder, write_synced

FORMAT = 1
Tensors = dict[str, torch.Tensor]

_FOLDER = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
_PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
_DTYPES = {  # safetensors' names
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Checkpoint:
    """What was given to `save_checkpoint`, the tensors on the CPU."""

    step: int
    tensors: dict[str, Tensors]
    state: dict[str, Any]
    path: Path


def save_checkpoint(run_dir: Path, step: int, tensors: dict[str, Tensors], state: dict[str, Any]) -> Path:
    """Writes `run_dir/checkpoint-{step}`, whole or not at all.

    A checkpoint of the same step that is whole and equal stays; any other is replaced.

    Args:
        run_dir: The run's folder.
        step: Optimizer steps done.
        tensors: Tensors of any shape and layout, one file for each entry, such as "model" and
            "optimizer". Tied tensors are stored once and come back tied.
        state: Everything else, as JSON: string keys, no tuples. NaN and infinity are kept.

    Returns:
        The checkpoint's folder.

    Raises:
        NonFiniteError: A tensor of "model" holds NaN or infinity; nothing is written.
        ResourceError: The disk has no room or fails; earlier checkpoints are as they were.
    """
    final = run_dir / f"checkpoint-{step}"
    _refuse_non_finite(final, tensors.get("model", {}))
    temporary = run_dir / f".tmp-checkpoint-{step}-{os.getpid()}"
    files: dict[str, Iterable[Any]] = {f"{name}.safetensors": _safetensors(tensors[name]) for name in tensors}
    state_text = json.dumps(state, indent=1).encode()
    files["state.json"] = [state_text]
    needed = sum(tensor.nbytes for group in tensors.values() for tensor in group.values()) + len(state_text)
    with explain_write_errors(final, needed):
        shutil.rmtree(temporary, ignore_errors=True)  # of a dead run that had the same pid
        try:
            temporary.mkdir()
            written = {name: write_synced(temporary / name, chunks) for name, chunks in files.items()}
            write_synced(temporary / "manifest.json", [_manifest_bytes(step, written)])
            sync_folder(temporary)
            _put_in_place(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint after checking every file's size and sha256.

    Raises:
        BadInput: The folder is no whole checkpoint; names the file and what is wrong with it.
    """
    if reason := verify_checkpoint(path):
        raise BadInput(f"{reason}; resume from another checkpoint or start again")
    manifest = json.loads((path / "manifest.json").read_bytes())
    names = [name for name in manifest["files"] if name.endswith(".safetensors")]
    return Checkpoint(
        step=manifest["step"],
        tensors={name.removesuffix(".safetensors"): _read_tensors(path / name) for name in names},
        state=json.loads((path / "state.json").read_bytes()),
        path=path,
    )


def verify_checkpoint(path: Path) -> str | None:
    """Returns None if a checkpoint is whole, else what is wrong, beginning with the file."""
    try:
        if not path.is_dir():
            return f"{path}: no such folder"
        present = set(os.listdir(path))
        if pickles := sorted(name for name in present if Path(name).suffix in _PICKLES):
            return f"{path / pickles[0]} is a pickle; hftune reads safetensors only"
        if "manifest.json" not in present:
            return f"{path}: no manifest.json; not a checkpoint of hftune, or not all of one"
        data = (path / "manifest.json").read_bytes()
        return _manifest_problem(path, data) or _files_problem(path, present, json.loads(data)["files"])
    except OSError as error:  # a file that the disk does not give back is as good as lost
        return f"{error.filename or path}: {error.strerror}"


def keep_best(checkpoint: Checkpoint, run_dir: Path, copies: bool) -> None:
    """Makes sure that the best checkpoint so far, which a run scores at its end, lies in its folder.

    Where a run goes on from another one's checkpoint, that one's best lies beside it and is copied.

    Args:
        checkpoint: What is gone on from.
        run_dir: The run's folder.
        copies: Whether this process may write.

    Raises:
        BadInput: It is missing or broken in both places.
    """
    best = checkpoint.state["progress"]["best_step"]
    if best is None or verify_checkpoint(run_dir / f"checkpoint-{best}") is None:
        return
    beside = checkpoint.path.parent / f"checkpoint-{best}"
    if problem := verify_checkpoint(beside):
        raise BadInput(
            f"{checkpoint.path} is whole, but not the best so far: {problem}; bring it back, or "
            "--resume_from_checkpoint an older one"
        )
    if copies:
        temporary = run_dir / f".tmp-checkpoint-{best}"
        with explain_write_errors(temporary, sum(file.stat().st_size for file in beside.iterdir())):
            shutil.rmtree(temporary, ignore_errors=True)  # of a copy that was killed
            temporary.mkdir()
            for file in beside.iterdir():  # one by one: copytree hides what the system says
                shutil.copyfile(file, temporary / file.name)
            _put_in_place(temporary, run_dir / beside.name)


def list_checkpoints(run_dir: Path) -> list[int]:
    """Returns the steps of a run's checkpoint folders, whole or not, ascending."""
    if not run_dir.is_dir():
        return []
    matches = [_FOLDER.fullmatch(entry.name) for entry in run_dir.iterdir() if entry.is_dir()]
    return sorted(int(match[1]) for match in matches if match)


def latest_valid(run_dir: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint that is whole, and a line for each newer one that is not."""
    skipped: list[str] = []
    for step in reversed(list_checkpoints(run_dir)):
        path = run_dir / f"checkpoint-{step}"
        reason = verify_checkpoint(path)
        if reason is None:
            return path, skipped
        skipped.append(f"checkpoint-{step} skipped: {reason}")
    return None, skipped


def rotate(run_dir: Path, keep: int | None, protect: set[int]) -> list[int]:
    """Deletes the oldest checkpoints until `keep` are left, as transformers' save_total_limit counts.

    The newest and the protected ones stay whatever `keep` says, and nothing is deleted before
    the newest has been read back whole.

    Args:
        run_dir: The run's folder.
        keep: How many to keep, protected ones included; None keeps all.
        protect: Steps never to delete, such as the best one's.

    Returns:
        The steps deleted.
    """
    steps = list_checkpoints(run_dir)
    if keep is None or len(steps) <= keep or verify_checkpoint(run_dir / f"checkpoint-{steps[-1]}"):
        return []
    deletable = [step for step in steps[:-1] if step not in protect]
    deleted = deletable[: len(steps) - keep]
    for step in deleted:
        shutil.rmtree(_set_aside(run_dir / f"checkpoint-{step}"))
    return deleted


def clean_temporary(run_dir: Path) -> None:
    """Removes what killed processes left behind, `.tmp-*`; call it first, holding the run's lock.

    A save that was killed after its last flush is complete: it is put in its place instead.
    """
    for entry in sorted(run_dir.glob(".tmp-*")):
        if not entry.is_dir():
            entry.unlink()
            continue
        if entry.name.startswith(".tmp-checkpoint-") and verify_checkpoint(entry) is None:
            step = json.loads((entry / "manifest.json").read_bytes())["step"]
            _put_in_place(entry, run_dir / f"checkpoint-{step}")
        shutil.rmtree(entry, ignore_errors=True)


def tensor_digest(tensors: Tensors) -> str:
    """Returns the sha256, as hex, over names, dtypes, shapes and bits, whatever order or layout."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _refuse_non_finite(path: Path, tensors: Tensors) -> None:
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    # Read at once: each answer of a device is waited for.
    finite = (
        torch.stack([torch.isfinite(tensor).all() for tensor in floats.values()]).tolist() if floats else []
    )
    for name, good in zip(floats, finite, strict=True):
        if not good:
            raise NonFiniteError(f"{path.name}: {name} of the model holds NaN or infinity; not saved")


def _bytes(tensor: torch.Tensor) -> Any:
    """Returns a tensor's bits in row-major order as a NumPy array of bytes."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _safetensors(tensors: Tensors) -> Iterator[Any]:
    """Yields the bytes of a safetensors file: header length, header, data.

    Written here and not by the library, which neither flushes to the disk, nor keeps the system's
    error, nor takes tied tensors. Format: github.com/huggingface/safetensors, section Format.
    """
    first: dict[Any, str] = {}
    aliases = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(place, name) != name:
            aliases[name] = first[place]
    # widest first keeps every tensor aligned
    names = sorted(tensors.keys() - aliases.keys(), key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "aliases": json.dumps(aliases)}}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield _bytes(tensors[name])


def _read_tensors(path: Path) -> Tensors:
    """Reads what `_safetensors` wrote."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        aliases = json.loads(file.metadata()["aliases"])
    return tensors | {name: tensors[stored] for name, stored in aliases.items()}


def _manifest_bytes(step: int, files: dict[str, Any]) -> bytes:
    """Returns a manifest as bytes; equal content gives equal bytes, so that a flipped bit shows."""
    manifest = {"format": FORMAT, "step": step, "files": files}
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def _manifest_problem(path: Path, data: bytes) -> str | None:
    """Says what is wrong with a manifest, or None."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(data)
    except ValueError:
        return f"{file}: not JSON"
    if not isinstance(manifest, dict):
        return f"{file}: damaged"
    if isinstance(manifest.get("format"), int) and manifest["format"] > FORMAT:
        return f"{file}: format {manifest['format']} is of a newer hftune; this one reads {FORMAT}"
    step, files = manifest.get("step"), manifest.get("files")
    if not isinstance(step, int) or not isinstance(files, dict) or data != _manifest_bytes(step, files):
        return f"{file}: damaged"
    if any(not isinstance(entry, dict) or entry.keys() != {"size", "sha256"} for entry in files.values()):
        return f"{file}: damaged"
    match = _FOLDER.fullmatch(path.name)
    if match and int(match[1]) != step:
        return f"{file}: is of step {step}"
    return None


def _files_problem(path: Path, present: set[str], files: dict[str, Any]) -> str | None:
    """Says which file is missing, unknown or not as the manifest has it, or None."""
    for name in sorted(files.keys() | {"state.json"}):
        if name not in present:
            return f"{path / name}: missing"
    for name in sorted(present - files.keys() - {"manifest.json"}):
        return f"{path / name}: unknown file in a checkpoint"
    for name, expected in sorted(files.items()):
        size = (path / name).stat().st_size
        if size != expected["size"]:
            return f"{path / name}: {size:,} bytes, should be {expected['size']:,}"
    for name, expected in sorted(files.items()):
        with open(path / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                return f"{path / name}: damaged (other sha256)"
    return None


def _put_in_place(temporary: Path, final: Path) -> None:
    """Renames a complete temporary folder, unless the same checkpoint is there already."""
    old = None
    if final.exists():
        same = (final / "manifest.json").exists() and (
            (final / "manifest.json").read_bytes() == (temporary / "manifest.json").read_bytes()
        )
        if same and verify_checkpoint(final) is None:
            return
        old = _set_aside(final)  # killed now, `clean_temporary` puts the new one in place
    os.rename(temporary, final)
    sync_folder(final.parent)
    if old:
        shutil.rmtree(old)


def _set_aside(path: Path) -> Path:
    """Renames a folder that is to be deleted, since deleting is not atomic; returns the new path."""
    aside = path.with_name(f".tmp-delete-{path.name}-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(path, aside)
    sync_folder(path.parent)
    return aside
