"""Tests of `hftune run --seeds N`: several runs of one recipe, each as any other, and what they come to."""

import json
import os
import re
import signal
import statistics
import sys
from pathlib import Path

import pytest

from hftune.cli import run as command
from hftune.cli.compare import main as compare
from hftune.cli.main import main
from hftune.cli.seeds import take_flags
from hftune.errors import BadInput, HftuneError, StoppedBySignal
from hftune.inference.compare import FinishedRun
from hftune.inference.seeds import summarise
from hftune.recipes import imdb_textcnn
from hftune.storage.run_dir import change_record
from tests.runs import digest, run_recipe, small_textcnn

pytestmark = pytest.mark.usefixtures("quick_disk")


def flags_of(reviews) -> list[str]:
    return [*map(str, small_textcnn(reviews, max_steps=3, save_steps=3, eval_strategy="steps", eval_steps=3))]


@pytest.fixture
def launched(monkeypatch):
    """The folders of the runs that were started, here in this process; `ends` has other exit codes."""
    started: list[Path] = []
    ends: dict[str, int] = {}

    def launch_group(words, processes, run_dir, signals):
        assert processes == 1
        assert words[0].endswith("imdb_textcnn.py")
        assert words[-4:-1] == ["--seed", run_dir.name.removeprefix("seed_"), "--output_dir"]
        started.append(run_dir)
        if run_dir.name in ends:
            return ends[run_dir.name]
        run_recipe(imdb_textcnn.recipe, words[1:-2], run_dir)
        return 0

    monkeypatch.setattr(command, "launch_group", launch_group)
    monkeypatch.setattr(command, "count_gpus", lambda: 1)
    return started, ends


