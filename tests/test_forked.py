"""A forked program is what `python` would have started: what it sees, says and ends with."""

import os
import subprocess
import sys
import time

import pytest

from hftune.runtime.environment import prepare_environment
from tests.forked import run_python, start_python

SEES = """
import os, sys
print(sys.argv, sys.path[0], os.getcwd(), os.environ.get("CANARY"), __name__, sys.stdin.read())
print(sorted(name for name in sys.modules if name.split(".")[0] in ("hftune", "tests")))
print("told", file=sys.stderr)
"""


def by_python(words, **given):
    return subprocess.run(
        [sys.executable, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, **given
    )


@pytest.mark.parametrize("home", ["usual", "elsewhere"])
@pytest.mark.parametrize("words", [["program.py", "a b", "-x"], ["-c", SEES, "a"], ["-m", "program", "a"]])
def test_it_sees_what_a_program_sees(words, home, tmp_path):
    (tmp_path / "program.py").write_text(SEES)
    variables = os.environ | {"CANARY": "sings"}
    if home == "elsewhere":
        variables["HF_HOME"] = str(tmp_path)
    given = {"cwd": tmp_path, "env": variables}
    ours, theirs = run_python(words, **given), by_python(words, **given)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, theirs.stdout, theirs.stderr)
    assert str(tmp_path) in ours.stdout


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit",
        "raise SystemExit(3)",
        "raise SystemExit('words')",
        "import atexit, os; atexit.register(print, 'last'); print('first')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import sys\nsys.excepthook = lambda *error: sys.exit(5)\n1 / 0",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
    ],
)
def test_it_ends_as_a_program_ends(code):
    ours, theirs = run_python(["-c", code]), by_python(["-c", code])
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


INTERRUPTED = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is deaf to it
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("code", ["1 / 0", INTERRUPTED])
def test_an_error_has_its_traceback(code):
    ours, theirs = run_python(["-c", code]), by_python(["-c", code])
    assert ours.returncode == theirs.returncode
    assert ours.stderr.startswith("Traceback")
    assert ours.stderr.splitlines()[-1] == theirs.stderr.splitlines()[-1]


def test_libraries_are_there_without_their_time_and_not_where_their_variables_differ(tmp_path):
    for name in ("sklearn", "albumentations"):
        pytest.importorskip(name)  # these set variables of the process that imports them
    prepare_environment()  # and this does
    code = "import sys; print('torch' in sys.modules, 'datasets' in sys.modules)"
    assert run_python(["-c", code]).stdout == "True True\n"
    assert run_python(["-c", code], env=os.environ | {"HF_HOME": str(tmp_path)}).stdout == "True False\n"
    assert run_python(["-c", code], env=os.environ | {"OMP_NUM_THREADS": "2"}).stdout == "False False\n"


def test_without_hftune_beside_it_nothing_of_a_folder_is_found(tmp_path):
    (tmp_path / "beside.py").write_text("")
    given = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path)}}
    assert run_python(["-c", "import beside"], **given).returncode == 0
    assert run_python(["-I", "-c", "import beside"], **given).returncode == 1


def test_it_can_be_killed():
    program = start_python(["-c", "import time; time.sleep(60)"])
    assert program.poll() is None
    os.kill(program.pid, 0)
    program.kill()
    assert program.wait(20) == -9
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(["-c", "import time; time.sleep(60)"], timeout=0.5)
    assert time.monotonic() - began < 30
