"""Checkpoints come back bit for bit, or not at all and with a reason, whatever happened to them."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hftune.errors import BadInput, NonFiniteError, ResourceError
from hftune.storage import checkpoint as module
from hftune.storage.checkpoint import (
    clean_temporary,
    keep_best,
    latest_valid,
    list_checkpoints,
    load_checkpoint,
    rotate,
    save_checkpoint,
    tensor_digest,
    verify_checkpoint,
)

DTYPES = list(module._DTYPES)


def numbers(step: int, size: int = 2000) -> dict:
    """Returns one file's worth of tensors that only this step has."""
    return {"weight": torch.full((size,), float(step)), "count": torch.tensor(step)}


def save(run_dir: Path, step: int, **state) -> Path:
    return save_checkpoint(
        run_dir, step, {"model": numbers(step), "optimizer": numbers(-step)}, {"at": step, **state}
    )


def leftovers(run_dir: Path) -> list[str]:
    return [entry.name for entry in run_dir.glob(".tmp-*")]


# --- round trips


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_layout_comes_back_bit_for_bit(tmp_path, dtype):
    def draw(*shape):
        return (torch.rand(*shape) * 2).to(dtype)

    tensors = {
        "matrix": draw(3, 5),
        "transposed": draw(5, 3).T,
        "every other": draw(10)[::2],
        "scalar": draw(1)[0],
        "empty": draw(0, 4),
        "": draw(2),
    }
    path = save_checkpoint(tmp_path, 1, {"optimizer": tensors}, {})
    loaded = load_checkpoint(path).tensors["optimizer"]
    assert {name: t.shape for name, t in loaded.items()} == {name: t.shape for name, t in tensors.items()}
    assert tensor_digest(loaded) == tensor_digest(tensors)


def test_nan_payloads_and_negative_zero_keep_their_bits(tmp_path):
    bits = torch.tensor([0x7FC00001, 0x7F800001, -0x80000000, 1], dtype=torch.int32)
    path = save_checkpoint(tmp_path, 1, {"optimizer": {"x": bits.view(torch.float32)}}, {})
    assert torch.equal(load_checkpoint(path).tensors["optimizer"]["x"].view(torch.int32), bits)


def test_the_safetensors_library_reads_the_files(tmp_path):
    model = torch.nn.TransformerEncoderLayer(8, 2, 16)
    path = save_checkpoint(tmp_path, 7, {"model": model.state_dict()}, {})
    assert tensor_digest(load_file(path / "model.safetensors")) == tensor_digest(model.state_dict())


def test_every_tensor_is_aligned(tmp_path):
    mixed = {str(dtype): torch.zeros(3, dtype=dtype) for dtype in sorted(DTYPES, key=str)}
    data = (save_checkpoint(tmp_path, 1, {"optimizer": mixed}, {}) / "optimizer.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    for name, tensor in mixed.items():
        assert (start + header[name]["data_offsets"][0]) % tensor.itemsize == 0


def test_tied_tensors_are_stored_once_and_come_back_tied(tmp_path):
    embedding, decoder = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 50, bias=False)
    decoder.weight = embedding.weight
    tied = {"embedding": embedding.weight, "decoder": decoder.weight, "row": embedding.weight[3]}
    tied |= {"flat": embedding.weight.view(-1), "bits": embedding.weight.detach().view(torch.int32)}
    tied["head"] = embedding.weight[:5]
    path = save_checkpoint(tmp_path, 1, {"model": tied}, {})
    loaded = load_checkpoint(path).tensors["model"]
    assert loaded["embedding"].data_ptr() == loaded["decoder"].data_ptr()
    for name in ("row", "flat", "bits", "head"):  # the same memory seen otherwise is no tie
        assert torch.equal(loaded[name], tied[name])
    assert (path / "model.safetensors").stat().st_size < 4 * embedding.weight.nbytes


def test_state_step_and_empty_groups_come_back(tmp_path):
    state = {
        "best": 0.1 + 0.2,
        "loss": [1e-300, float("inf")],
        "text": "é\n",
        "none": None,
        "deep": {"a": [1]},
    }
    loaded = load_checkpoint(save_checkpoint(tmp_path, 12, {"model": {}, "ema.1": {}}, state))
    assert (loaded.step, loaded.tensors, loaded.state) == (12, {"model": {}, "ema.1": {}}, state)


def test_a_model_that_is_not_finite_is_refused(tmp_path):
    for value in (float("nan"), float("-inf")):
        with pytest.raises(NonFiniteError, match=r"checkpoint-3.*head\.bias"):
            save_checkpoint(
                tmp_path, 3, {"model": {"ok": torch.ones(2), "head.bias": torch.tensor([0, value])}}, {}
            )
    assert not list(tmp_path.iterdir())


