"""A run's folder belongs to one living process, and run.json says what the run is."""

import errno
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from hftune.errors import BadInput
from hftune.storage import run_dir as rundir
from hftune.storage.files import read_json, write_json
from hftune.storage.run_dir import (
    RunRecord,
    change_record,
    lock_run_dir,
    package_versions,
    settings_of,
    write_exit,
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


def test_a_folder_in_use_is_refused_and_freed_by_kill_9(tmp_path):
    path = tmp_path / "deep" / "run"

    def hold(ready):
        with lock_run_dir(path):
            ready()
            time.sleep(60)

    child = fork(hold)
    try:
        with (
            pytest.raises(BadInput, match=f"{path} is in use by pid {child} on {os.uname().nodename}; "),
            lock_run_dir(path),
        ):
            pass
    finally:
        kill(child)
    with lock_run_dir(path), pytest.raises(BadInput, match=f"pid {os.getpid()}"), lock_run_dir(path):
        pass
    with lock_run_dir(path):
        pass


def test_a_worker_that_outlives_its_killed_run_does_not_keep_the_lock(tmp_path):
    pids, into = os.pipe()

    def hold(ready):
        with lock_run_dir(tmp_path):
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
        with (
            pytest.raises(BadInput, match="in use"),
            lock_run_dir(tmp_path),
        ):  # forking alone does not free it
            pass
        kill(child)
        with lock_run_dir(tmp_path):
            pass
        os.kill(worker, 0)  # still alive
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_holder_that_has_not_yet_written_its_name(tmp_path):
    with lock_run_dir(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(BadInput, match="in use by another process"), lock_run_dir(tmp_path):
            pass


def test_folders_that_cannot_be_used_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    cases = {
        tmp_path / "file": "is a file, not a folder",
        tmp_path / "file" / "run": "Not a directory",
        tmp_path / ("x" * 300): "File name too long",
        Path("/proc/run"): "No such file or directory",
    }
    for path, reason in cases.items():
        with pytest.raises(BadInput, match=reason) as caught, lock_run_dir(path):
            pass
        assert str(path) in str(caught.value)
        assert "--output_dir" in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(BadInput, match="Permission denied"), lock_run_dir(tmp_path / "read-only"):
        pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(rundir.fcntl, "flock", flock)
    with (
        pytest.raises(BadInput, match=r"file locks do not work there \(No locks"),
        lock_run_dir(tmp_path),
    ):
        pass


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


def test_a_change_of_a_record_is_written(tmp_path):
    record(best_step=5).write(tmp_path)
    changed = change_record(tmp_path, last_step=9, finished=True)
    assert changed == RunRecord.read(tmp_path) == record(best_step=5, last_step=9, finished=True)


def test_the_versions_are_those_installed():
    import torch

    versions = package_versions()
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(versions) == {"python", "hftune", "torch", "transformers", "datasets", "accelerate", "numpy"}


def test_settings_of_an_older_run_are_read_as_they_are_written_today():
    older = settings_of(record(settings={"seed": 7, "metric_for_best_model": "eval_f1"}))
    assert older == {"task": "single_label", "seed": 7, "data_seed": 7, "metric_for_best_model": "f1"}
    today = {"task": "regression", "seed": 7, "data_seed": 42}
    assert settings_of(record(settings=today)) == today


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
