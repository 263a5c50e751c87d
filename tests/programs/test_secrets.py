"""No command writes or sends a token: canaries in the environment, a token file and addresses, then a search.

The commands run in processes of their own, forked from one that has loaded the libraries, against the small
Hub of `tests/loopback.py`. What they wrote, said and sent is searched afterwards, byte by byte. A proxy that
nobody should use stands for the rest of the world.
"""

import base64
import importlib.util
import json
import socketserver
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from hftune.cli.main import COMMANDS
from hftune.data.image.sample import load_shapes
from tests import loopback
from tests.forked import run_python
from tests.hub.test_push import environment

CANARIES = {  # where it is -> what must stay there; the first two may write on the Hub
    "HF_TOKEN": "hf_" + "EnvironmentCanary" * 2,
    "token file": "hf_" + "TokenFileCanaryXX" * 2,
    "WANDB_API_KEY": "c0ffee" * 6 + "cafe",
    "address": "hf_" + "AddressCanaryXXXX" * 2,
    "proxy": "ProxyPasswordCanary",
}
TINY = [
    *("--config_overrides", "width=4", "--image_size", "16", "--max_steps", "2", "--baselines", "false"),
    *("--max_train_samples", "24", "--max_eval_samples", "12", "--per_device_train_batch_size", "8"),
]
PUSHED = [*TINY, "--push_to_hub", "--hub_model_id"]
ADDRESS = f"http://ann:{CANARIES['address']}@127.0.0.1:9/acme/things"
JOBS: list[tuple[list[str], int]] = [  # words, exit code
    (["ls"], 0),
    (["cp", "shapes", "mine.py"], 0),
    (["validate", "mine.py", *PUSHED, "ann/tried"], 0),
    (["run", "mine.py", *PUSHED, "ann/shapes", "--output_dir", "runs/mine"], 0),
    (["augment", "mine.py", *TINY], 0),
    (["vectors", "sample", "--output", "own.vec", "--epochs", "1"], 0),
    (["vectors", ADDRESS, "--output", "other.vec"], 2),
    (["verify", "runs/mine"], 0),
    (["compare", "runs/mine", "runs/mine", "--output", "curves.png"], 0),
    (["average", "runs/mine", "runs/mine", "--output", "mean"], 2),  # the same weights
    (["predict", "runs/mine", "one.png", "--output", "answers.jsonl"], 0),
    (["predict", "ann/shapes", "one.png"], 0),  # a private repository
    (["eval", "runs/mine", "--output", "scores.json"], 0),
    (["export", "runs/mine"], 0),
    (["gradcam", "runs/mine", "one.png"], 0),
    (["push", "runs/mine", "--hub_model_id", "ann/again"], 0),
    (["run", "mine.py", "--dataset_name", ADDRESS], 2),
    (["validate", "mine.py", "--dataset_name", ADDRESS], 2),
    (["push", "runs/mine", "--hub_model_id", ADDRESS], 2),
    (["predict", ADDRESS, "one.png"], 2),
]
NEEDS = {  # extras of a command
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "gradcam": ("captum",),
    "vectors": ("gensim",),
}
FROM_FILE = "push"  # the command that finds its token in the file, not in the environment

