"""Checkpoints with every bit flipped, cut off, swapped, lost or joined by another file: each is noticed."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from hftune.storage.checkpoint import latest_valid, list_checkpoints, save_checkpoint, verify_checkpoint
from proofs.jobs import Job, finish, remove
from proofs.table import Row

FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")


def small_checkpoints(run_dir: Path) -> Path:
    """Writes two checkpoints of a few numbers, so that every bit can be tried; returns the newer."""
    run_dir.mkdir(parents=True)
    for step in (10, 20):
        tensors = {"weight": torch.arange(6.0) * step, "bias": torch.tensor([1.0, step])}
        path = save_checkpoint(run_dir, step, {"model": tensors, "optimizer": tensors}, {"at": step})
    return path


def damages(path: Path, draw: random.Random, flips: int | None) -> Iterator[str]:
    """Damages a checkpoint in one way after the other, each undone before the next.

    Args:
        path: The newest checkpoint; the one before it lends its files.
        draw: Chooses bits and lengths.
        flips: Bits to flip in each file; None flips every one.

    Yields:
        What has just been done to it.
    """
    older = path.with_name(f"checkpoint-{list_checkpoints(path.parent)[-2]}")
    for name in sorted(file.name for file in path.iterdir()):
        file, good = path / name, (path / name).read_bytes()
        bits = range(8 * len(good)) if flips is None else draw.choices(range(8 * len(good)), k=flips)
        lengths = (
            range(len(good)) if flips is None else [0, len(good) - 1, *draw.choices(range(len(good)), k=48)]
        )
        for bit in bits:
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bad)
            yield "a flipped bit"
        for length in lengths:
            file.write_bytes(good[:length])
            yield "cut off"
        file.write_bytes(good + b"\0")
        yield "too long"
        shutil.copy(older / name, file)
        if file.read_bytes() != good:
            yield "swapped"
        file.unlink()
        yield "missing"
        file.write_bytes(good)
    unknown = path / "weights.bin"
    unknown.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    yield "an unknown file"
    unknown.unlink()


def all_noticed(claim: str, path: Path, draw: random.Random, flips: int | None) -> Row:
    """Counts the damages of a checkpoint that are noticed, and after which the one before is taken."""
    kinds: dict[str, int] = {}
    with Row(claim) as row:
        older = path.with_name(f"checkpoint-{list_checkpoints(path.parent)[-2]}")
        for number, kind in enumerate(damages(path, draw, flips)):
            held = verify_checkpoint(path) is not None
            if number % 50 == 0 or kind not in kinds:
                taken, told = latest_valid(path.parent)
                held = held and taken == older and len(told) == 1
            kinds[kind] = kinds.get(kind, 0) + 1
            row.count(held)
        assert verify_checkpoint(path) is None, "the damage was not undone"
        row.note = ", ".join(f"{count:,} x {kind}" for kind, count in kinds.items())
    return row


def real_checkpoint_damaged(job: Job, folder: Path, draw: random.Random, flips: int = 200) -> Row:
    """Damages the last checkpoint of a run in many ways."""
    run_dir = folder / "damaged"
    finish(job, run_dir)
    path = run_dir / f"checkpoint-{list_checkpoints(run_dir)[-1]}"
    claim = f"{job.name}: a checkpoint damaged: noticed, the one before taken with one line"
    row = all_noticed(claim, path, draw, flips)
    remove(run_dir)
    return row
