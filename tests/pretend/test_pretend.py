"""Runs on a pretended accelerator: every kind of model, resumed, in two processes; and how often they wait.

Here are a few of the cases, in three processes; `make pretend` tries all of them, in minutes.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.forked import start_python
from tests.pretend.cases import CASES, FAULTS, TWICE
from tests.pretend.device import AVAILABLE
from tests.runs import ROOT, end_there, free_port, place

pytest.importorskip("timm")
pytest.importorskip("albumentations")
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this torch takes no device that is written in Python")
ALL = os.environ.get("HFTUNE_PRETEND") == "all"
SOME = ["bilstm fp32", "crf fp16", "encoder bf16", "masked fp32", "resnet9 fp16", "tags fp16"]
SOME += ["textcnn adagrad fp16", "timm adamw_torch_fused"]
NAMES = [name for name in CASES if name not in FAULTS and "twice" not in name] if ALL else SOME
KINDS_TWICE = TWICE if ALL else TWICE[:1]
# How often the host waits for the device. These numbers may only go down.
ONCE = 1  # in a step for its figures, in scoring for the logits of each batch
BATCHES = 3  # that are scored at most
MORE = {  # in a forward pass: transformers asks whether there is padding; places of masked tokens are sought
    "encoder": 1,
    "labels": 1,
    "numbers": 1,
    "tags": 1,
    "masked": 2,
}


def see(folder: Path, names: Sequence[str], processes: int = 1) -> dict[str, dict]:
    """Runs cases on the device, one after the other; returns by name what was seen of each."""
    port, words = free_port(), ["-m", "tests.pretend.cases", folder, *names]
    places = [place(rank, processes, port) for rank in range(processes)]
    with tempfile.TemporaryFile() as said:
        streams = {"stdout": said.fileno(), "stderr": said.fileno()}
        end_there([start_python(words, cwd=ROOT, env=os.environ | own, **streams) for own in places], said)
        said.seek(0)
        print(said.read().decode())  # for whom a test fails
    lines = (folder / str(processes) / "seen.jsonl").read_text().splitlines()
    return {seen.pop("case"): seen for seen in map(json.loads, lines)}


def waits(seen: dict, during: str) -> int:
    """Returns how often the host waited; fp16's scaler asks once more where no optimizer is fused."""
    return sum(times for what, times in seen[during].items() if "grad_scaler" not in what)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pretend")


@pytest.fixture(scope="module")
def seen(folder):
    """All cases that take one process, in one."""
    twice = [f"{kind} twice" for kind in KINDS_TWICE]
    return see(folder, [*NAMES, *twice, *FAULTS])


def test_every_kind_of_run_ends_well_resumes_and_seldom_waits(seen):
    problems = []
    for name in NAMES:
        found = seen[name]
        if "error" in found:
            problems.append(f"{name}: {found['error']}")
            continue
        if found.get("resumed") is False:
            problems.append(f"{name}: resumed is not straight through")
        allowed = ONCE + MORE.get(CASES[name].kind, 0)
        if waits(found, "step") > allowed:
            problems.append(f"{name}: in a step {found['step']}")
        if waits(found, "scoring") > allowed * BATCHES:
            problems.append(f"{name}: in scoring {found['scoring']}")
        if any("copy to the host" not in what for what in found["save"]):  # that of each tensor
            problems.append(f"{name}: in a save {found['save']}")
    assert not problems, "\n".join(problems)


def test_two_processes_are_one_with_twice_the_accumulation(seen, folder):
    two = see(folder, [f"{kind} bf16" for kind in KINDS_TWICE], processes=2)
    for kind in KINDS_TWICE:
        assert two[f"{kind} bf16"]["digest"] == seen[f"{kind} twice"]["digest"], kind


def test_faults_are_seen(seen):
    assert "on the same device" in seen["a tensor on the host"]["error"]
    assert waits(seen["a wait in the loss"], "step") > ONCE
    assert seen["a seed of the host alone"]["resumed"] is False
