"""`launch` from a program: whose flags it reads, how it ends, and what it leaves of the process as it was."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from hftune.errors import BadInput, HftuneError
from hftune.launcher import launch, own_flags
from hftune.recipes import imdb, imdb_textcnn
from hftune.runtime.device import join_group
from hftune.runtime.offline import OFFLINE, go_offline
from tests.runs import digest, run_recipe, small_textcnn

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def flags(reviews) -> list:
    return small_textcnn(reviews, max_steps=4, max_length=16, save_steps=2)


CALLERS = [  # what argv[0] is, the caller's globals, whether its flags are read
    ("recipes/imdb.py", {"__name__": "__main__", "__file__": "/project/recipes/imdb.py"}, True),
    ("/project/imdb.py", {"__name__": "__main__", "__file__": "/project/imdb.py"}, True),
    ("/venv/ipykernel_launcher.py", {"__name__": "__main__"}, False),
    ("-c", {"__name__": "__main__"}, False),
    ("/venv/bin/pytest", {"__name__": "tests.test_mine", "__file__": "/project/tests/test_mine.py"}, False),
    ("/venv/bin/uvicorn", {"__name__": "server", "__file__": "/project/server.py"}, False),
    ("sweep.py", {"__name__": "project.training", "__file__": "/project/training.py"}, False),
]


@pytest.mark.parametrize(("program", "scope", "read"), CALLERS)
def test_flags_are_those_of_the_script_that_was_started_with_them(program, scope, read, monkeypatch, capsys):
    words = ["-f", "kernel.json", "--max_steps", "2", "--learning-rate=1", "--reload"]
    monkeypatch.setattr(sys, "argv", [program, *words])
    assert own_flags(imdb.recipe, SimpleNamespace(f_globals=scope)) == (words if read else [])
    said = capsys.readouterr().err
    assert said == "" if read else "--max_steps, --learning-rate are not read" in said


def test_foreign_words_are_not_even_mentioned(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json", "--verbose"])
    assert own_flags(imdb.recipe, SimpleNamespace(f_globals={"__name__": "__main__"})) == []
    assert capsys.readouterr().err == ""


PROGRAM = """
import hftune
from hftune.recipes import imdb
try:
    hftune.launch(imdb.recipe, ["--max_steps", "x"])
except Exception as error:
    print("caught", error.exit_code)
hftune.launch(imdb.recipe)
print("never")
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["--max_steps", "y"], 2, "error: --max_steps"), (["--help"], 0, "--learning_rate")],
)
def test_uncaught_it_ends_with_its_code_and_one_line(words, code, said, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith("caught 2\n")
    assert "\nnever" not in done.stdout
    assert said in done.stdout + done.stderr
    assert [line[:20] for line in done.stderr.splitlines()] == ["error: --max_steps: "] * (2 if code else 1)


def test_other_errors_keep_the_programs_hook(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: seen.append(error))
    with pytest.raises(BadInput) as caught:
        launch(imdb.recipe, ["--max_steps", "x"])
    with pytest.raises(SystemExit) as ending:
        sys.excepthook(BadInput, caught.value, None)
    assert ending.value.code == 2
    sys.excepthook(BadInput, BadInput("of the program's own"), None)
    sys.excepthook(ValueError, ValueError(), None)
    assert [kind for kind, *_ in seen] == [BadInput, ValueError]


def test_a_signal_ends_a_loop_that_catches_exceptions(flags, tmp_path):
    recipe = imdb_textcnn.recipe.replace(after_step=lambda steps, model: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SystemExit) as ending:
        run_recipe(recipe, flags, tmp_path / "run")
    assert ending.value.code == 130


def state_of_the_process() -> dict:
    logger = logging.getLogger("hftune")
    return {
        "variables": dict(os.environ),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logger": (list(logger.handlers), logger.level, logger.propagate),
        "verbosity": transformers.logging.get_verbosity(),
        "random": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "kernels": (torch.get_deterministic_debug_mode(), torch.backends.cudnn.allow_tf32),
        "accelerate": [dict(AcceleratorState._shared_state), dict(PartialState._shared_state)],
    }


def test_a_launch_leaves_the_process_as_it_was(flags, tmp_path):
    before = state_of_the_process()
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "run")
    assert state_of_the_process() == before
    with pytest.raises(HftuneError):
        run_recipe(imdb_textcnn.recipe, [*flags, "--learning_rate", 1], tmp_path / "run")
    assert state_of_the_process() == before


def test_determinism_is_there_before_the_device_and_for_one_run_alone(flags, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before, seen = state_of_the_process(), []

    def joined() -> torch.device:
        seen.append((os.environ.get("CUBLAS_WORKSPACE_CONFIG"), torch.get_deterministic_debug_mode()))
        return join_group()

    monkeypatch.setattr("hftune.run.join_group", joined)
    run_recipe(imdb_textcnn.recipe, [*flags, "--full_determinism", "true"], tmp_path / "same")
    assert state_of_the_process() == before
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "run")
    assert seen == [(":4096:8", 2), (None, 0)]
    assert digest(tmp_path / "same") == digest(tmp_path / "run")  # a CPU has the same bits anyway


def test_the_programs_own_accelerator_lives_on(flags, tmp_path):
    AcceleratorState._reset_state(reset_partial_state=True)  # which other tests may have left
    own = Accelerator(cpu=True, mixed_precision="bf16")
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "run")
    assert own.mixed_precision == "bf16"
    assert own.device.type == "cpu"


def test_each_launch_is_as_if_it_were_the_only_one(flags, reviews, tmp_path):
    """Precision, accumulation, averaging, another model and a failure in between change nothing."""
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "first")
    others = [
        ["--bf16", "true", "--gradient_accumulation_steps", 2, "--report_to", "tensorboard"],
        ["--model_ema", 0.5, "--seed", 7],
    ]
    for number, changes in enumerate(others):
        names = [word for word in changes if str(word).startswith("--")]
        kept = [(a, b) for a, b in zip(flags[::2], flags[1::2], strict=True) if a not in names]
        run_recipe(imdb_textcnn.recipe, [*sum(kept, ()), *changes], tmp_path / f"other-{number}")
    with pytest.raises(BadInput):
        run_recipe(imdb_textcnn.recipe, [*flags, "--embeddings", "gone.vec"], tmp_path / "gone")
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(tmp_path / "first")


def test_it_runs_in_a_thread(flags, tmp_path):
    results, errors = [], []

    def work():
        try:
            results.append(run_recipe(imdb_textcnn.recipe, flags, tmp_path / "run"))
        except BaseException as error:  # told below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert "test_accuracy" in results[0]


def test_a_run_without_the_hub_does_not_keep_the_next_one_from_it(monkeypatch):
    from huggingface_hub import constants

    from hftune.launcher import kept_environment

    for name in OFFLINE:  # other tests may have set them
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with kept_environment():
        go_offline()
        assert constants.is_offline_mode()
    assert "HF_HUB_OFFLINE" not in os.environ
    assert not constants.is_offline_mode()


def test_a_refused_folder_gets_no_note(flags, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(BadInput):
        run_recipe(imdb_textcnn.recipe, flags, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert Path(tmp_path / "README.md").read_text() == "mine"
