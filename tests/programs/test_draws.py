"""Runs with settings drawn at random end the same after an interruption; `make proof` tries many more."""

import signal
from importlib import import_module

import pytest
import torch

import hftune.training.loop

pytest.importorskip("timm")
pytest.importorskip("albumentations")

from proofs.draws import Data, draw
from proofs.resumed import Ending, after, error_line, tried
from tests.kinds import another
from tests.runs import run_recipe

# each kind of model but timm's ViT, each way, nothing refused
NUMBERS = (495, 361, 32, 258, 244, 140, 96, 232, 294, 370, 131, 147, 103, 59)


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing in hftune catches it."""


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def run_here(monkeypatch, capfd, quick_disk):
    """Runs a job in this process, which is told to stop, or dies, after a step."""

    def run(job, run_dir, processes, step, number):
        flags = job.words(run_dir)[:-2]
        with monkeypatch.context() as patched:
            if step:
                do = kill if number == signal.SIGKILL else lambda: signal.raise_signal(signal.SIGTERM)
                patched.setattr(hftune.training.loop, "update", after(step, do))
            try:
                run_recipe(import_module(f"hftune.recipes.{job.recipe}").recipe, flags, run_dir)
                code = 0
            except SystemExit as ending:
                code = ending.code
            except Killed:
                code = -signal.SIGKILL
        said = "".join(capfd.readouterr())
        return Ending([code], error_line(said), said)

    return run


@pytest.mark.parametrize("number", [*NUMBERS[:2], *map(another, NUMBERS[2:])])
def test_a_drawn_run_ends_the_same_after_an_interruption(number, data, run_here, tmp_path):
    drawn = draw(number, data)
    with torch.compiler.set_stance("force_eager"):
        outcome, words = tried(drawn, tmp_path / "drawn", run_here)
    assert outcome == "held", f"{drawn}: {words}"