def test_the_same_step_again_keeps_an_equal_one_and_replaces_any_other(tmp_path):
    path = save(tmp_path, 4)
    inode = path.stat().st_ino
    save(tmp_path, 4)
    assert path.stat().st_ino == inode
    save(tmp_path, 4, best=0.9)
    assert load_checkpoint(path).state["best"] == 0.9
    (path / "model.safetensors").write_bytes(b"")
    save(tmp_path, 4, best=0.9)
    assert verify_checkpoint(path) is None
    shutil.rmtree(path)
    path.mkdir()
    save(tmp_path, 4)
    assert verify_checkpoint(path) is None
    assert leftovers(tmp_path) == []


def test_the_digest_sees_names_dtypes_shapes_and_bits_but_not_order():
    a, b = torch.zeros(4), torch.ones(4)
    digest = tensor_digest({"a": a, "b": b})
    assert digest == tensor_digest({"b": b, "a": a.clone()})
    others = [
        {"a": b, "b": a},
        {"a": a, "c": b},
        {"a": a.view(2, 2), "b": b},
        {"a": a.int(), "b": b},
        {"a": -a, "b": b},
    ]
    assert digest not in {tensor_digest(other) for other in others}


# --- damage


@pytest.fixture
def whole(tmp_path):
    save(tmp_path, 10)
    return save(tmp_path, 20)


FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_and_truncation_is_noticed(whole, name):
    draw = random.Random(name)
    file = whole / name
    good = file.read_bytes()
    for _ in range(200):
        bad = bytearray(good)
        bad[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
        file.write_bytes(bad)
        assert "checkpoint-20" in verify_checkpoint(whole)
    for size in [0, len(good) - 1, *(draw.randrange(len(good)) for _ in range(50))]:
        file.write_bytes(good[:size])
        assert name in verify_checkpoint(whole)
    file.write_bytes(good + b"\n")
    assert name in verify_checkpoint(whole)
    file.write_bytes(good)
    assert verify_checkpoint(whole) is None


@pytest.mark.parametrize("name", FILES)
def test_missing_and_swapped_files_are_noticed_and_the_older_checkpoint_is_taken(whole, name):
    shutil.copy(whole.parent / "checkpoint-10" / name, whole / name)
    assert str(whole) in verify_checkpoint(whole)
    (whole / name).unlink()
    with pytest.raises(BadInput, match=name.replace(".", r"\.")) as caught:
        load_checkpoint(whole)
    assert "\n" not in str(caught.value)
    path, skipped = latest_valid(whole.parent)
    assert path == whole.parent / "checkpoint-10"
    assert len(skipped) == 1
    assert skipped[0].startswith("checkpoint-20 skipped: ")
    assert name in skipped[0]


def test_messages_say_what_is_wrong(whole):
    def reason():
        return verify_checkpoint(whole).removeprefix(str(whole))

    (whole / "notes.txt").touch()
    assert reason() == "/notes.txt: unknown file in a checkpoint"
    (whole / "notes.txt").unlink()

    manifest = whole / "manifest.json"
    good = manifest.read_text()
    manifest.write_text(good.replace('"format": 1', '"format": 2'))
    assert reason() == "/manifest.json: format 2 is of a newer hftune; this one reads 1"
    for damaged in ("[]", "1", good.replace('"size"', '"sise"'), good.replace('"step": 20', '"step": "x"')):
        manifest.write_text(damaged)
        assert reason() == "/manifest.json: damaged"
    manifest.unlink()
    assert reason() == ": no manifest.json; not a checkpoint of hftune, or not all of one"
    (whole / "pytorch_model.bin").touch()
    assert reason() == "/pytorch_model.bin is a pickle; hftune reads safetensors only"
    shutil.rmtree(whole)
    assert reason() == ": no such folder"
    shutil.copytree(whole.parent / "checkpoint-10", whole)
    assert reason() == "/manifest.json: is of step 10"


def test_a_file_that_the_disk_does_not_give_back_counts_as_broken(whole, monkeypatch):
    def fail(file, _):
        raise OSError(errno.EIO, "Input/output error", file.name)

    monkeypatch.setattr(module.hashlib, "file_digest", fail)
    assert verify_checkpoint(whole) == f"{whole}/model.safetensors: Input/output error"


def test_folders_are_listed_by_number_and_others_ignored(tmp_path):
    for name in ("checkpoint-9", "checkpoint-100", "checkpoint-0", "checkpoint-x", "checkpoint-07"):
        (tmp_path / name).mkdir()
    for name in (".tmp-checkpoint-3-1", "xcheckpoint-4", "checkpoint-5-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-6").touch()
    assert list_checkpoints(tmp_path) == [0, 9, 100]
    assert list_checkpoints(tmp_path / "none") == []
    path, skipped = latest_valid(tmp_path)
    assert path is None
    assert [line.split()[0] for line in skipped] == ["checkpoint-100", "checkpoint-9", "checkpoint-0"]


# --- failing disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failure_at_any_flush_or_rename_leaves_a_whole_checkpoint(tmp_path, monkeypatch, code):
    save(tmp_path, 10)
    calls = {"made": 0, "fails": 0}

    def counted(name, real):
        def call(*args):
            calls["made"] += 1
            if calls["made"] == calls["fails"]:
                raise OSError(code, os.strerror(code))
            return real(*args)

        monkeypatch.setattr(os, name, call)

    counted("fsync", os.fsync)
    counted("rename", os.rename)
    for fails in range(1, 8):  # four files, the folder, the rename, the parent
        calls.update(made=0, fails=fails)
        with pytest.raises(ResourceError, match=r"checkpoint-20: .* bytes needed, [\d,]+ free") as caught:
            save(tmp_path, 20)
        assert caught.value.exit_code == 4
        assert leftovers(tmp_path) == []
        path, skipped = latest_valid(tmp_path)
        assert skipped == []
        assert load_checkpoint(path).step == (20 if fails == 7 else 10)
    calls.update(made=0, fails=99)
    shutil.rmtree(tmp_path / "checkpoint-20")
    save(tmp_path, 20)
    assert calls["made"] == 7


def test_a_file_size_limit_leaves_the_previous_checkpoint(tmp_path):
    save(tmp_path, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, 8, 100, 500, 4000, 8000, 8190):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(ResourceError, match="checkpoint-20: File too large: 16,0"):
                save(tmp_path, 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert leftovers(tmp_path) == []
        assert latest_valid(tmp_path) == (tmp_path / "checkpoint-10", [])
    save(tmp_path, 20)
    assert latest_valid(tmp_path)[0] == tmp_path / "checkpoint-20"


def test_files_reach_the_disk_before_their_names_do(tmp_path, monkeypatch):
    events = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor):
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        real_fsync(descriptor)

    def rename(source, target):
        events.append(("rename", Path(target).name))
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    save(tmp_path, 1)
    temporary = f".tmp-checkpoint-1-{os.getpid()}"
    files = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
    synced = [("fsync", name) for name in [*files, temporary]]
    assert events == [*synced, ("rename", "checkpoint-1"), ("fsync", tmp_path.name)]


# --- kill -9


def save_for_ever(run_dir: Path, report: int) -> None:
    clean_temporary(run_dir)
    step = max(list_checkpoints(run_dir), default=0)
    while True:
        step += 1
        save(run_dir, step)
        os.write(report, f"{step}\n".encode())
        save(run_dir, step, again=True)  # replaces it
        rotate(run_dir, 2, protect={1})


def test_kill_9_at_any_instant_loses_nothing_that_was_saved(tmp_path):
    draw = random.Random(0)
    for _ in range(20):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                save_for_ever(tmp_path, into)
            finally:
                os._exit(1)
        os.close(into)
        with os.fdopen(out, "rb") as reports:
            first = reports.readline()
            time.sleep(draw.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            saved = [int(line) for line in [first, *reports]]
        clean_temporary(tmp_path)
        assert leftovers(tmp_path) == []
        for step in list_checkpoints(tmp_path):
            loaded = load_checkpoint(tmp_path / f"checkpoint-{step}")
            assert tensor_digest(loaded.tensors["model"]) == tensor_digest(numbers(step))
        assert list_checkpoints(tmp_path)[0] == 1
        assert list_checkpoints(tmp_path)[-1] >= saved[-1]


def test_a_save_killed_before_its_rename_is_finished_and_a_partial_one_removed(tmp_path):
    save(tmp_path, 10)
    save(tmp_path, 20).rename(tmp_path / ".tmp-checkpoint-20-1")
    save(tmp_path, 30).rename(tmp_path / ".tmp-checkpoint-30-1")
    (tmp_path / ".tmp-checkpoint-30-1" / "manifest.json").unlink()
    save(tmp_path, 5).rename(tmp_path / ".tmp-delete-checkpoint-5-1")
    (tmp_path / ".tmp-run.json-1").touch()
    clean_temporary(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-20"]
    assert latest_valid(tmp_path) == (tmp_path / "checkpoint-20", [])


# --- rotation


def test_rotation_counts_the_protected_ones(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step)
    assert rotate(tmp_path, None, set()) == []
    assert rotate(tmp_path, 3, {5}) == [10]
    assert rotate(tmp_path, 1, {5}) == [15]
    assert list_checkpoints(tmp_path) == [5, 20]
    assert rotate(tmp_path, 1, set()) == [5]
    assert leftovers(tmp_path) == []


def test_best_and_last_survive_every_history(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of histories; nobody pulls the plug
    real_rmtree = shutil.rmtree
    for history in range(150):
        draw = random.Random(history)
        run_dir = tmp_path / str(history)
        run_dir.mkdir()
        keep, best, last, step = draw.choice([None, 1, 2, 3]), None, None, 0
        for _ in range(draw.randrange(1, 12)):
            step += draw.randrange(1, 20)
            save_checkpoint(run_dir, step, {}, {"at": step})
            last = step
            if best is None or draw.random() < 0.3:
                best = step
            event = draw.random()
            if event < 0.2:  # killed while it deletes
                with monkeypatch.context() as patch:
                    patch.setattr(module.shutil, "rmtree", _stop)
                    try:
                        rotate(run_dir, keep, {best})
                    except KeyboardInterrupt:
                        clean_temporary_with(real_rmtree, patch, run_dir)
            elif event < 0.3:  # the newest goes bad: nothing may be deleted on its account
                before = list_checkpoints(run_dir)
                (run_dir / f"checkpoint-{last}" / "state.json").write_text("{}")
                assert rotate(run_dir, keep, {best}) == []
                assert list_checkpoints(run_dir) == before
                save_checkpoint(run_dir, step, {}, {"at": step})
            else:
                rotate(run_dir, keep, {best})
                assert keep is None or len(list_checkpoints(run_dir)) <= max(keep, len({best, last}))
            assert {best, last} <= set(list_checkpoints(run_dir))
            for whole in list_checkpoints(run_dir):
                assert verify_checkpoint(run_dir / f"checkpoint-{whole}") is None
            assert leftovers(run_dir) == []


def _stop(folder, **__):
    if folder.exists():
        (folder / "state.json").unlink()
        raise KeyboardInterrupt


def clean_temporary_with(rmtree, patch, run_dir):
    patch.setattr(module.shutil, "rmtree", rmtree)
    clean_temporary(run_dir)


# --- optimizers


# --- the best so far


def progress(best: int) -> dict:
    return {"progress": {"best_step": best}}


def test_going_on_from_another_run_brings_its_best(tmp_path):
    other, own = tmp_path / "other", tmp_path / "own"
    for folder in (other, own):
        folder.mkdir()
    best = save(other, 4, **progress(4))
    last = load_checkpoint(save(other, 8, **progress(4)))
    keep_best(last, own, copies=False)
    assert list_checkpoints(own) == []
    keep_best(last, own, copies=True)
    assert list_checkpoints(own) == [4]
    assert verify_checkpoint(own / "checkpoint-4") is None
    assert (own / "checkpoint-4/manifest.json").read_bytes() == (best / "manifest.json").read_bytes()
    assert leftovers(own) == []


def test_a_copy_that_was_killed_is_made_again_and_a_full_disk_told(tmp_path, monkeypatch):
    other, own = tmp_path / "other", tmp_path / "own"
    for folder in (other, own):
        folder.mkdir()
    best = save(other, 4, **progress(4))
    (own / ".tmp-checkpoint-4").mkdir()
    (own / ".tmp-checkpoint-4/half").write_bytes(b"")

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(ResourceError, match="No space left on device"):
            keep_best(load_checkpoint(best), own, copies=True)
    keep_best(load_checkpoint(best), own, copies=True)
    assert verify_checkpoint(own / "checkpoint-4") is None
    assert leftovers(own) == []


@pytest.mark.parametrize("lost", ["missing", "broken"])
def test_a_lost_best_is_told_before_training(tmp_path, lost):
    best, last = save(tmp_path, 4, **progress(4)), save(tmp_path, 8, **progress(4))
    keep_best(load_checkpoint(last), tmp_path, copies=True)
    if lost == "missing":
        shutil.rmtree(best)
    else:
        (best / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=r"checkpoint-8 is whole, but not the best so far: .*checkpoint-4"):
        keep_best(load_checkpoint(last), tmp_path, copies=True)
