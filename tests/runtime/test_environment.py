import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.console import print_any_text
from hftune.runtime.environment import prepare_environment

VARIABLES = (
    "NO_ALBUMENTATIONS_UPDATE",
    "USE_HUB_KERNELS",
    "HF_HUB_DISABLE_TELEMETRY",
    "TOKENIZERS_PARALLELISM",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
)
HFTUNE = "from hftune.cli.main import main; main()"
FAULTS = """
import resource
import numpy as np
from hftune.runtime.environment import prepare_environment

prepare_environment()
for step in range(20):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [np.ones(2**22, dtype="uint8") for _ in range(16)]  # 64 MiB
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch):
    """An environment of its own, restored afterwards."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what the code sets is undone
        monkeypatch.delenv(name)


def test_the_environment_is_prepared_and_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("USE_HUB_KERNELS", "1")
    prepare_environment()
    assert [os.environ[name] for name in VARIABLES] == ["1", "1", "1", "true", "PASSIVE", "1000"]


def test_who_says_how_threads_wait_is_not_contradicted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in os.environ


def test_forked_workers_tokenize_alone():
    prepare_environment()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if os.environ["TOKENIZERS_PARALLELISM"] == "false" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def page_faults(**variables: str) -> int:
    """Counts the pages that the system hands out anew while memory is freed and taken again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again_unless_the_user_tuned_malloc():
    assert page_faults() < 1000
    assert page_faults(MALLOC_MMAP_THRESHOLD_="1048576") > 100_000


@pytest.mark.parametrize("encoding", ["cp1252", "cp866", "ascii", "utf-8"])
def test_any_text_can_be_printed_on_any_pipe(monkeypatch, encoding):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", pipe)
    print_any_text()
    print("日本 🙂 \udcff", flush=True)
    assert b"\\udcff" in pipe.buffer.getvalue()


def test_where_a_stream_was_closed_what_is_printed_goes_nowhere(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)  # `hftune ls >&-`
    print_any_text()
    print("nobody reads this", flush=True)
    assert not sys.stdout.isatty()
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize(
    "command",
    [["recipes/imdb_bag.py", "--help"], ["-c", HFTUNE, "predict", "--help"], ["-c", HFTUNE, "ls"]],
)
def test_a_reader_that_leaves_early_ends_a_page_quietly(command):
    reader, writer = os.pipe()
    os.close(reader)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, *command], stdout=writer, stderr=subprocess.PIPE, cwd=root)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
