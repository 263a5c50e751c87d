"""A run's folder belongs to one living process, and its JSON files are always whole."""

import errno
import hashlib
import json
import math
import os
import re
import signal
import time
from pathlib import Path

import pytest

from hftune.errors import BadInput, ResourceError
from hftune.storage import run_dir as rundir
from hftune.storage.run_dir import (
    RunDir,
    RunRecord,
    changed_files,
    compare_settings,
    hash_model,
    package_versions,
    read_json,
    with_data_seed,
    write_exit,
    write_json,
)


def fork(work) -> int:
    """Runs `work(ready)` in a child; returns its pid once it has called `ready()`."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda: os.write(into, b"."))
            time.sleep(60)
        finally:
            os._exit(0)
    os.close(into)
    assert os.read(out, 1) == b"."
    os.close(out)
    return child


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# --- lock


def test_a_folder_in_use_is_refused_and_freed_by_kill_9(tmp_path):
    path = tmp_path / "deep" / "run"

    def hold(ready):
        with RunDir.open(path, "imdb"):
            ready()
            time.sleep(60)

    child = fork(hold)
    try:
        with pytest.raises(BadInput, match=f"{path} is in use by pid {child} on {os.uname().nodename}; "):
            RunDir.open(path, "imdb")
    finally:
        kill(child)
    with RunDir.open(path, "imdb") as run:
        assert run.path == path
        with pytest.raises(BadInput, match=f"pid {os.getpid()}"):
            RunDir.open(path, "imdb")
    RunDir.open(path, "imdb").close()


def test_a_worker_that_outlives_its_killed_run_does_not_keep_the_lock(tmp_path):
    pids, into = os.pipe()

    def hold(ready):
        with RunDir.open(tmp_path, "imdb"):
            worker = os.fork()
            if worker == 0:
                os.write(into, f"{os.getpid()}\n".encode())
                ready()
                time.sleep(60)
                os._exit(0)
            time.sleep(60)

    child = fork(hold)
    worker = int(os.read(pids, 20))
    try:
        with pytest.raises(BadInput, match="in use"):  # forking alone does not free it
            RunDir.open(tmp_path, "imdb")
        kill(child)
        RunDir.open(tmp_path, "imdb").close()
        os.kill(worker, 0)  # still alive
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_holder_that_has_not_yet_written_its_name(tmp_path):
    with RunDir.open(tmp_path, "imdb"):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(BadInput, match="in use by another process"):
            RunDir.open(tmp_path, "imdb")


def test_the_default_folder_is_named_after_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunDir.open(None, "imdb") as run:
        assert run.path == Path("runs/imdb")
        assert (tmp_path / "runs/imdb/.lock").exists()


def test_folders_that_cannot_be_used_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    cases = {
        tmp_path / "file": "is a file, not a folder",
        tmp_path / "file" / "run": "Not a directory",
        tmp_path / ("x" * 300): "File name too long",
        Path("/proc/run"): "No such file or directory",
    }
    for path, reason in cases.items():
        with pytest.raises(BadInput, match=reason) as caught:
            RunDir.open(path, "imdb")
        assert str(path) in str(caught.value)
        assert "--output_dir" in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(BadInput, match="Permission denied"):
        RunDir.open(tmp_path / "read-only", "imdb")


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(rundir.fcntl, "flock", flock)
    with pytest.raises(BadInput, match=r"file locks do not work there \(No locks available\)"):
        RunDir.open(tmp_path, "imdb")


# --- JSON


def test_json_comes_back_with_null_for_what_json_lacks(tmp_path):
    path = tmp_path / "all_results.json"
    write_json(
        path, {"a": math.nan, "b": [1.5, -math.inf], "c": (1, "é"), 3: {"d": math.inf}, "e": 0.1 + 0.2}
    )
    assert read_json(path) == {"a": None, "b": [1.5, None], "c": [1, "é"], "3": {"d": None}, "e": 0.1 + 0.2}
    assert "é" in path.read_text(encoding="utf-8")
    write_json(path, "\udcff")
    assert read_json(path) == "\udcff"
    assert [entry.name for entry in tmp_path.iterdir()] == ["all_results.json"]


def test_a_file_reaches_the_disk_before_its_name_does(tmp_path, monkeypatch):
    events = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        real_fsync(descriptor)

    def replace(source, target):
        events.append(("replace", Path(target).name))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_json(tmp_path / "x.json", 1)
    temporary = f".tmp-x.json-{os.getpid()}"
    assert events == [("fsync", temporary), ("replace", "x.json"), ("fsync", tmp_path.name)]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "run.json"
    write_json(path, [1])

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        ResourceError, match=r"run\.json: No space left on device: 8 bytes needed, [\d,]+ free"
    ):
        write_json(path, [2])
    assert path.read_text() == "[\n  1\n]\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_place_that_cannot_be_written_is_bad_input_and_not_called_a_full_disk(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    cases = {
        "folder": "Is a directory",
        "file/x.json": "Not a directory",
        "file/deep/x.json": "Not a directory",
        "none/deep/x.json": "No such file or directory",
    }
    for name, reason in cases.items():
        with pytest.raises(BadInput, match=f"^{tmp_path / name} cannot be written: {reason}$"):
            write_json(tmp_path / name, 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {1, 2})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EACCES, BadInput), (errno.EPERM, BadInput), (errno.EROFS, ResourceError)]
)
@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path, monkeypatch, code, kind, call):
    def fail(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(*{"mkdir": (os, "mkdir"), "open": (rundir, "open")}[call], fail, raising=False)
    with pytest.raises(kind, match=rf"sub/x\.json.*{os.strerror(code)}") as caught:
        write_json(tmp_path / "sub" / "x.json", 1)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.json*"))


def test_readers_never_see_half_a_file(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, [0] * 20000)

    def rewrite(ready):
        ready()
        for number in range(10**6):
            write_json(path, [number] * 20000)

    for wait in (0.01, 0.03, 0.05, 0.1):
        child = fork(rewrite)
        end = time.monotonic() + wait
        while time.monotonic() < end:
            assert len(set(read_json(path))) == 1
        kill(child)
        assert len(set(read_json(path))) == 1


def test_broken_json_is_located(tmp_path):
    path = tmp_path / "run.json"
    cases = {b'{\n "a": }': "line 2, column 7", b"": "line 1, column 1", b'"\xff"': "byte 1 is not UTF-8"}
    for data, place in cases.items():
        path.write_bytes(data)
        with pytest.raises(BadInput, match=rf"run\.json: not JSON.*{place}"):
            read_json(path)
    path.unlink()
    with pytest.raises(BadInput, match=r"run\.json: no such file"):
        read_json(path)


def test_exit_json_says_how_to_go_on_and_never_fails(tmp_path, monkeypatch):
    write_exit(tmp_path, 4, "no space", "python recipes/imdb.py")
    ending = read_json(tmp_path / "exit.json")
    assert ending.pop("time").endswith("+00:00")
    assert ending == {"code": 4, "reason": "no space", "resume_command": "python recipes/imdb.py"}
    write_exit(tmp_path / "none", 4, "no space", None)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    write_exit(tmp_path, 0, "done", None)
    assert read_json(tmp_path / "exit.json")["code"] == 4


# --- run.json


def record(**changes) -> RunRecord:
    values = {"settings": {"seed": 1, "betas": [0.9, 0.98]}, "versions": package_versions(), "threads": 1}
    values |= {"data_fingerprints": {"train": "ab"}, "world_size": 2, "micro_batches_per_step": 4}
    return RunRecord(**(values | changes))


def test_a_record_comes_back(tmp_path):
    assert RunRecord.read(tmp_path) is None
    for written in (record(), record(best_step=5, last_step=9, finished=True)):
        written.write(tmp_path)
        assert RunRecord.read(tmp_path) == written


def test_a_record_of_another_hand_is_refused(tmp_path):
    record().write(tmp_path)
    good = json.loads((tmp_path / "run.json").read_text())
    cases = [
        ([], "not written by hftune"),
        ({"seed": 1}, "not written by hftune"),
        ({**good, "format": 2}, "has format 2, this hftune reads format 1"),
        ({**good, "speed": 2}, "unknown key 'speed'"),
        ({key: good[key] for key in good if key != "threads"}, "missing or unknown key 'threads'"),
    ]
    for content, reason in cases:
        write_json(tmp_path / "run.json", content)
        with pytest.raises(BadInput, match=rf"run\.json: .*{reason}"):
            RunRecord.read(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("weights", []), ("settings", None), ("best_step", "3"), ("threads", None), ("finished", "no")],
)
def test_a_record_with_a_value_of_another_kind_is_bad_input(tmp_path, key, value):
    record().write(tmp_path)
    content = read_json(tmp_path / "run.json") | {key: value}
    write_json(tmp_path / "run.json", content)
    with pytest.raises(BadInput, match=rf"run\.json: {key} is {re.escape(repr(value))}"):
        RunRecord.read(tmp_path)


def test_a_file_that_may_not_be_read_is_bad_input(tmp_path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(BadInput, match=rf"^{tmp_path}/run\.json cannot be read: Is a directory$"):
        RunRecord.read(tmp_path)
    assert RunRecord.read(tmp_path / ("x" * 300)) is None


# --- the files of the model


def saved_model(folder: Path) -> Path:
    contents = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "words"}
    for name, content in {**contents, "README.md": "card", "own.py": "code", "rows.csv": "rows"}.items():
        (folder / name).write_text(content)
    return folder


def test_what_a_model_is_loaded_from_is_hashed_and_nothing_else(tmp_path):
    saved_model(tmp_path)
    hashes = hash_model(tmp_path)
    assert hashes.keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    assert hashes["tokenizer.json"] == hashlib.sha256(b"words").hexdigest()
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "own.Model"}}')
    assert hash_model(tmp_path).keys() == hashes.keys() | {"own.py"}


def test_each_file_that_is_not_as_it_was_scored_is_named(tmp_path):
    scored = record(weights=hash_model(saved_model(tmp_path)))
    assert changed_files(tmp_path, scored) == {}
    (tmp_path / "README.md").write_text("another card")
    (tmp_path / "own.py").write_text("nobody's code")
    assert changed_files(tmp_path, scored) == {}
    (tmp_path / "config.json").write_text('{"id2label": {}}')
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "added_tokens.json").write_text("{}")
    assert changed_files(tmp_path, scored) == {
        "added_tokens.json": "was not there when the model was scored",
        "config.json": "not the one that was scored (other sha256)",
        "tokenizer.json": "missing",
    }


def test_a_record_that_holds_the_weights_alone_is_compared_with_the_weights_alone(tmp_path):
    older = {"model.safetensors": hash_model(saved_model(tmp_path))["model.safetensors"]}
    (tmp_path / "config.json").write_text('{"id2label": {}}')
    assert changed_files(tmp_path, record(weights=older)) == {}
    (tmp_path / "model.safetensors").write_text("others")
    assert changed_files(tmp_path, record(weights=older)).keys() == {"model.safetensors"}


def test_the_versions_are_those_installed():
    import torch

    versions = package_versions()
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(versions) == {"python", "hftune", "torch", "transformers", "datasets", "accelerate", "numpy"}


def test_settings_that_differ_are_named_with_both_values():
    old = {"lr": 5e-05, "optim": "sgd", "betas": [0.9, 0.98], "bound": None, "gone": 1, "steps": 10}
    new = {"steps": 20, "bound": math.inf, "betas": (0.9, 0.98), "optim": "adamw", "lr": 1e-4, "new": True}
    defaults = {"new": False, "young": 3}
    new |= {"young": 3}  # what it was before there was such a setting
    assert compare_settings(old, new, {"steps"}, defaults) == [
        "optim: 'sgd' there, 'adamw' here",
        "lr: 5e-05 there, 0.0001 here",
        "new: False there, True here",
        "gone: 1 there, not set here",
    ]
    assert compare_settings(old, old, set(), {}) == []


def test_the_seed_of_an_older_run_drew_its_rows_too():
    assert with_data_seed({"seed": 7})["data_seed"] == 7
    assert with_data_seed({"seed": 7, "data_seed": 42})["data_seed"] == 42
