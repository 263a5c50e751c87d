"""The model's files appear whole or not at all, also where the disk has no room for them."""

import errno
import os
import resource
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from hftune.errors import BadInput, ResourceError
from hftune.training.saved_model import save_model
from tests.tiny import tiny_model, tiny_tokenizer


@contextmanager
def files_of_at_most(size: int):
    """Lets no file of this process grow beyond a number of bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def parts():
    return tiny_model("bert", 2), SimpleNamespace(processor=tiny_tokenizer("bert"))


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_is_on_the_disk_before_it_has_its_name(parts, tmp_path, monkeypatch):
    events = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        events.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        real_fsync(descriptor)

    def replace(source, target):
        events.append(("replace", os.path.basename(target)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    save_model(*parts, tmp_path)
    names = sorted(content(tmp_path))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    expected = [event for name in names for event in (("fsync", name), ("replace", name))]
    assert events[-len(expected) - 1 :] == [*expected, ("fsync", tmp_path.name)]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_every_file_may_be_read_by_whom_the_user_lets(mask, mode, parts, tmp_path):
    before = os.umask(mask)
    try:
        save_model(*parts, tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_a_full_disk_leaves_the_old_model_and_nothing_else(parts, tmp_path, quick_disk):
    save_model(*parts, tmp_path)
    before = content(tmp_path)
    with torch.no_grad():
        parts[0].classifier.weight.add_(1)
    with (
        files_of_at_most(20_000),
        pytest.raises(
            ResourceError, match=r"model\.safetensors: File too large: [\d,]+ bytes needed"
        ) as caught,
    ):
        save_model(*parts, tmp_path)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, ResourceError), (errno.EACCES, BadInput)])
def test_a_library_that_tells_the_systems_error_in_words_is_understood(parts, tmp_path, code, kind):
    def fail(folder):
        raise Exception(f"{os.strerror(code)} (os error {code})")  # as the tokenizers library does

    parts[1].processor = SimpleNamespace(save_pretrained=fail)
    with pytest.raises(kind, match=rf"model\.safetensors.*: {os.strerror(code)}"):
        save_model(*parts, tmp_path)
    assert content(tmp_path) == {}


def test_what_is_no_error_of_the_system_stays_a_bug(parts, tmp_path):
    def fail(folder):
        raise RuntimeError("something else")

    parts[1].processor = SimpleNamespace(save_pretrained=fail)
    with pytest.raises(RuntimeError, match="something else"):
        save_model(*parts, tmp_path)
