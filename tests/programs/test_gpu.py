"""benchmarks/gpu.py rehearsed on a CPU with a small carried folder: each step, and what a failure leaves."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from datasets import load_dataset
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification

from tests.programs.test_bench import call_here

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import bench
import gpu
import gpu_carry
from cases.bert_base import flops_of_text

from hftune.data.image.sample import load_shapes
from hftune.data.text.sample import load_sample
from hftune.models.cls_only import compute_cls_only
from tests.forked import run_python, start_python
from tests.kinds import another
from tests.tiny import tiny_checkpoint

ROOT = gpu.ROOT


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny BERT in float16, as the carried one is, with its tokenizer."""
    folder = tiny_checkpoint("bert", tmp_path_factory.mktemp("encoder"))
    AutoModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"position_ids": torch.arange(4)}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def carry(encoder, tmp_path_factory):
    """A folder such as gpu_carry.py makes, of built-in data."""
    texts, images = load_sample(), load_shapes()
    reviews = {"train": texts["train"].select(range(48)), "test": texts["test"].select(range(32))}
    pictures = {"train": images["train"].select(range(200)), "test": images["test"].select(range(40))}
    folder = tmp_path_factory.mktemp("carry") / "carry"
    gpu_carry.pack(reviews, pictures, encoder, folder)
    return folder


def call_there(command: list[str], log: Path) -> float:
    """Does what `bench.call` does, without the seconds of imports of each process."""
    if command[1] == "-m" and command[2].partition(".")[0] in ("peers", "rows"):
        return call_here(command, log)
    done = run_python(command[1:], cwd=ROOT, env=bench.environment())
    if done.returncode:
        raise SystemExit(f"ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return 1.0


def start_there(words, log):
    streams = {"stdout": log.fileno(), "stderr": log.fileno()}
    return start_python(words, cwd=ROOT, env=bench.environment(), **streams)


SURROUNDINGS = {"machine": "a machine", "gpus": [], "commit": "0123456789", "python": "3"}
SURROUNDINGS |= {"versions": dict.fromkeys(bench.PACKAGES, "1")}


@pytest.fixture
def results(carry, tmp_path, monkeypatch):
    """Returns a function that runs the program, and returns its exit code and what it wrote."""
    monkeypatch.setattr(bench, "call", call_there)
    monkeypatch.setattr(bench, "surroundings", lambda: SURROUNDINGS)
    monkeypatch.setattr(gpu, "start", start_there)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*words: str) -> tuple[int, dict, str]:
        given = ["--carry", str(carry), "--work", str(tmp_path / "work")]
        monkeypatch.setattr(sys, "argv", ["gpu.py", *words, *given])
        with pytest.raises(SystemExit) as ending:
            gpu.main()
        (page,) = (tmp_path / "work/results").glob("gpu-*.md")
        return ending.value.code, json.loads(page.with_suffix(".json").read_text()), page.read_text()

    return run


GOALS = {
    "every kind": [3, 2],
    "kill": [1],
    "minilm": [2.5, 1.3],
    "bert_base": [45],
    "textcnn": [5],
    "bilstm": [2],
    "predict": [3],
    "cifar10": [1.5],
    "cifar10_accuracy": [94],
}
QUICK = ("kill", "bert_base")  # the other cases are tried in test_bench.py and tests/pretend too


@pytest.mark.parametrize("names", [QUICK, another([])])
def test_the_rehearsal_finds_what_has_a_goal(names, results, tmp_path):
    code, told, page = results("--rehearse", *names)
    assert {step["name"]: step["error"] for step in told["steps"]} == dict.fromkeys(names or GOALS)
    assert code == 0
    for step in told["steps"]:
        goals = [one["goal"] for one in step["findings"] if one["goal"] is not None]
        assert goals == GOALS[step["name"]]
        assert all(one["what"] in page for one in step["findings"])
        if step["name"] in ("every kind", "kill"):  # what must hold anywhere
            assert [one["value"] for one in step["findings"]] == goals
    assert str(tmp_path) not in page


def broken(here, told):
    gpu.find(told, "what came before", 1.0)
    raise SystemExit("error: it | ended with 3\nmore\nlast words")


def endless(here, told):
    time.sleep(60)


def fine(here, told):
    gpu.find(told, "the last", 7.0, "x", 9.0)


def test_a_step_that_fails_or_takes_too_long_is_told_and_the_next_begins(results, monkeypatch, tmp_path):
    steps = (gpu.Step("broken", 1, broken), gpu.Step("endless", 1, endless), gpu.Step("fine", 1, fine))
    monkeypatch.setattr(gpu, "STEPS", steps)
    monkeypatch.setattr(gpu, "SECONDS", 0)
    monkeypatch.setattr(bench, "surroundings", lambda: SURROUNDINGS | {"gpus": ["NVIDIA H200"]})
    code, told, page = results("--results", str(tmp_path / "work/results"))
    assert code == 1
    errors = [step["error"] for step in told["steps"]]
    assert errors[0].endswith("last words")
    assert errors[1].startswith("TimeoutError")
    assert errors[2] is None
    assert [one["what"] for step in told["steps"] for one in step["findings"]] == [
        "what came before",
        "the last",
    ]
    assert "error: it / ended with 3 ... last words" in page
    assert "| the last | 7 x | 9 x | **missed** |" in page


