"""A dry run finds what a run would stumble over, hours earlier, and leaves nothing behind."""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import accelerate
import numpy as np
import psutil
import pytest
import torch

import hftune.dry_run as dry_run
import hftune.run
from hftune.cli.main import main
from hftune.data.batches import BatchPlan
from hftune.data.dataset import Data
from hftune.errors import BadInput, StoppedBySignal
from hftune.hub.push import Target
from hftune.inference.isolated import check_loads_without_hftune
from hftune.recipes import imdb
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.tasks.single_label import SingleLabel
from hftune.training.estimate import (
    EVALUATED,
    LONGEST,
    USUAL,
    DryRunPlan,
    Estimate,
    checkpoints_kept,
    counted,
    disk_words,
    duration,
    peak_memory,
    scoring_seconds,
    scoring_times,
    size,
    some_batches,
    spread,
    step_seconds,
)
from hftune.training.excerpt import Excerpt, excerpt
from hftune.training.schedule import Schedule
from tests.kinds import another
from tests.runs import file_flags, run_recipe, without_figures
from tests.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("quick_disk", "shapes_once")
SHAPES = ["shapes", "--config_overrides", "width=4", "--image_size", 16, "--max_train_samples", 40]
SHAPES += ["--per_device_train_batch_size", 8, "--bf16", "false"]


@pytest.fixture
def texts(reviews, encoder) -> list:
    small = ["--per_device_train_batch_size", 8, "--max_length", 48, "--bf16", "false"]
    return ["imdb", *file_flags(reviews), "--model_name_or_path", encoder, *small]


@pytest.fixture
def nearby(monkeypatch):
    """Leaves out the process that loads the saved model, and the figures: other tests have them."""
    monkeypatch.setattr(dry_run, "check_loads_without_hftune", lambda model, data, folder: "")
    with without_figures():
        yield


