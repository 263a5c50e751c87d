"""What earlier versions wrote is loaded, and goes on to the scores that they reached."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from hftune.recipes import imdb_textcnn
from hftune.storage.checkpoint import list_checkpoints, load_checkpoint
from hftune.storage.run_dir import RunRecord
from tests.golden.make import HERE, KEPT_AT, write_rows
from tests.runs import run_recipe

RUNS = sorted(path.name for path in HERE.iterdir() if (path / "run.json").exists())
TIMES = {"train_runtime", "train_samples_per_second"}


@pytest.fixture(params=RUNS)
def golden(request, tmp_path, monkeypatch) -> Path:
    """A folder that holds data and `run`, as they were when that version was killed after 6 of 9 steps."""
    monkeypatch.chdir(tmp_path)
    write_rows(Path("train.csv"))
    shutil.copytree(HERE / request.param, "run")
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**record, "finished": False}))
    return HERE / request.param


def test_there_is_one_and_all_are_small():
    assert RUNS
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 30_000


def test_the_record_and_the_checkpoint_of_an_earlier_version_are_read(golden):
    record = RunRecord.read(Path("run"))
    assert record.last_step == 9
    assert record.micro_batches_per_step == 2
    checkpoint = load_checkpoint(Path(f"run/checkpoint-{KEPT_AT}"))
    assert checkpoint.step == checkpoint.state["progress"]["step"] == KEPT_AT
    assert {"model", "optimizer", "average"} <= checkpoint.tensors.keys()


def test_an_earlier_versions_run_goes_on_to_its_scores(golden, capsys, quick_disk):
    """Equal up to rounding: another CPU or another torch may add in another order."""
    expected = json.loads((golden / "all_results.json").read_text())
    for name in ("all_results.json", "test_predictions.csv"):
        Path("run", name).unlink()
    stored = RunRecord.read(Path("run"))
    recipe = imdb_textcnn.recipe.replace(**stored.settings)  # the recipe's own may be others by now
    results = run_recipe(recipe, [], Path("run"))
    assert f"resuming from run/checkpoint-{KEPT_AT}" in capsys.readouterr().out
    assert list_checkpoints(Path("run")) == [KEPT_AT, 9]
    same = expected.keys() - TIMES
    assert same <= results.keys()
    for name in same:
        limit = name.endswith(("_low", "_high"))  # of 24 rows, resampled in another way since
        tolerance = 0.15 if limit else 1e-4
        assert results[name] == pytest.approx(expected[name], abs=tolerance, nan_ok=True), name
    there, here = (
        list(csv.DictReader((folder / "test_predictions.csv").open())) for folder in (golden, Path("run"))
    )
    assert len(there) == len(here) == 24
    for old, new in zip(there, here, strict=True):
        assert (old["label"], old["prediction"]) == (new["label"], new["prediction"])
        assert float(old["good"]) == pytest.approx(float(new["good"]), abs=1e-4)
