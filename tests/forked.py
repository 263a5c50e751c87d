"""Python programs in processes of their own that start in a moment: forked after the libraries are loaded.

A program that uses torch and transformers spends eight seconds of a core on importing them. Here a server
has done that once and forks for each program, which then has its own memory, descriptors, variables, working
directory and `sys.path`, and ends as any other. hftune itself is imported by each program: none of it is in
the first two servers, so that a changed copy can run, and code that must do without it.

Not for tests of the start itself, of pages that a closed pipe cuts off, of launchers, or of independence from
the hash seed, which all programs of a server share: those use `subprocess`.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import re
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

# What Python, OpenMP and malloc read when a process starts: who differs in these is started as usual. What
# hftune, scikit-learn and cv2 set on their way is not among them: OMP_WAIT_POLICY, KMP_..., LD_LIBRARY_PATH.
AT_START = re.compile(r"PYTHON(?!PATH$)|OMP_(?!WAIT)|MKL_|OPENBLAS_|MALLOC_|GLIBC_|LD_PRELOAD|LC_|LANG|MPL")
# What the second server's libraries read when they are imported: who differs is forked from the first.
AT_IMPORT = re.compile(r"HF_(?!TOKEN$)|HUGGINGFACE_|TRANSFORMERS_|DATASETS_|XDG_|HOME$|USE_|DISABLE_|NO_ALBU")
LOADED = {
    "first": """
torch torch._dynamo torch.distributed.tensor torch.utils.data torchvision scipy.stats scipy.optimize sympy
pandas pyarrow.dataset pyarrow.parquet pyarrow.csv pyarrow.json sklearn.linear_model matplotlib.figure
sklearn.feature_extraction.text PIL.Image httpx2 requests jinja2.sandbox yaml regex rich
""",
    "second": """