def validate(monkeypatch, capfd, *words) -> tuple[int, dict[str, str], str]:
    """Makes a dry run in this process; returns the exit code, the state of each check, and the output."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(sys, "argv", ["hftune", "validate", *map(str, words)])
    code = 0
    with patch.dict(os.environ, COLUMNS="200"):  # a run without the Hub tells its process to stay offline
        try:
            main()
        except SystemExit as ending:
            code = ending.code
    said = capfd.readouterr()
    rows = re.findall(r"^│ ([\w ]+?) +│ (ready|not ready|not tried) +│", said.out, re.MULTILINE)
    return code, dict(rows), said.out + said.err


@pytest.mark.parametrize("kind", ["texts", "images", another("numbers")])
def test_what_is_ready_is_said_to_be_and_nothing_is_left(
    kind, texts, quick_start, tmp_path, tmp_path_factory, monkeypatch, capfd
):
    """tests/programs/test_secrets.py starts the process that loads the model as it is."""
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    at = texts.index("--model_name_or_path")
    words = [*SHAPES, "--model_ema", 0.9]
    if kind == "texts":  # a model with code of its own, as the one of the images
        words = [*texts[:at], "--model_type", "textcnn", *texts[at + 2 :], "--num_train_epochs", 4]
    if kind == "numbers":
        words += ["--task", "regression", "--label_column_name", "size"]
    code, states, said = validate(monkeypatch, capfd, *words)
    assert code == 0, said
    assert states == dict.fromkeys(["run directory", *dry_run.STAGES], "ready")
    assert not list(tmp_path.iterdir())
    assert not list(temporary.glob("hftune-*"))
    asked = {
        "texts": "labels 0, 1",
        "images": "circle, square",
        "numbers": "numbers of column 'size', mean 1",
    }
    assert asked[kind] in said
    steps = 4 * 12 if kind == "texts" else 15 * 5  # epochs times batches
    assert f" {steps} steps of " in said
    assert "logits equal to" in said


def test_the_longest_rows_come_first_and_the_rest_is_the_runs_own():
    lengths = np.array([3, 9, 4, 8, 5, 7, 6, 2, 1, 10, 11, 12])
    settings = {"tokens_per_batch": None, "processes": 1, "group_by_length": False, "seed": 1}
    plan = BatchPlan(lengths=lengths, rows_per_batch=2, micro_batches_per_step=2, **settings)
    steps = list(DryRunPlan(**vars(plan)).steps(0, LONGEST + USUAL))
    assert len(steps) == LONGEST + USUAL
    assert all(len(step.micro_batches) == 2 for step in steps)
    first = [micro.rows.tolist() for step in steps[:LONGEST] for micro in step.micro_batches]
    assert first == [[11, 10], [9, 1], [3, 5], [6, 4]]
    own = {tuple(rows) for rows in plan.batches(0)}
    rest = [micro.rows for step in steps[LONGEST:] for micro in step.micro_batches]
    assert {tuple(rows) for rows in rest} <= own
    sizes = [lengths[rows].max() for rows in rest]
    assert sizes == sorted(sizes)
    assert min(max(lengths[list(rows)]) for rows in own) == sizes[0]


def test_a_set_smaller_than_the_dry_run_goes_round():
    settings = {"tokens_per_batch": None, "processes": 1, "group_by_length": True, "seed": 1}
    plan = BatchPlan(lengths=np.array([5, 6, 7]), rows_per_batch=2, micro_batches_per_step=1, **settings)
    assert len(list(DryRunPlan(**vars(plan)).steps(0, LONGEST + USUAL))) == LONGEST + USUAL


@pytest.mark.parametrize("group", [True, False])
def test_time_that_grows_with_the_tokens_is_foretold(group):
    lengths = np.random.default_rng(0).integers(5, 200, 1000)
    settings = {"tokens_per_batch": None, "processes": 1, "group_by_length": group, "seed": 1}
    plan = BatchPlan(lengths=lengths, rows_per_batch=8, micro_batches_per_step=2, **settings)

    def cost(step) -> float:
        return 0.01 * sum(lengths[micro.rows].max() * len(micro.rows) for micro in step.micro_batches)

    measured = [cost(step) for step in DryRunPlan(**vars(plan)).steps(0, LONGEST + USUAL)]
    whole = [cost(step) for step in plan.steps(0, len(plan.epoch(0)))]
    assert step_seconds(measured, plan) == pytest.approx(np.mean(whole))
    some = lengths[some_batches(lengths, 64)]

    def scoring(part) -> float:
        batches = np.split(-np.sort(-part), range(64, len(part), 64))
        return 0.1 * sum(batch.max() * len(batch) for batch in batches)

    assert scoring_seconds(scoring(some), some, lengths, 64) == pytest.approx(scoring(lengths))


def test_some_batches_hold_the_longest_row_and_no_row_twice():
    lengths = np.random.default_rng(0).integers(1, 500, 1000)
    for count, batch in ((1000, 64), (10, 64), (100, 7), (1, 1)):
        rows = some_batches(lengths[:count], batch)
        assert len(set(rows)) == len(rows)
        assert lengths[:count].argmax() in rows
        assert len(rows) <= 3 * batch
    assert spread([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert spread([7], 3) == [7, 7, 7]


def test_times_and_sizes_as_people_say_them():
    said = [duration(seconds) for seconds in (0.2, 40, 99, 100, 720, 5999, 12_000)]
    assert said == ["1 s", "40 s", "99 s", "2 min", "12 min", "1 h 40 min", "3 h 20 min"]
    assert [size(count) for count in (10, 3.4e8, 1.24e9)] == ["1 MB", "340 MB", "1.2 GB"]
    assert [counted(count, "step") for count in (0, 1, 1200)] == ["0 steps", "1 step", "1,200 steps"]
    forecast = Estimate(loading=10, steps=100, step=0.5, evaluations=3, evaluation=20, test=30)
    assert forecast.total() == 10 + 50 + 4 * 20 + 30
    probed = dataclasses.replace(forecast, probing=200)
    assert probed.total() == forecast.total() + 200
    assert probed.words().endswith("the test rows 30 s, linear probing 3 min")
    assert forecast.words() == "about 3 min: 100 steps of 0.5 s, 3 evaluations of 20 s, the test rows 30 s"


def test_a_full_disk_is_foretold(tmp_path):
    said = disk_words(tmp_path / "runs" / "x", 2_000_000, 3, 500_000_000)
    assert said.startswith("506 MB for 3 checkpoints of 2 MB and the model; ")
    assert said.endswith(" free")
    with pytest.raises(BadInput, match=r"2 checkpoints.*--save_total_limit"):
        disk_words(tmp_path / "runs" / "x", 10**18, 2, 500)


def test_the_memory_is_that_of_this_process():
    own = psutil.Process().memory_info().rss
    said = peak_memory(torch.device("cpu"))
    most, unit, there = re.fullmatch(r"([\d.]+) ([MG]B) of ([\d.]+) GB", said).groups()
    assert 0.9 * own <= float(most) * {"MB": 1e6, "GB": 1e9}[unit] < 100 * own
    assert float(there) * 1e9 == pytest.approx(psutil.virtual_memory().total, rel=0.1)


def some_data(lengths: list[int], test: list[int]) -> Data:
    """Sets whose rows are their numbers; a test row's image shows its number."""
    sets = []
    for rows in (lengths, lengths, test):
        ids = np.arange(len(rows))
        whole = SimpleNamespace(lengths=np.array(rows), weights=ids, targets=ids)
        sets.append(Excerpt(whole, ids))
    return Data(*sets, collate=list, task=SingleLabel(("a", "b")), processor=None, fingerprint="", image=str)