SERVER = f"""
import functools, json, os, runpy, sys
from hftune.runtime.environment import prepare_environment
prepare_environment()
import albumentations, datasets, sklearn.linear_model, timm  # what takes seconds, once
import hftune.dry_run, hftune.inference.load
from hftune.cli.main import main
from hftune.data.image import splits
splits.load_shapes = functools.cache(splits.load_shapes)
splits.load_shapes()

def start_again(python, words):  # as os.execv does, without loading all of it once more
    sys.argv = words[1:]
    runpy.run_path(words[1], run_name="__main__")
    raise SystemExit

os.execv = start_again
codes = []
for number, words in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if child == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"../said/{{number}}.{{name}}", os.O_WRONLY | os.O_CREAT), stream)
        if words[0] == {FROM_FILE!r}:
            del os.environ["HF_TOKEN"]
        sys.argv = ["hftune", *words]
        main()
        sys.stdout.flush()
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


class Listening(loopback.Handler):
    """Also keeps whole addresses and headers."""

    def do(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heard.append((self.command, self.path, headers))
        return super().do()

    do_GET = do_POST = do_PUT = do_HEAD = do


class Elsewhere(socketserver.BaseRequestHandler):
    """A proxy that nobody should need."""

    def handle(self):
        self.server.asked.append(self.request.recv(4096))


@dataclass
class Traces:
    """What all commands together left.

    Args:
        codes: The exit code of each job.
        root: A folder with everything that was written: `work`, `user` and `said`.
        hub: The Hub, with what it got.
        asked: What was sent to anywhere else.
    """

    codes: list[int]
    root: Path
    hub: loopback.Hub
    asked: list[bytes]


def available(words: list[str]) -> bool:
    exists = importlib.util.find_spec(f"hftune.cli.{words[0]}") is not None
    return exists and all(importlib.util.find_spec(name) for name in NEEDS.get(words[0], ()))


@pytest.fixture(scope="module")
def jobs():
    return [job for job in JOBS if available(job[0])]


@pytest.fixture(scope="module")
def traces(tmp_path_factory, jobs):
    """Runs every command."""
    root = tmp_path_factory.mktemp("secrets")
    work, user = root / "work", root / "user"
    for folder in (work, user / "hf", root / "said"):
        folder.mkdir(parents=True)
    (user / "hf" / "token").write_text(CANARIES["token file"])
    (user / ".netrc").write_text(f"machine 127.0.0.1 login ann password {CANARIES['address']}\n")
    shape = load_shapes()["test"][0]["image"]
    Image.Image.save(shape, work / "one.png")
    proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Elsewhere)
    proxy.asked, proxy.daemon_threads = [], True
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    away = f"http://ann:{CANARIES['proxy']}@127.0.0.1:{proxy.server_address[1]}"
    with pytest.MonkeyPatch.context() as patch, loopback.Hub() as hub:
        hub.RequestHandlerClass, hub.heard = Listening, []
        for place in ("HF_TOKEN", "token file"):
            patch.setitem(loopback.USERS, CANARIES[place], ("ann", "write"))
        variables = environment(user, hub.url, CANARIES["HF_TOKEN"])
        variables |= {"WANDB_API_KEY": CANARIES["WANDB_API_KEY"], "HF_HUB_DISABLE_XET": "1"}
        variables |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), away)
        variables |= {"NO_PROXY": "127.0.0.1", "HF_DATASETS_CACHE": str(user / "hf" / "datasets")}
        program = ["-c", SERVER, json.dumps([words for words, _ in jobs])]
        done = run_python(program, env=variables, cwd=work, timeout=300)
        assert done.returncode == 0, done.stderr
        (root / "said" / "server").write_text(done.stdout + done.stderr)
        yield Traces(json.loads(done.stdout.splitlines()[-1]), root, hub, proxy.asked)
    proxy.shutdown()
    proxy.server_close()


def forms(secret: str) -> list[bytes]:
    """Returns a secret as it may stand in bytes: as it is, and as base64 from any place on."""
    plain = secret.encode()
    return [plain, *(base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3))]


def found_in(data: bytes) -> list[str]:
    """Returns where the canaries in some bytes come from."""
    return [place for place, secret in CANARIES.items() if any(form in data for form in forms(secret))]


def test_every_command_is_among_the_jobs():
    assert {words[0] for words, _ in JOBS} == COMMANDS.keys() - {"demo"}


def test_the_search_finds_what_it_looks_for():
    for place, secret in CANARIES.items():
        for text in (secret, f"Bearer {secret}!", f"https://ann:{secret}@host"):
            assert found_in(text.encode()) == [place]
            assert found_in(base64.b64encode(text.encode())) == [place]
    assert found_in(b"nothing of the kind") == []


def test_every_command_ends_as_it_should(traces, jobs):
    for number, ((words, expected), code) in enumerate(zip(jobs, traces.codes, strict=True)):
        said = (traces.root / f"said/{number}.err").read_text()
        assert code == expected, f"hftune {' '.join(words)}\n{said}"
        assert "Traceback" not in said
        assert not expected or said.splitlines()[-1].startswith("error: ")
    assert {"ann/shapes", "ann/again", "ann/tried"} == set(traces.hub.repos)
    assert traces.hub.files("ann/tried") == {}
    assert "model.safetensors" in traces.hub.files("ann/again")


def test_nothing_written_or_said_holds_a_secret(traces):
    theirs = {traces.root / "user/hf/token", traces.root / "user/.netrc"}
    files = [path for path in traces.root.rglob("*") if path.is_file() and path not in theirs]
    names = {path.name for path in files}
    assert {"run.json", "exit.json", "README.md", "answers.jsonl", "0.out", "0.err"} <= names
    leaks = {str(path.relative_to(traces.root)): found_in(path.read_bytes()) for path in files}
    assert not {path: places for path, places in leaks.items() if places}


def test_the_hub_gets_a_token_in_its_header_and_nowhere_else(traces):
    hub = traces.hub
    used = set()
    assert len(hub.heard) == len(hub.log) > 20
    for (method, path, headers), (_, _, _, body) in zip(hub.heard, hub.log, strict=True):
        token = headers.pop("authorization", "").removeprefix("Bearer ")
        if urlsplit(path).path.startswith("/storage/"):
            assert token == "", "a signed address needs no token"
        assert token in ("", CANARIES["HF_TOKEN"], CANARIES["token file"])
        used.add(token)
        rest = json.dumps([method, path, headers]).encode() + body
        assert found_in(rest) == [], f"{method} {path}"
    assert used == {"", CANARIES["HF_TOKEN"], CANARIES["token file"]}


def test_nobody_else_is_asked(traces):
    assert traces.asked == []