transformers.models.auto.modeling_auto transformers.models.bert.modeling_bert transformers.pipelines
transformers.trainer_pt_utils transformers.optimization datasets accelerate evaluate timm albumentations
""",
    "proofs": "proofs.warm",  # hftune too, for runs by the dozen
}
PREPARED = {  # hftune sets them before it imports a library: see hftune/runtime/environment.py
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "USE_HUB_KERNELS": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
HEADER = struct.Struct("!q")


def run_python(
    words: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 900.0,
    server: str = "second",
) -> subprocess.CompletedProcess[str]:
    """Runs what `python WORDS` would run, to its end.

    Args:
        words: A file with its arguments, or `-c` or `-m` with theirs, after `-I` or `-P` or not.
        cwd: Its working directory; None: the current one.
        env: Its variables; None: those of this process.
        timeout: Seconds, after which it is killed.
        server: Which one of `LOADED` forks it where its variables allow it: "first" for a program in which
            transformers, datasets, timm and the like are not to be loaded before it loads them; "own" for
            one like "second" that was started under its variables and is kept for the next that has them.
            "proofs" is for proofs/jobs.py, which tries the code as it stands here.

    Returns:
        As from `subprocess.run` with captured text; reading from stdin gives nothing.

    Raises:
        subprocess.TimeoutExpired: It took longer.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        program = start_python(
            words, cwd=cwd, env=env, stdout=out.fileno(), stderr=err.fileno(), server=server
        )
        try:
            code = program.wait(timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(program.args, code, *said)


def start_python(
    words: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    server: str = "second",
) -> "Program | subprocess.Popen":
    """Starts what `python WORDS` would start; its output goes to descriptors. See `run_python`."""
    args = [str(word) for word in words]
    variables = dict(os.environ if env is None else env)
    known = args[0] in ("-c", "-m", "-I", "-P") or not args[0].startswith("-")
    if not known or chosen(AT_START, variables) != chosen(AT_START, USUAL):
        return subprocess.Popen(
            [sys.executable, *args],
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    theirs = PREPARED | chosen(AT_IMPORT, variables)
    usual = theirs == PREPARED | chosen(AT_IMPORT, USUAL)
    if usual and server == "proofs":
        fork = proofs_server()
    elif usual and server != "first":
        fork = second_server()
    else:
        fork = second_server(tuple(sorted(theirs.items()))) if server == "own" else first_server()
    with open(os.devnull, "r+b") as file:
        streams = [
            file.fileno() if s == subprocess.DEVNULL else s for s in (subprocess.DEVNULL, stdout, stderr)
        ]
        return fork(args, variables, Path(cwd or "").resolve(), streams)


USUAL = dict(os.environ)  # as tests/conftest.py has set them


def chosen(names: re.Pattern, variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if names.match(name)}


class Program:
    """A process that was forked by a server, with what tests need of `subprocess.Popen`.

    Args:
        args: Its words.
        told: A pipe on which the server tells its pid and, in the end, its exit code.
    """

    def __init__(self, args: list[str], told: int):
        self.args = [sys.executable, *args]
        self.returncode: int | None = None
        self._told = told
        self.pid = self._number()

    def _number(self) -> int:
        data = os.read(self._told, HEADER.size)
        assert data, "the server has died"
        return HEADER.unpack(data)[0]

    def poll(self) -> int | None:
        """Returns its exit code, negative for a signal, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns its exit code; raises `subprocess.TimeoutExpired` if it runs on."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = self._number()
            os.close(self._told)
        return self.returncode

    def kill(self) -> None:
        """Kills it (SIGKILL) if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


Fork = Callable[[list[str], dict[str, str], Path, list[int]], Program]


@functools.cache
def first_server() -> Fork:
    """Starts the server with what reads no variables that differ between tests."""
    here, there = socket.socketpair()
    variables = {name: value for name, value in USUAL.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-P", __file__, "first"]
    with there:
        server = subprocess.Popen(words, env=variables, stdin=there, stdout=subprocess.DEVNULL)
    atexit.register(server.wait)
    atexit.register(here.close)
    return functools.partial(ask, here)


@functools.cache
def second_server(changes: tuple[tuple[str, str], ...] | None = None) -> Fork:
    """Lets the first server start one with the libraries of Hugging Face.

    Args:
        changes: What it has in place of the usual variables that these libraries read.
    """
    variables = {name: value for name, value in USUAL.items() if name != "PYTHONPATH"} | PREPARED
    if changes is not None:
        variables = {name: value for name, value in variables.items() if not AT_IMPORT.match(name)}
        variables |= dict(changes)
    return forked_server("second", first_server(), variables)


@functools.cache
def proofs_server() -> Fork:
    """Lets the second server start one that has loaded hftune."""
    variables = USUAL | PREPARED | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return forked_server("proofs", second_server(), variables)


def forked_server(name: str, fork: Fork, variables: dict[str, str]) -> Fork:
    """Lets a server start the one of that name."""
    here, there = socket.socketpair()
    with there, open(os.devnull, "wb") as nothing:
        streams = [there.fileno(), nothing.fileno(), sys.__stderr__.fileno()]
        fork(["-P", __file__, name], variables, Path.cwd(), streams)
    atexit.register(here.close)
    return functools.partial(ask, here)


def ask(
    server: socket.socket, args: list[str], variables: dict[str, str], cwd: Path, streams: list[int]
) -> Program:
    """Lets a server fork a program; `streams` are the descriptors of its stdin, stdout and stderr."""
    request = json.dumps([args, variables, str(cwd)]).encode()
    told, tells = os.pipe()
    socket.send_fds(server, [HEADER.pack(len(request))], [*streams, tells])
    server.sendall(request)
    os.close(tells)
    return Program(args, told)


# --- in a server


def serve(server: socket.socket) -> tuple[list[str], list[str]]:
    """Forks a program for each request, and tells how it ended; ends when nobody can ask any more.

    Returns:
        In a forked process alone: its words, and the `sys.path` of its variables.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests and their programs
    children: dict[int, int] = {}
    while True:
        asked = select.select([server], [], [], 0.005 if children else None)[0]
        while children and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            tells = children.pop(ended[0])
            with contextlib.suppress(BrokenPipeError):
                os.write(tells, HEADER.pack(os.waitstatus_to_exitcode(ended[1])))
            os.close(tells)
        if not asked:
            continue
        header, descriptors, *_ = socket.recv_fds(server, HEADER.size, 4)
        if not header:
            raise SystemExit
        request = b""
        while len(request) < HEADER.unpack(header)[0]:
            request += server.recv(2**16)
        *streams, tells = descriptors
        pid = os.fork()
        if pid == 0:
            server.close()
            return become(json.loads(request), streams, [tells, *children.values()])
        for stream in streams:
            os.close(stream)
        children[pid] = tells
        os.write(tells, HEADER.pack(pid))


def become(request: list, streams: list[int], others: list[int]) -> tuple[list[str], list[str]]:
    """Gives a forked process its streams, variables and folder; returns its words and its search path."""
    args, variables, cwd = request
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
    for descriptor in {*streams, *others} - {0, 1, 2}:
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    return args, [entry for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry]


def play(args: list[str], added: list[str]) -> None:
    """Runs a program as the main one of this process."""
    apart = args[0] in ("-I", "-P")
    if args[0] == "-I":
        added = []
    kind, *rest = args[1:] if apart else args
    where = {"-c": "", "-m": os.getcwd()}.get(kind, str(Path(kind).resolve().parent))
    sys.path[:0] = [*([] if apart else [where]), *added]
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        code = compile(rest[0], "<string>", "exec")
    else:
        sys.argv = [kind, *rest]
        main.__file__ = kind
        code = compile(Path(kind).read_bytes(), kind, "exec")
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def code_of(program: Callable[[], None]) -> int:
    """Runs a program; returns the exit code that Python would give it, and prints its traceback."""
    try:
        program()
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        print(ending.code, file=sys.stderr)
        return 1
    except BaseException as error:
        told = functools.partial(sys.excepthook, type(error), error, error.__traceback__)
        code = code_of(told)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else code or 1
    return 0


def leave() -> None:
    """Ends the process, without taking five thousand modules apart first, which takes a second."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "first":
        atexit.register(leave)  # before all libraries: called when they have been told of the end
    for name in LOADED[sys.argv[1]].split():
        import_module(name)
    gc.collect()
    gc.freeze()  # else every program would look through all of it for garbage, and copy its pages
    code = code_of(lambda: play(*serve(socket.socket(fileno=0))))
    raise SystemExit(code)