def test_a_few_rows_keep_their_images():
    data = some_data([1] * 9, [1, 1, 9, 1, 1, 1, 1, 8, 1])
    few = excerpt(data, 1)
    assert len(few.test) == EVALUATED < len(data.test)
    assert [few.image(row) for row in range(len(few.test))] == [str(row) for row in few.test.ids]
    assert few.test.ids[0] == 2  # the longest
    assert excerpt(dataclasses.replace(data, test=None), 1).test is None


def test_a_device_that_does_not_count_its_memory_is_no_error(monkeypatch):
    def refuse(device):
        raise RuntimeError("Allocator for xpu is not a DeviceAllocator.")

    monkeypatch.setattr(torch.accelerator, "get_memory_info", refuse)
    assert peak_memory(torch.device("xpu", 0)) == "not known on xpu:0"


@pytest.mark.parametrize(("mirrored", "views"), [(False, 1), (True, 3)])
def test_scoring_takes_as_long_as_its_rows_and_views(mirrored, views):
    settings = ImageSettings(per_device_eval_batch_size=2, test_time_augmentation=mirrored)
    data = some_data([1] * 20, [1] * 40)
    few = excerpt(data, 2)
    foretold = partial(scoring_times, few=few, seconds=3.0, probed=np.ones(18, np.int64))
    expected = {"evaluation": 3.0 * 20 / 6, "test": 3.0 * 40 / 6 * views, "probing": 3.0 * 18 / 6}
    assert foretold(settings, data) == pytest.approx(expected)
    assert foretold(settings, data, probed=np.array([]))["probing"] == 0
    alone = dataclasses.replace(data, test=None)
    assert foretold(settings, alone)["test"] == 0
    pretrained = settings.replace(model_name_or_path="owner/model")  # whose frozen features are a baseline
    assert foretold(pretrained, data)["test"] == pytest.approx(3.0 * (40 * views + 60) / 6)
    without = pretrained.replace(baselines=False)
    assert foretold(without, data)["test"] == pytest.approx(3.0 * 40 * views / 6)


def test_a_signal_ends_a_dry_run_and_is_no_check():
    def part() -> str:
        raise StoppedBySignal(15, "nothing")

    with pytest.raises(StoppedBySignal):
        dry_run.attempt("data", part)


def test_a_folder_without_the_right_to_write_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(BadInput, match=r"--output_dir .*runs/x cannot be written"):
        dry_run.inspect(imdb.recipe, tmp_path / "runs/x", TextSettings())