def test_results_are_there_when_the_program_dies(results, monkeypatch, tmp_path):
    def dies(here, told):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "STEPS", (gpu.Step("fine", 1, fine), gpu.Step("dies", 1, dies)))
    with pytest.raises(KeyboardInterrupt):
        results("--rehearse")
    (stored,) = (tmp_path / "work/results").glob("gpu-*.json")
    assert [step["name"] for step in json.loads(stored.read_text())["steps"]] == ["fine"]


def test_steps_have_what_those_before_them_leave_over(results, monkeypatch, tmp_path):
    steps = (gpu.Step("a", 10, fine), gpu.Step("b", 20, fine))
    monkeypatch.setattr(gpu, "STEPS", steps)
    monkeypatch.setattr(gpu, "SECONDS", 100)
    monkeypatch.setattr(bench, "surroundings", lambda: SURROUNDINGS | {"gpus": ["NVIDIA H200"]})
    _, told, _ = results("--results", str(tmp_path / "work/results"))
    limits = [step["limit"] for step in told["steps"]]
    assert limits[0] <= 80 < limits[1] <= 100


def test_what_ends_the_wait_for_a_program_ends_all_that_it_started(tmp_path, monkeypatch):
    log = tmp_path / "log"
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    code = f"import subprocess; child = subprocess.Popen({sleep}); print(child.pid, flush=True); child.wait()"

    def stopped(*_):
        while not log.read_text().endswith("\n"):
            time.sleep(0.01)
        raise TimeoutError

    monkeypatch.setattr(os, "wait4", stopped)
    with pytest.raises(TimeoutError):
        bench.call([sys.executable, "-c", code], log)
    with contextlib.suppress(psutil.NoSuchProcess):
        child = psutil.Process(int(log.read_text()))
        assert child.status() == psutil.STATUS_ZOMBIE or child.wait(10) is None


def test_all_steps_together_leave_time_for_the_start():
    assert gpu.START >= 30


def test_without_a_gpu_nothing_is_measured(results, carry, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--carry", str(carry), "--work", str(tmp_path)])
    with pytest.raises(SystemExit, match="sees no GPU here; --rehearse"):
        gpu.main()


def test_what_is_carried_comes_out_as_it_was(carry, encoder, tmp_path):
    gpu_carry.unpack(carry, tmp_path / "data")
    reviews = load_dataset(str(tmp_path / "data/imdb"))
    texts = load_sample()["train"]["text"][:48]
    assert list(reviews["train"]["text"]) == list(texts) * gpu_carry.COPIES
    images = load_dataset(str(tmp_path / "data/cifar10"))["test"]
    first = load_shapes()["test"][0]
    assert np.array_equal(np.array(images[0]["image"]), np.array(first["image"]))
    assert images[0]["label"] == first["label"]

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "data/minilm")
    models = [
        AutoModel.from_pretrained(path, dtype=torch.float32) for path in (encoder, tmp_path / "data/minilm")
    ]
    ids = tokenizer(texts[0], truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        before, after = (model(**ids).last_hidden_state for model in models)
    assert torch.equal(before, after)
    vectors = models[1].get_input_embeddings().weight
    unused = tokenizer.convert_tokens_to_ids("##ly")
    assert not vectors[unused].any()


def test_a_folder_that_holds_something_is_not_packed_into(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["gpu_carry.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="is not empty"):
        gpu_carry.main()


def test_where_hftune_is_not_installed_the_checkout_is_found_with_its_recipes(carry, tmp_path, monkeypatch):
    called, start = [], subprocess.run
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu.subprocess, "run", lambda command, check: called.append(command))
    monkeypatch.setattr(os, "execve", lambda program, words, env: called.append((words, env)))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--rehearse"])
    gpu.find_packages(gpu.argparse.Namespace(work=tmp_path, carry=carry))
    install, (words, env) = called
    assert f"--target={tmp_path / 'site-packages'}" in install
    assert words == [sys.executable, "gpu.py", "--rehearse"]
    again = start([*words[:1], gpu.__file__, "--help"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    code = "import hftune.recipes.imdb as r, tests; from importlib.metadata import distribution as d; "
    code += "print(r.__file__, d('hftune').locate_file(''), d('hftune').version)"
    done = start([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    site = tmp_path / "site-packages"
    assert done.stdout.split() == [f"{site}/hftune/recipes/imdb.py", str(site), version("hftune")], (
        done.stderr
    )


def test_packages_that_are_not_as_pyproject_asks_are_named(monkeypatch):
    monkeypatch.setattr(bench, "version", lambda name: "5.17.0" if name == "transformers" else "99")
    unlike = gpu.unlike_pyproject()
    assert unlike["transformers"].startswith("5.17.0, asked for ")
    assert "torch" not in unlike


def test_the_operations_of_a_text_are_those_that_torch_counts(encoder):
    model = BertForSequenceClassification.from_pretrained(encoder).train()
    compute_cls_only(model)
    tokens, sizes = 48, model.config.to_dict()
    ids = torch.full((1, tokens), 5)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0])).loss.backward()
    assert flops_of_text({"encoder_sizes": sizes, "max_length": tokens}) == pytest.approx(
        counter.get_total_flops(), rel=0.1
    )
