"""A file appears whole or not at all, whatever the disk does."""

import errno
import math
import os
import time
from pathlib import Path

import pytest

from hftune.errors import BadInput, ResourceError
from hftune.storage import files
from hftune.storage.files import new_folder, read_json, write_json
from tests.storage.test_run_dir import fork, kill


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


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "runs/mean"
    with new_folder(path) as folder:
        (folder / "half").write_text("1")
        assert folder.name == "mean"
        assert not path.exists()
    assert (path / "half").read_text() == "1"

    def fail():
        with new_folder(tmp_path / "runs/other") as folder:
            (folder / "half").write_text("1")
            raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        fail()
    with pytest.raises(BadInput, match="mean cannot be written: Directory not empty"), new_folder(path):
        pass
    assert [str(entry.relative_to(path)) for entry in path.iterdir()] == ["half"]
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == ["mean"]


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

    monkeypatch.setattr(*{"mkdir": (os, "mkdir"), "open": (files, "open")}[call], fail, raising=False)
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
