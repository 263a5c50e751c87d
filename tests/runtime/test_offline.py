import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hftune import launcher
from hftune.errors import BadInput, printable
from hftune.runtime.offline import (
    OFFLINE,
    cached_dataset,
    cached_model,
    ensure_reachable,
    hub_id,
    reach_hub,
)
from tests.forked import run_python

ADDRESSES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An environment of its own, restored afterwards, with an empty cache and no Hub."""
    for name in (*OFFLINE, *ADDRESSES, *map(str.lower, ADDRESSES), *CACHES):
        monkeypatch.setenv(name, "")  # so that what the code sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.chdir(tmp_path)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def server(status: int) -> Iterator[tuple[str, list[str]]]:
    """Yields the address of a server that answers with a status, and the request lines it gets."""
    lines: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            lines.append(self.requestline)
            self.send_response(status)
            self.end_headers()

        do_GET = do_CONNECT = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", lines
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def offline_variables() -> list[str | None]:
    return [os.environ.get(name) for name in OFFLINE]


def cache_model(home: Path, name: str) -> None:
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123")
    (folder / "snapshots" / "abc123").mkdir(parents=True)
    (folder / "snapshots" / "abc123" / "config.json").write_text("{}")


def cache_dataset(home: Path, folder: str) -> None:
    (home / "datasets" / folder / "default" / "0.0.0" / "abc123").mkdir(parents=True)


@pytest.mark.parametrize(
    ("status", "reached"), [(200, True), (404, True), (501, True), (407, False), (503, False)]
)
def test_any_answer_of_the_hub_counts_but_none_of_a_gateway(
    monkeypatch: pytest.MonkeyPatch, status: int, reached: bool
):
    with server(status) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert reach_hub() is reached


def test_a_closed_port_is_no_hub():
    assert not reach_hub()


@pytest.mark.parametrize("address", ["huggingface.co", "http://", "ftp://x", "http://[::1", "http://x:port"])
def test_an_endpoint_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(BadInput, match="HF_ENDPOINT"):
        ensure_reachable("owner/encoder", None)


@pytest.mark.parametrize("address", ["http://host.invalid", "http://..", "http://ho st"])
def test_an_endpoint_that_is_nowhere_is_no_hub(monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert not reach_hub(timeout=1)


def test_a_proxy_variable_that_is_no_address_leads_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://[::1")
    assert not reach_hub()


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, drip: bytes):
    done = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        while not done.wait(0.05):
            connection.send(drip)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        asked = threading.Thread(target=reach_hub, args=[0.3])
        asked.start()
        asked.join(20)
        late = asked.is_alive()
        done.set()
        thread.join()
    assert not late


def test_a_proxy_is_asked_in_place_of_the_hub(monkeypatch: pytest.MonkeyPatch):
    with server(200) as (address, lines):
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("HTTP_PROXY", address)
        assert reach_hub()
        assert lines == ["HEAD http://hub.invalid HTTP/1.1"]
        monkeypatch.setenv("NO_PROXY", "hub.invalid")
        assert not reach_hub()


def test_a_socks_proxy_needs_only_to_listen(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{listener.getsockname()[1]}")
        assert reach_hub()
        monkeypatch.setenv("NO_PROXY", "hub.invalid")
        assert not reach_hub()
    monkeypatch.delenv("NO_PROXY")
    assert not reach_hub()


def test_a_proxy_tunnels_to_an_encrypted_hub(monkeypatch: pytest.MonkeyPatch):
    with server(407) as (address, lines):
        monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
        monkeypatch.setenv("HTTPS_PROXY", address)
        assert not reach_hub()
        assert lines[0].startswith("CONNECT hub.invalid:443")


def test_without_hub_ids_the_run_is_offline(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    assert ensure_reachable("folder", "sample") is None
    assert offline_variables() == ["1"] * 4


def test_a_reachable_hub_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    with server(200) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert ensure_reachable("owner/encoder", "owner/reviews") is None
    assert offline_variables() == [None] * 4


def test_what_is_not_cached_is_named_with_what_to_do(tmp_path: Path):
    with pytest.raises(
        BadInput, match=r"127\.0\.0\.1:\d+\) cannot be reached and owner/reviews is not in the cache"
    ):
        ensure_reachable("owner/encoder", "owner/reviews")
    cache_dataset(tmp_path / "home", "owner___reviews")
    with pytest.raises(BadInput, match=r"owner/encoder is not in the cache; pass --model_name"):
        ensure_reachable("owner/encoder", "owner/reviews")


def test_the_cache_is_used_with_a_notice(tmp_path: Path):
    cache_dataset(tmp_path / "home", "owner___reviews")
    cache_model(tmp_path / "home", "owner/encoder")
    notice = ensure_reachable("owner/encoder", "owner/reviews")
    assert notice
    assert "cannot be reached: using the cached owner/reviews and owner/encoder" in notice
    assert offline_variables() == ["1"] * 4


def test_a_teacher_of_the_hub_is_looked_for_too(tmp_path: Path):
    with pytest.raises(BadInput, match="owner/teacher is not in the cache; pass --teacher FOLDER"):
        ensure_reachable(None, None, teacher="owner/teacher")
    cache_model(tmp_path / "home", "owner/teacher")
    assert "using the cached owner/teacher" in str(ensure_reachable(None, None, teacher="owner/teacher"))
    with pytest.raises(BadInput, match="--teacher runs/gone/best: no such folder"):
        ensure_reachable(None, None, teacher="runs/gone/best")


def test_a_user_who_is_offline_is_not_asked_to_wait(monkeypatch: pytest.MonkeyPatch):
    with server(200) as (address, lines):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set and owner/encoder is not in the cache"):
            ensure_reachable("owner/encoder", None)
        assert lines == []


def test_the_revision_that_is_asked_for_has_to_be_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cache_model(tmp_path / "home", "owner/encoder")
    assert ensure_reachable("owner/encoder", None, revision="abc123", trains=False)
    with pytest.raises(BadInput, match="owner/encoder: no such folder, nor in the cache"):
        ensure_reachable("owner/encoder", None, revision="v2", trains=False)


def test_cached_models_and_data_sets_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    cache_model(tmp_path / "home", "owner/encoder")
    cache_dataset(tmp_path / "home", "owner___big_reviews")
    assert cached_model("owner/encoder")
    assert cached_model("owner/encoder", "abc123")
    assert not cached_model("owner/encoder", "v2")
    assert not cached_model("owner/other")
    assert cached_dataset("owner/BigReviews")  # as `datasets` names its folders
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "elsewhere"))
    assert not cached_dataset("owner/BigReviews")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "home"},
        {"HF_HOME": ""},
        {"HF_HOME": "~/home"},
        {"XDG_CACHE_HOME": "xdg"},
        {"XDG_CACHE_HOME": ""},
        {"HF_HOME": "home", "HF_DATASETS_CACHE": "sets"},
        {"HF_DATASETS_CACHE": "~/sets", "HF_HUB_CACHE": "hub"},
        {"HF_DATASETS_CACHE": ""},
    ],
    ids=str,
)
def test_the_libraries_have_their_caches_where_we_look(variables: dict[str, str], tmp_path: Path):
    program = """
