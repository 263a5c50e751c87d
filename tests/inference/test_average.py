"""Tests of the mean of several models' weights: what is in it, what it scores, and that it is a run."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from hftune.cli.average import main
from hftune.cli.compare import main as compare
from hftune.errors import BadInput
from hftune.hub.files import files_of
from hftune.inference.average import greedy_mean
from hftune.recipes import imdb, shapes
from hftune.storage.checkpoint import list_checkpoints
from hftune.storage.run_dir import RunRecord
from tests.cli.test_cli import hftune
from tests.cli.test_eval import agree
from tests.data.image.test_splits import write_class_folders
from tests.runs import file_flags, run_recipe, without_figures

pytestmark = pytest.mark.usefixtures("quick_disk")
FEW = ["--max_steps", 4, "--per_device_train_batch_size", 8, "--baselines", "false", "--bf16", "false"]
EVERY = ["--save_strategy", "steps", "--save_steps", 2, "--eval_strategy", "steps", "--eval_steps", 2]


def average(*words) -> None:
    with without_figures():
        main([str(word) for word in words])


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def text_flags(reviews, encoder) -> list:
    return [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 24, *FEW]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, text_flags) -> list[Path]:
    """Three runs that differ in their seed."""
    folder = tmp_path_factory.mktemp("seeds")
    runs = [folder / f"seed_{seed}" for seed in (1, 2, 3)]
    for seed, run in enumerate(runs, 1):
        run_recipe(imdb.recipe, [*text_flags, "--learning_rate", 1e-3, "--seed", seed], run)
    return runs


def state(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([value]), "frozen": torch.tensor([0.1]), "steps": torch.tensor([7])}


def test_weights_are_added_while_the_score_does_not_fall():
    scores = {1.5: 0.8, 2.5: 0.7, 1.25: 0.8, 1.75: 0.9}
    seen = []

    def score(weights):
        seen.append(float(weights["w"]))
        return scores[seen[-1]]

    mean, taken = greedy_mean(state(1.0), 0.8, map(state, (2.0, 4.5, 0.75, 3.25)), score)
    # 1 and 2 are as good as 1; 4.5 spoils it; 0.75 leaves it; 3.25 makes it better
    assert seen == [1.5, 2.5, 1.25, 1.75]
    assert taken == [True, False, True, True]
    assert mean["w"] == 1.75
    assert torch.equal(mean["frozen"], torch.tensor([0.1]))
    assert torch.equal(mean["steps"], torch.tensor([7]))
    assert [tensor.dtype for tensor in mean.values()] == [torch.float32, torch.float32, torch.int64]


def test_a_score_that_is_no_number_is_never_good_enough():
    mean, taken = greedy_mean(state(1.0), 0.5, [state(2.0)], lambda weights: float("nan"))
    assert (float(mean["w"]), taken) == (1.0, [False])


def test_the_mean_of_seeds_is_a_run(seeds, text_flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    before = [contents(run) for run in seeds]
    (tmp_path / "mean").mkdir()  # an empty folder may be there
    average(*seeds, "--output", "mean")
    said = capsys.readouterr().out
    assert [contents(run) for run in seeds] == before
    assert [path.name for path in tmp_path.iterdir()] == ["mean"]

    record = RunRecord.read(Path("mean"))
    taken = [*record.averaged]
    assert len(taken) in (2, 3)
    parts = [load_file(Path(run) / "model.safetensors") for run in taken]
    for name, tensor in load_file("mean/model.safetensors").items():
        expected = np.mean([part[name].double().numpy() for part in parts], axis=0)
        assert np.array_equal(tensor.numpy(), expected.astype(np.float32)), name
    results = json.loads(Path("mean/all_results.json").read_text())
    stored = {str(run): json.loads((run / "all_results.json").read_text()) for run in seeds}
    assert results["eval_accuracy"] >= max(one["eval_accuracy"] for one in stored.values())
    best = stored[taken[0]]
    assert best["eval_accuracy"] == max(one["eval_accuracy"] for one in stored.values())
    for name in ("accuracy", "loss", "f1"):
        assert results[f"test_single_{name}"] == pytest.approx(best[f"test_{name}"], abs=1e-6)
    gap = results["test_accuracy"] - best["test_accuracy"]
    assert results["test_accuracy_over_single"] == pytest.approx(gap)
    assert f"the mean of {len(taken)} differs from {taken[0]} alone by {gap:+.3f} [" in said
    assert said.count(" taken") == len(taken)

    # Everything takes it as a run.
    assert hftune(monkeypatch, "eval", "mean", "--output", "scores.json") == 0
    agree(Path("mean"), {**stored, **json.loads(Path("scores.json").read_text()), **single(results)})
    compare([str(seeds[0]), "mean"])
    assert "accuracy, difference" in " ".join(capsys.readouterr().out.split())
    assert hftune(monkeypatch, "verify", "mean") == 0
    assert {path.name for path in files_of(Path("mean"))} >= {"README.md", "model.safetensors"}
    (answer,) = pipeline("text-classification", "mean")("good film")
    assert answer["label"] in ("0", "1")
    card = Path("mean/README.md").read_text()
    assert f"the mean of {len(taken)} from one start" in card
    assert ", ".join(Path(run).name for run in taken) in card
    assert str(tmp_path) not in card
    with pytest.raises(BadInput, match="mean holds the mean of other runs; choose another --output_dir"):
        run_recipe(imdb.recipe, [*text_flags, "--learning_rate", 1e-3, "--seed", 1], Path("mean"))


def single(results) -> dict[str, float]:
    """The scores of the best one alone, which `hftune eval` does not know."""
    return {name: value for name, value in results.items() if "single" in name}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "hftune average needs two models or more"),
        (["a", "b"], "hftune average needs --output FOLDER"),
        (["a", "b", "--output", "full"], "--output full is there; choose a folder that is not, or an empty"),
        (["a", "b", "--output", "full/file"], "--output full/file is there"),
        (["full", "b", "--output", "full/new"], "--output full/new is within full, which stays as it is"),
        (["full", "b", "--output", "new"], "full: neither a run directory nor a checkpoint of one"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_read(words, message, here, capsys, monkeypatch):
    Path("full").mkdir()
    Path("full/file").write_text("mine")
    assert hftune(monkeypatch, "average", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert [str(path) for path in here.rglob("*")] == [f"{here}/full", f"{here}/full/file"]


def test_checkpoints_are_finished_as_their_run_was(reviews, encoder, tmp_path, capsys):
    """A regression's last layer answers on another scale in a checkpoint; the best one is the run's model."""
    flags = [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 24, *FEW, *EVERY]
    flags += ["--task", "regression", "--save_total_limit", "none", "--model_ema", 0.5]
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    for name in ("train", "validation", "test"):
        lines = (reviews / f"{name}.csv").read_text().splitlines()
        rows = [line.rpartition(",")[0] + f",{20 + len(line) % 7}.5" for line in lines[1:]]
        (numbers / f"{name}.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    flags = [str(flag).replace(str(reviews), str(numbers)) for flag in flags]
    run = tmp_path / "run"
    run_recipe(imdb.recipe, flags, run)
    record = RunRecord.read(run)
    best, *others = [run / f"checkpoint-{record.best_step}"] + [
        run / f"checkpoint-{step}" for step in list_checkpoints(run) if step != record.best_step
    ]
    before = json.loads((run / "all_results.json").read_text())
    (run / "all_results.json").write_text(json.dumps({**before, "eval_rmse": 99}))
    capsys.readouterr()
    with pytest.raises(BadInput, match=f"{run} and {best} have the same weights; name one of them"):
        average(run, best, "--output", tmp_path / "same")
    here = f"{before['eval_rmse']:.4g}"
    assert f"warning: {run}: eval_rmse was 99 in its run and is {here} here" in capsys.readouterr().out
    average(best, *others, "--output", tmp_path / "mean")
    results = json.loads((tmp_path / "mean/all_results.json").read_text())
    assert results["eval_rmse"] <= before["eval_rmse"] * (1 + 1e-6)
    assert results.keys() >= {"test_rmse", "test_coverage"}
    config = json.loads((tmp_path / "mean/config.json").read_text())
    assert 0 < config["conformal_radius"] < 10


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_of_rows_are_not_averaged(frozen, tmp_path, shapes_once):
    for split in ("train", "test"):
        write_class_folders(tmp_path / "pets" / split, 6, split)
    flags = ["--dataset_name", tmp_path / "pets", "--config_overrides", "width=4", "--image_size", 16]
    flags += [*FEW, *EVERY, "--freeze_batch_norm", frozen]
    run = tmp_path / "run"
    run_recipe(shapes.recipe, flags, run)
    words = [run / "checkpoint-2", run / "checkpoint-4", "--output", tmp_path / "mean"]
    if frozen:
        average(*words)
        assert (tmp_path / "mean/model.safetensors").is_file()
    else:
        with pytest.raises(BadInput, match=r"checkpoint-4 cannot be averaged: .*running_mean differs, and"):
            average(*words)
        assert not (tmp_path / "mean").exists()
