"""Every case of benchmarks/ tried on built-in data: the same rows, the same tokens, a stored table."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import accelerate
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import bench  # noqa: E402
import page  # noqa: E402
import results  # noqa: E402
from case import Case, Side  # noqa: E402
from stopwatch import Stopwatch  # noqa: E402

from hftune.errors import BadInput  # noqa: E402
from tests.kinds import another  # noqa: E402
from tests.runs import end_there, start_there, without_figures  # noqa: E402


def call_here(command: list[str], log: Path) -> float:
    """Does what a process of its own would do, without its seconds of imports."""
    if command[1] != "-m":
        return 1.0
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    with patch.dict(os.environ), without_figures():
        importlib.import_module(command[2]).main(json.loads(Path(command[3]).read_text()))
    return 1.0


def call_forked(command: list[str], log: Path) -> float:
    """Does what torchrun would do with its two processes, without their seconds of imports."""
    assert command[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    with log.open("w+b") as told:
        variables = {name: bench.environment()[name] for name in ("PYTHONPATH", "CUDA_VISIBLE_DEVICES")}
        end_there(start_there(command[5:], 2, told.fileno(), **variables), told)
    return 1.0


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture
def dry_run(work, monkeypatch):
    """Returns a function that measures a case on built-in data and returns what it stored."""

    def measured(name: str, *words: str) -> dict:
        if not words and (found := stored(work).get(name)):
            return found
        monkeypatch.setattr(bench, "call", call_here)
        monkeypatch.setattr(bench, "surroundings", lambda: SURROUNDINGS)
        arguments = ["bench.py", name, "--sample", "--rounds", "1", "--work", str(work), *words]
        monkeypatch.setattr(sys, "argv", arguments)
        bench.main()
        return stored(work)[name]

    return measured


def stored(work: Path) -> dict:
    """Returns what was measured so far, by case."""
    return {
        k: v for path in (work / "results").glob("*.json") for k, v in json.loads(path.read_text()).items()
    }


SURROUNDINGS = {
    "machine": "a machine",
    "gpus": [],
    "commit": "0123456789",
    "python": "3",
    "versions": dict.fromkeys(bench.PACKAGES, "1"),
}


def tokens(measurement: dict) -> int:
    return round(measurement["tokens_per_second"] * measurement["seconds"])


BFLOAT16_LSTM = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU computes no LSTM in bfloat16"
)


@pytest.mark.parametrize(
    "name", ["minilm", another("textcnn"), pytest.param("bilstm", marks=BFLOAT16_LSTM), "start"]
)
def test_all_sides_of_a_case_on_texts_read_the_same_tokens(name, dry_run, work):
    entry = dry_run(name)
    (found,) = entry["rounds"]
    case = importlib.import_module(f"cases.{name}").CASE
    assert list(found) == [side for side in case.sides if side not in case.on_request]
    assert len({tokens(measurement) for measurement in found.values()}) == 1
    assert {measurement["rows"] for measurement in found.values()} == {entry["job"]["rows"]}
    assert all(0 <= measurement["accuracy"] <= 1 for measurement in found.values())
    assert {measurement["scored_rows"] for measurement in found.values()} == {entry["job"]["scored"]}
    assert all(ratio["low"] <= ratio["median"] <= ratio["high"] for ratio in entry["ratios"].values())


def test_padding_is_that_of_each_sides_own_batches(dry_run):
    (found,) = dry_run("minilm")["rounds"]
    assert 0 <= found["hftune"]["padding"] < found["Trainer"]["padding"] < 1
    assert found["Trainer, group_by_length"]["padding"] < found["Trainer"]["padding"]
    (found,) = dry_run("textcnn")["rounds"]
    job = importlib.import_module("cases.textcnn").CASE.sample
    places = tokens(found["plain loop"]) / (1 - found["plain loop"]["padding"])
    assert round(places) == job["rows"] * job["max_length"]


@pytest.mark.parametrize("name", [*map(another, ["cifar10", "hotdog"])])
def test_both_sides_of_a_case_on_images_train_the_same_model(name, dry_run):
    entry = dry_run(name)
    (found,) = entry["rounds"]
    assert {measurement["steps"] for measurement in found.values()} == {
        entry["job"]["rows"] // entry["job"]["batch"]
    }
    assert all("tokens_per_second" not in measurement for measurement in found.values())


def test_both_sides_of_the_prediction_give_the_same_answers(dry_run):
    (found,) = dry_run("predict")["rounds"]
    assert {measurement["same_answers"] for measurement in found.values()} == {1.0}
    assert len({tokens(measurement) for measurement in found.values()}) == 1
    assert found["hftune"]["padding"] < found["pipeline(batch_size=32)"]["padding"]


def test_the_page_has_every_case_and_side(dry_run, work):
    dry_run("help")
    entry = dry_run("minilm")
    (written,) = (work / "results").glob("*.md")
    text = written.read_text()
    assert "dry run" in text
    for title in ("--help", "MiniLM on IMDb at 512 tokens"):
        assert f"## {title}" in text
    line = next(line for line in text.splitlines() if line.startswith("| Trainer, group_by_length |"))
    median = entry["ratios"]["hftune / Trainer, group_by_length"]["median"]
    assert f"**{median:.2f}**" in line
    assert str(work) not in text + json.dumps(entry)


def test_flags_behind_the_dashes_reach_hftune_alone(dry_run):
    with pytest.raises(BadInput, match="--no_such_flag: no such flag"):
        dry_run("minilm", "--", "--no_such_flag", "1")


@pytest.mark.every_kind
def test_a_process_of_its_own_is_timed_and_its_memory_noted(work):
    case = Case("x", "X", {}, {}, None, {}, ())
    folder = bench.prepared(textcnn := importlib.import_module("cases.textcnn").CASE, JOB, work)
    found = bench.run(textcnn.sides["plain loop"], JOB | {"folder": str(folder), "seed": 1}, work, case.name)
    assert found["memory_mib"] > 100  # torch alone is larger
    assert found["start_seconds"] < found["first_step_seconds"]
    assert found["threads"] == 1


JOB = importlib.import_module("cases.textcnn").CASE.job | importlib.import_module("cases.textcnn").CASE.sample


@pytest.mark.every_kind
def test_two_processes_share_the_rows_of_a_step(work, dry_run, monkeypatch):
    (alone,) = dry_run("textcnn")["rounds"]
    textcnn = importlib.import_module("cases.textcnn").CASE
    folder = bench.prepared(textcnn, JOB, work)
    told = JOB | {"folder": str(folder), "seed": 1, "processes": 2, "extra": []}
    monkeypatch.setattr(bench, "call", call_forked)
    found = bench.run(Side("hftune_recipe"), told, work, "two")
    assert found["steps"] == alone["hftune"]["steps"]
    assert tokens(found) == tokens(alone["hftune"])


def test_a_program_that_fails_stops_the_measurement_with_its_last_words(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)ended with 3.*last words"):
        bench.call([sys.executable, "-c", "print('last words'); raise SystemExit(3)"], tmp_path / "log")


def test_only_the_last_epoch_is_timed(tmp_path, monkeypatch):
    clock = iter([0.0, 100.0, 200.0, 203.0, 206.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    out = tmp_path / "out.json"
    watch = Stopwatch({"rows": 6, "batch": 3, "epochs": 2, "began": 0.0, "out": str(out)})
    for _ in range(5):
        watch.mark()
    watch.report(accuracy=0.5, scored=2, tokens=30, places=40)
    found = json.loads(out.read_text())
    assert found["seconds"] == 6
    assert found["rows_per_second"] == 1
    assert found["tokens_per_second"] == 5
    assert found["padding"] == 0.25


def test_times_as_fast_whether_much_or_little_is_good():
    rounds = [{"a": {"rows_per_second": 6, "seconds": 1}, "b": {"rows_per_second": 3, "seconds": 4}}] * 2
    rounds += [{"a": {"rows_per_second": 9, "seconds": 1}, "b": {"rows_per_second": 3, "seconds": 5}}]
    assert page.ratio(rounds, "rows_per_second", "a", "b") == {"median": 2, "low": 2, "high": 3}
    assert page.ratio(rounds, "seconds", "a", "b") == {"median": 4, "low": 4, "high": 5}


def test_a_case_that_is_measured_again_replaces_itself_alone(tmp_path):
    for name, seconds in (("first", 1.0), ("second", 2.0), ("first", 3.0)):
        rounds = [{"us": {"seconds": seconds}, "them": {"seconds": 6.0}}]
        entry = {
            **SURROUNDINGS,
            "case": name,
            "title": name,
            "measure": "seconds",
            "sample": False,
            "date": "2030-01-02T03:04+00:00",
            "job": {},
            "extra": [],
            "rounds": rounds,
            "ratios": {"us / them": page.ratio(rounds, "seconds", "us", "them")},
        }
        path = page.store(entry, Case(name, name, {}, {}, None, {"us": Side("x")}, ()), tmp_path)
    stored = json.loads(path.read_text())
    assert [(name, entry["ratios"]["us / them"]["median"]) for name, entry in stored.items()] == [
        ("first", 2.0),
        ("second", 3.0),
    ]
    assert re.findall(r"^## (.*)$", (tmp_path / "2030-01-02.md").read_text(), re.MULTILINE)[:2] == [
        "first",
        "second",
    ]


@pytest.mark.parametrize(("asked", "rows"), [(None, 128), (100, 96), (1, 16)])
def test_rows_fill_their_batches(asked, rows):
    case = importlib.import_module("cases.minilm").CASE
    options = bench.argparse.Namespace(rows=asked, epochs=None, scored=None, sample=False)
    assert bench.job_of(case, options, on_gpu=False)["rows"] == rows


@pytest.mark.parametrize("name", [*bench.CASES, *bench.ON_REQUEST])
def test_on_a_gpu_an_epoch_warms_up_and_the_command_line_still_decides(name):
    case = importlib.import_module(f"cases.{name}").CASE
    assert case.gpu.keys() <= case.job.keys()
    nothing = bench.argparse.Namespace(rows=None, epochs=None, scored=None, sample=False)
    job = bench.job_of(case, nothing, on_gpu=True)
    assert job.get("epochs", 2) >= 2 or name == "start"
    assert bench.job_of(case, nothing, on_gpu=False) == case.job
    if "rows" in case.job:
        asked = bench.argparse.Namespace(rows=case.job["batch"], epochs=None, scored=None, sample=False)
        assert bench.job_of(case, asked, on_gpu=True)["rows"] == case.job["batch"]


def test_results_alone_do_not_change_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    assert results.commit() == "unknown"
    files = [tmp_path / name for name in ("code.py", "docs/results.md", "benchmarks/results/2030-01-02.json")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a")
    someone = ["-c", "user.name=n", "-c", "user.email=n@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*someone, "commit", "-qm", "all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    clean = results.commit()
    assert re.fullmatch("[0-9a-f]{10}", clean)
    for file in reversed(files):
        assert results.commit() == clean
        file.write_text("b")
    assert results.commit() == f"{clean}-dirty"


@pytest.mark.parametrize(("given", "seen"), [(None, "0"), ("2,3", "2"), ("", "")])
def test_each_side_has_one_gpu_at_the_most(given, seen, tmp_path, monkeypatch):
    """The Trainer spreads its batches over all that it sees."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    told = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], end='')"
    bench.call([sys.executable, "-c", told], tmp_path / "log")
    assert (tmp_path / "log").read_text() == seen