from datasets import config
from huggingface_hub import constants
from pathlib import Path
from hftune.runtime import offline
assert offline._home() == Path(constants.HF_HOME), (offline._home(), constants.HF_HOME)
ours, theirs = offline._datasets_cache(), Path(config.HF_DATASETS_CACHE)
assert ours == theirs.expanduser(), (ours, theirs)
"""
    kept = {name: value for name, value in os.environ.items() if name not in CACHES}
    given = kept | {"HOME": str(tmp_path)} | variables
    asked = run_python(["-c", program], env=given)
    assert asked.returncode == 0, asked.stderr


def test_caches_are_where_the_libraries_put_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    (tmp_path / "BigReviews").mkdir()
    (tmp_path / "BigReviews" / "train.csv").write_text("text,label\ngood,1\n")
    datasets.load_dataset(str(tmp_path / "BigReviews"), cache_dir=str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert cached_dataset("BigReviews")


@pytest.mark.parametrize("value", ["imdb", "stanfordnlp/imdb", "timm/resnet18.a1_in1k", "0-hero/_x"])
def test_hub_ids(value: str):
    assert hub_id(value, "dataset_name") == value


def test_folders_win_over_hub_ids(tmp_path: Path):
    (tmp_path / "owner" / "reviews").mkdir(parents=True)
    assert hub_id("owner/reviews", "dataset_name") is None
    assert hub_id(None, "dataset_name") is None


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("https://huggingface.co/datasets/stanfordnlp/imdb", "pass stanfordnlp/imdb"),
        ("https://huggingface.co/stanfordnlp/imdb/tree/main", "pass stanfordnlp/imdb"),
        ("hf.co/stanfordnlp/imdb", "pass stanfordnlp/imdb"),
        ("hf://datasets/x", "web address"),
        ("./nowhere", "no such folder"),
        ("/nowhere", "no such folder"),
        ("a/b/c", "no such folder"),
        ("a/b/", "no such folder"),
        ("a\\b", "no such folder"),
        ("a b/c", "not a Hub id"),
        ("-a/b", "not a Hub id"),
        ("a/b.", "not a Hub id"),
        ("größe/b", "not a Hub id"),
        ("a--b/c", "not a Hub id"),
        ("a/b.git", "not a Hub id"),
        ("a/" + "b" * 100, "not a Hub id"),
        ("b" * 300, "not a Hub id"),
        ("~nobody-of-this-name/model", "no such folder"),
        ("a\0b", "not a Hub id"),
        ("reviews.csv", "--train_file"),
    ],
)
def test_what_cannot_be_a_hub_id_is_refused_at_once(tmp_path: Path, value: str, part: str):
    (tmp_path / "reviews.csv").write_text("text,label\n")
    with pytest.raises(BadInput) as caught:
        hub_id(value, "dataset_name")
    assert f"--dataset_name {printable(value)}: " in caught.value.message
    assert part in caught.value.message


def test_a_file_in_the_place_of_the_cache_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("HF_HOME", str(home))
        with pytest.raises(BadInput, match=f"HF_HOME={home}: .*is a file; set HF_HOME to a folder"):
            ensure_reachable("acme/model", None)
        with pytest.raises(BadInput, match="set HF_HOME"):
            ensure_reachable(None, None, push=True)
        assert ensure_reachable(str(tmp_path), None, trains=False) is None  # which reads no cache


@pytest.mark.parametrize("below", ["hub/models--a--b", "datasets/x.lock", "token"])
def test_a_cache_that_cannot_be_written_says_what_to_set(monkeypatch, tmp_path, below):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    refused = launcher.explain(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / below)))
    assert "set HF_HOME" in refused.message
    assert refused.exit_code == 2
    assert launcher.explain(PermissionError(errno.EACCES, "Permission denied", "/elsewhere")) is None
    assert launcher.explain(FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / below))) is None


def test_a_proxy_that_is_in_the_way_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy.example:3128")
    monkeypatch.setattr("hftune.runtime.offline.reach_hub", lambda: False)
    with pytest.raises(BadInput) as caught:
        ensure_reachable(None, "owner/gone")
    assert "(hub.example) cannot be reached through the proxy proxy.example:3128" in caught.value.message
    assert "secret" not in caught.value.message