def test_trackers_are_left_alone_and_nothing_is_frozen(texts, nearby, tmp_path, monkeypatch, capfd):
    """No tracker begins a run of its own, memory is at its worst, and the simple models take no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "check_trackers", lambda settings: None)
    seen = {}

    def watched(name, function):
        def call(*given, **named):
            seen[name] = getattr(given[0], "settings", given[0])
            return function(*given, **named)

        return call

    owners = {"make_accelerator": hftune.run, "set_up": dry_run, "score_result": dry_run}
    for name, owner in owners.items():
        monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))
    words = [*texts, "--report_to", "wandb", "--gradual_unfreezing", 0.5, "--baselines", "true"]
    code, _, said = validate(monkeypatch, capfd, *words)
    assert code == 0, said
    assert seen["make_accelerator"].report_to == "none"
    assert seen["set_up"].gradual_unfreezing == 0
    assert not seen["score_result"].baselines


@pytest.mark.parametrize(
    ("code", "said", "error", "words"),
    [
        (0, "noise\n0.0\n", "", "in a process without hftune, logits equal to the bit"),
        (0, "5e-06\n", "", "logits equal to 5e-06"),
        (0, "0.001\n", "", "the saved model's logits differ by 1.0e-03"),
        (0, "nan\n", "", "the saved model's logits differ by nan"),
        (1, "", "Traceback\nKeyError: 'x'\n", "does not load where hftune is not installed: KeyError: 'x'"),
        (-9, "", "", "does not load where hftune is not installed: exit code -9"),
    ],
)
def test_what_a_process_without_hftune_says_is_told(code, said, error, words, tmp_path, monkeypatch):
    model = tiny_model("bert", num_labels=2)
    model.save_pretrained(tmp_path)
    rows = [{"input_ids": torch.tensor([[5, 6, 7]])}]
    data = SimpleNamespace(validation=rows, collate=lambda rows: {**rows[0], "labels": torch.tensor([0])})
    asked = {}

    def run(command, env, **named):
        asked.update(env=env, stdin=named["stdin"])
        return subprocess.CompletedProcess(command, code, said, error)

    monkeypatch.setattr("hftune.inference.isolated.subprocess.run", run)
    try:
        told = check_loads_without_hftune(model, data, tmp_path)
    except BadInput as refusal:
        told = str(refusal)
    assert words in told
    assert told.startswith("in a process") == (" equal to " in words)
    assert asked["env"]["HF_MODULES_CACHE"].startswith(str(tmp_path))  # not among the user's own
    assert asked["stdin"] == subprocess.DEVNULL


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, 3),  # two and the one that is being written
        ({"save_total_limit": 1}, 3),  # the best stays whatever the limit
        ({"save_total_limit": 1, "load_best_model_at_end": False}, 2),
        ({"save_total_limit": None}, 4),
        ({"save_strategy": "no", "load_best_model_at_end": False}, 1),
        ({"num_train_epochs": 1.0}, 1),
        ({"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}, 20),
    ],
)
def test_checkpoints_are_counted_as_they_are_kept(changes, kept):
    settings = TextSettings(**({"num_train_epochs": 4.0} | changes))
    plan_settings = {"tokens_per_batch": None, "processes": 1, "group_by_length": False, "seed": 1}
    plan = BatchPlan(lengths=np.ones(10, int), rows_per_batch=2, micro_batches_per_step=1, **plan_settings)
    assert checkpoints_kept(settings, Schedule.of(settings, plan)) == kept


def refused(states: dict[str, str]) -> list[str]:
    return [name for name, state in states.items() if state == "not ready"]


def test_what_is_behind_a_failure_is_not_tried(texts, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text('text,label\n"good film",1\n"bad film",0\n"no label",\n')
    words = ["imdb", "--train_file", "bad.csv", *texts[7:]]
    code, states, said = validate(monkeypatch, capfd, *words)
    assert code == 2
    assert refused(states) == ["data"]
    assert list(states.values())[-7:] == ["not tried"] * 7
    assert "bad.csv" in said
    assert "line 4" in said
    assert said.strip().splitlines()[-1] == "error: imdb is not ready: data; the table says what to do"
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("flags", "stage", "words"),
    [
        (["--metric_for_best_model", "acuracy"], "settings", "did you mean 'accuracy'"),
        (["--config_overrides", "width=-1"], "model", "width=-1"),
        (["--optim_args", "momentun=0.9"], "training", "momentun"),
        (["--learning_rate", "1e38", "--max_grad_norm", 0], "training", "finite"),
        (["--train_dir", "nowhere"], "data", "nowhere"),
        (["--output_dir", "taken"], "run directory", "--output_dir taken cannot be written"),
        (["--resume_from_checkpoint", "gone"], "run directory", "gone: no such folder"),
    ],
)
def test_each_part_has_its_line(flags, stage, words, nearby, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    given = [str(word) for word in SHAPES]
    if flags[0] in given:
        at = given.index(flags[0])
        del given[at : at + 2]
    code, states, said = validate(monkeypatch, capfd, *given, *flags)
    assert (code, refused(states)) == (2, [stage]), said
    assert words in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_what_a_run_chooses_is_said_of_its_own_plan(texts, nearby, monkeypatch, capfd):
    _, _, said = validate(monkeypatch, capfd, *texts, "--baselines", "false")
    assert "epochs: 20 of 12 steps, for 2,000 steps or more, but 3 to 20 epochs" in said
    assert " 240 steps of " in said


def test_a_run_directory_is_looked_at_and_left_alone(texts, nearby, tmp_path, monkeypatch, capfd):
    run = tmp_path / "run"
    quick = ["--baselines", "false", "--max_steps", 2, "--output_dir", run]
    run_recipe(imdb.recipe, [*texts[1:], *quick[:-2]], run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    capfd.readouterr()
    code, states, said = validate(monkeypatch, capfd, *texts, *quick)
    assert code == 0, said
    assert "finished: the command would train nothing" in said
    code, states, said = validate(monkeypatch, capfd, *texts, *quick, "--learning_rate", 1e-3)
    assert (code, refused(states)) == (2, ["run directory"])
    assert "learning_rate: None there, 0.001 here" in said
    assert states["memory"] == "ready"  # the rest does not need that folder
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_bug_in_a_recipe_is_a_bug(nearby, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from hftune.recipes import shapes\n\n\n"
        "def build_model(settings, data):\n    return 1 / 0\n\n\n"
        'recipe = shapes.recipe.replace(name="mine", build_model=build_model)\n'
    )
    with pytest.raises(ZeroDivisionError):
        validate(monkeypatch, capfd, "mine.py", *SHAPES[1:])
    assert sorted(path.name for path in tmp_path.iterdir()) in (["mine.py"], ["__pycache__", "mine.py"])


def test_what_a_model_raises_is_a_row_of_the_table(nearby, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from hftune.recipes import shapes\n\n\n"
        "def loss(model, batch):\n    raise ArithmeticError('no such\\nnumber')\n\n\n"
        'recipe = shapes.recipe.replace(name="mine", loss=loss)\n'
    )
    code, states, said = validate(monkeypatch, capfd, "mine.py", *SHAPES[1:])
    assert (code, refused(states)) == (2, ["training"])
    assert "the model fails: ArithmeticError: no such (mine.py, line 5)" in " ".join(said.split())


@pytest.mark.parametrize("damage", ["weights", another("code")])
def test_a_model_that_others_could_not_load_is_found_out(
    damage, texts, quick_start, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    words = texts if damage == "weights" else SHAPES
    save = dry_run.save_model

    def spoil(model, data, folder, adapter):
        save(model, data, folder, adapter)
        if damage == "weights":
            model.classifier.weight.data += 1  # what was scored is not what was saved
        else:
            source = folder / "resnet9.py"
            source.write_text("import hftune\n" + source.read_text())

    monkeypatch.setattr(dry_run, "save_model", spoil)
    code, states, said = validate(monkeypatch, capfd, *words)
    assert (code, refused(states)) == (2, ["loading"]), said
    assert ("logits differ by" if damage == "weights" else "hftune") in said


@pytest.mark.parametrize("allowed", [True, False])
def test_the_right_to_push_is_one_of_the_checks(allowed, texts, nearby, tmp_path, monkeypatch, capfd):
    """The Hub itself is asked in test_secrets.py, by a process that is not offline."""

    def answer(recipe, settings):
        if not allowed:
            raise BadInput("the Hub token of ann may only read")
        return Target(settings.hub_model_id, "v2", True)

    monkeypatch.setattr(dry_run, "push_target", answer)
    monkeypatch.setattr("hftune.cli.validate.ensure_reachable", lambda *names, **options: None)
    words = [*texts, "--push_to_hub", "--hub_model_id", "ann/films"]
    code, states, said = validate(monkeypatch, capfd, *words)
    assert states["memory"] == "ready", said  # what is tried does not depend on it
    assert (code, refused(states)) == ((0, []) if allowed else (2, ["Hub"]))
    assert "linear probing 1 s" in said  # the encoder's new classifier starts as a linear model
    assert ("ann/films, branch v2 can be written" if allowed else "may only read") in said


def test_without_a_hub_the_first_line_says_so(texts, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    code, states, said = validate(monkeypatch, capfd, *texts, "--push_to_hub")
    assert (code, states) == (2, {})
    assert said.startswith("error: --push_to_hub: HF_HUB_OFFLINE is set")


def test_validate_needs_a_recipe(monkeypatch, capfd):
    assert validate(monkeypatch, capfd)[0] == 2
    code, _, said = validate(monkeypatch, capfd, "imbd")
    assert code == 2
    assert "did you mean imdb?" in said
    code, _, said = validate(monkeypatch, capfd, "imdb", "--help")
    assert (code, "--max_length" in said) == (0, True)