def scores(value: float) -> dict[str, float]:
    """What all_results.json holds of a run with this accuracy."""
    names = ("test_accuracy", "test_f1", "test_thumbnails_accuracy", "test_accuracy_over_thumbnails")
    parts = {"": value, "_low": value - 0.1, "_high": value + 0.1}
    found = {f"{name}{part}": number for name in names for part, number in parts.items()}
    return found | {"train_runtime": 90.0, "eval_loss": 0.25}


def test_the_page_of_results_has_each_run_and_the_mean_over_seeds():
    entries = {
        f"hotdog, seed {seed}": {
            "command": f"accelerate launch recipes/hotdog.py --seed {seed}",
            "commit": "0123456789",
            "machine": "a machine",
            "date": "2030-01-02",
            "versions": {"torch": "2", "transformers": "5"},
            "threads": 2,
            "processes": 3,
            "last_train_loss": 0.125,
            "results": scores(value),
        }
        for seed, value in {"42": 0.5, "1": 0.75}.items()
    }
    text = results.render(entries)
    assert "## Hot dog" in text
    assert "## IMDb" not in text
    line = next(line for line in text.splitlines() if line.startswith("| hotdog, seed 1 | `accelerate"))
    assert "| 0.7500 [0.6500, 0.8500] |" in line
    assert line.endswith("| +0.7500 [+0.6500, +0.8500] | 1.5 |")  # and no column of mirrors
    assert "hotdog, 2 seeds: mean Accuracy 0.6250, standard deviation 0.1768; mean F1 0.6250" in text
    assert "| hotdog, seed 42 | a machine | 6 | 2 | 5 | 2030-01-02 | 0123456789 | 0.125 | 0.250 |" in text
    entries["hotdog, seed 1"]["results"] |= {
        f"test_mirrored_accuracy{part}": 0.5 for part in ("", "_low", "_high")
    }
    assert "| Mirrored too |" in results.render(entries)


def test_the_folders_of_a_machine_are_not_published():
    given = {"output_dir": "runs/x", "embeddings": "/home/me/glove.txt", "seed": 1, "task": None}
    assert results.public_settings(given) == {"embeddings": "glove.txt", "seed": 1}


def test_the_training_loss_at_the_end_is_that_of_the_last_records(tmp_path):
    records = [{"loss": number} for number in (9.0, 1.0, 2.0, 3.0, 4.0, 5.0)] + [{"eval_loss": 7.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert results.last_train_loss(tmp_path / "log.jsonl") == 3.0
