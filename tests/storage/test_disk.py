"""A disk that fails at any call, files that may not grow, and damage: the last whole checkpoint is kept."""

import errno
import random

import pytest
import torch

from hftune.errors import ResourceError
from hftune.storage.checkpoint import (
    latest_valid,
    load_checkpoint,
    rotate,
    save_checkpoint,
    verify_checkpoint,
)
from proofs.damage import all_noticed, small_checkpoints
from proofs.disk import CODES, failing_disk, failing_saves, files_that_may_not_grow
from proofs.jobs import make_jobs


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))


def save(run_dir, step):
    tensors = {"weight": torch.full((5000,), float(step))}
    return save_checkpoint(run_dir, step, {"model": tensors, "optimizer": tensors}, {"at": step})


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_every_call_of_a_save_may_fail(code, for_ever, tmp_path):
    """Opening, each write, each flush, the rename: what was there stays, and the next save works."""
    (tmp_path / "counted").mkdir()
    with failing_disk(code, 0) as calls:
        save(tmp_path / "counted", 1)
    names = list(calls)
    assert names.count("open") == 4
    assert names.count("write") >= 4
    assert names[-2:] == ["rename", "fsync"]
    save(tmp_path, 10)
    for at in range(1, len(names) + 1):
        with (
            failing_disk(code, at, for_ever) as calls,
            pytest.raises(ResourceError, match=r"checkpoint-20: .*bytes needed, [\d,]+ free"),
        ):
            save(tmp_path, 20)
        assert calls[: at - 1] == names[: at - 1]
        path, skipped = latest_valid(tmp_path)
        assert skipped == []
        assert load_checkpoint(path).step == (20 if at == len(names) else 10)
        assert not list(tmp_path.glob(".tmp-*"))
    assert verify_checkpoint(save(tmp_path, 20)) is None


@pytest.mark.parametrize("at", [1, 2])
def test_a_disk_that_fails_while_the_oldest_is_deleted_loses_no_other(at, tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    with failing_disk(errno.EIO, at), pytest.raises(OSError, match="Input/output error"):
        rotate(tmp_path, 1, protect={10})
    for step in (10, 30):
        assert verify_checkpoint(tmp_path / f"checkpoint-{step}") is None


def test_every_kind_of_damage_is_noticed(tmp_path):
    path = small_checkpoints(tmp_path / "run")
    row = all_noticed("", path, random.Random(0), 60)
    assert row.held == row.tried > 4 * 60
    assert {"flipped", "cut", "too", "swapped", "missing", "unknown"} <= set(
        row.note.replace(",", "").split()
    )


def test_the_damage_is_really_done(tmp_path, monkeypatch):
    """A check that finds nothing wrong makes the count fail."""
    path = small_checkpoints(tmp_path / "run")
    monkeypatch.setattr("proofs.damage.verify_checkpoint", lambda path: None)
    row = all_noticed("", path, random.Random(0), 5)
    assert row.held < row.tried


def test_a_run_on_a_failing_disk_says_so_and_ends_the_same_afterwards(jobs, tmp_path):
    row = failing_saves(jobs["textcnn"], tmp_path, {"ENOSPC": errno.ENOSPC}, calls=[4, 15])
    assert (row.held, row.tried) == (2, 2)


def test_a_run_whose_files_may_not_grow_says_so_and_ends_the_same_afterwards(jobs, tmp_path):
    row = files_that_may_not_grow(jobs["textcnn"], tmp_path, (4_000,))
    assert (row.held, row.tried) == (1, 1)