def test_each_seed_is_a_run_and_a_repeated_command_goes_on(reviews, tmp_path, launched, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    started, ends = launched
    flags = flags_of(reviews)
    words = ["imdb_textcnn", *flags, "--output_dir", str(tmp_path / "all"), "--seeds=3", "--seed", "5"]
    ends["seed_6"] = 3
    with pytest.raises(HftuneError, match=r"seed 6 ended with code 3: 1 of 3 seeds are finished .* goes on"):
        command.main(words)
    assert [path.name for path in started] == ["seed_5", "seed_6"]
    assert not (tmp_path / "all/seeds.json").exists()

    ends.clear()
    started.clear()
    capsys.readouterr()
    command.main(words)
    assert [path.name for path in started] == ["seed_6", "seed_7"]  # seed 5 is read
    said = capsys.readouterr().out
    assert f"seed 5, 1 of 3: {tmp_path}/all/seed_5 is finished\n" in said
    run_recipe(imdb_textcnn.recipe, [*flags, "--seed", 6], tmp_path / "alone")
    assert digest(tmp_path / "alone") == digest(tmp_path / "all/seed_6")

    runs = [tmp_path / f"all/seed_{seed}" for seed in (5, 6, 7)]
    results = [json.loads((path / "all_results.json").read_text()) for path in runs]
    summary = json.loads((tmp_path / "all/seeds.json").read_text())
    assert [*summary["seeds"]] == ["5", "6", "7"]
    for name, mean in summary["mean"].items():
        values = [one[name] for one in results]
        assert name.startswith("test_")
        assert [summary["seeds"][seed][name] for seed in "567"] == values
        assert mean == pytest.approx(statistics.fmean(values))
        assert summary["std"][name] == pytest.approx(statistics.stdev(values))
    assert {"test_accuracy", "test_loss"} <= summary["mean"].keys()
    assert summary["std"]["test_loss"] > 0
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert lines["mean"][0] == f"{summary['mean']['test_accuracy']:.3f}"
    assert lines["std"][-1] == f"{summary['std']['test_loss']:.3f}"
    assert lines["6"][0] == f"{results[1]['test_accuracy']:.3f}"

    compare([*map(str, runs)])  # the same test rows: they can be paired
    assert "accuracy, difference" in re.sub(r"\s+", " ", capsys.readouterr().out)

    # A run with other settings is no part of these, unless it may be replaced.
    other = ["imdb_textcnn", *flags, "--output_dir", str(tmp_path / "all"), "--seeds", "2", "--seed", "5"]
    other += ["--learning_rate", "0.5"]
    started.clear()
    with pytest.raises(BadInput, match="seed_5 holds a run with other settings"):
        command.main(other)
    assert not started
    command.main([*other, "--overwrite_output_dir"])
    command.main([*other, "--overwrite_output_dir"])
    assert [path.name for path in started] == ["seed_5", "seed_6"]  # the second time both are read

    change_record(runs[2], data_fingerprints={"data": "others"})
    with pytest.raises(BadInput, match=r"seed_5 and .*seed_7 were trained on other rows"):
        summarise([FinishedRun(path) for path in runs])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "1"], "--seeds 1: how many runs, 2 or more; for one leave it out and choose its --seed"),
        (["--seeds", "-2"], "--seeds -2: how many runs, 2 or more"),
        (["--seeds", "1,2,3"], "--seeds: expected a whole number, got '1,2,3'"),
        (["--seeds"], "--seeds needs a value: a whole number"),
        (["--seeds", "2", "--seeds", "3"], "--seeds is given twice: 2 and 3"),
        (["--seeds", "2", "--seed", "1,2"], "--seed: expected a whole number, got '1,2'"),
        (["--seeds", "2", "--seeed", "1"], "--seeed: no such flag; did you mean --seed?"),
        (
            ["--seeds", "2", "--resume_from_checkpoint", "x"],
            "--seeds and --resume_from_checkpoint contradict",
        ),
        (["--seeds", "2", "--push_to_hub"], "--seeds and --push_to_hub contradict each other"),
        (["--seeds", "2", "--output_dir", "mine"], "mine/seeds.json is there, and not of hftune: move it"),
    ],
)
def test_what_makes_no_sense_is_one_line_before_anything_runs(flags, message, here, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hftune", "run", "imdb_textcnn", *flags])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(command, "launch_group", lambda *_: pytest.fail("it ran"))
    Path("mine").mkdir()
    Path("mine/seeds.json").write_text('{"seeds": [1, 2]}')
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert Path("mine/seeds.json").read_text() == '{"seeds": [1, 2]}'


def test_the_number_of_seeds_is_no_setting():
    with pytest.raises(BadInput, match="--seeds: no such flag; use hftune run, which knows it"):
        run_recipe(imdb_textcnn.recipe, ["--seeds", 3], Path("never"))


def test_flags_are_taken_out_with_their_values():
    words = ["--seed", "5", "--bf16", "--output-dir=x", "--seeds", "2", "--max_steps=3", "--seed"]
    taken, others = take_flags(words, {"seed", "output_dir"})
    assert taken == ["--seed", "5", "--output-dir=x", "--seed"]
    assert others == ["--bf16", "--seeds", "2", "--max_steps=3"]


def test_a_signal_goes_to_the_run_and_ends_the_seeds(here, monkeypatch):
    """It arrives as soon as anybody listens; what stands in the place of Python here waits for it."""
    Path("python").write_text("#!/bin/sh\nexec sleep 60\n")
    Path("python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    usual, received = signal.getsignal(signal.SIGTERM), []
    set_handler = signal.signal

    def listen(number, handler):
        before = set_handler(number, handler)
        if number == signal.SIGTERM and handler is not usual:
            signal.raise_signal(number)
        return before

    monkeypatch.setattr(signal, "signal", listen)
    assert command.launch_group(["recipe.py"], 1, Path(), received) == 143
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is usual  # between two runs it ends the command itself


def test_a_signal_that_came_too_late_for_a_run_stops_the_next(here, monkeypatch):
    def launch_group(words, processes, run_dir, signals):
        signals.append(signal.SIGINT)
        return 0

    monkeypatch.setattr(command, "launch_group", launch_group)
    monkeypatch.setattr(command, "count_gpus", lambda: 1)
    with pytest.raises(StoppedBySignal, match="stopped by SIGINT: 1 of 2 seeds are finished in mine"):
        command.main(["imdb_textcnn", "--seeds", "2", "--output_dir", "mine"])
