"""`hftune verify` tells what is there, what is broken and what to do, and changes nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest

from hftune.cli.main import choose
from hftune.errors import BadInput
from hftune.recipes import imdb_textcnn
from hftune.storage.checkpoint import verify_checkpoint
from hftune.storage.run_dir import lock_run_dir
from hftune.storage.verify import verify_run
from tests.runs import digest, run_here, run_recipe, small_textcnn


@pytest.fixture(scope="module")
def flags(reviews) -> list:
    """A run of 24 steps with a checkpoint at each fourth."""
    return small_textcnn(reviews, num_train_epochs=2, max_length=48, save_steps=4)


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "run"
    run_recipe(imdb_textcnn.recipe, flags, folder)
    return folder


@pytest.fixture
def run_dir(trained, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def unfinish(run_dir: Path) -> None:
    """Makes what a run leaves that was killed before it scored."""
    record = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps({**record, "finished": False}))
    for name in ("model.safetensors", "all_results.json", "config.json", "exit.json"):
        (run_dir / name).unlink()


def told(run_dir: Path, capsys) -> str:
    capsys.readouterr()
    choose(["verify", str(run_dir)])
    return " ".join(capsys.readouterr().out.split())


def refused(run_dir: Path, capsys) -> tuple[str, str]:
    """Returns the error line and what stood above it."""
    capsys.readouterr()
    with pytest.raises(BadInput) as caught:
        choose(["verify", str(run_dir)])
    assert "\n" not in str(caught.value)
    return str(caught.value), " ".join(capsys.readouterr().out.split())


def test_a_finished_run_is_whole_and_nothing_is_touched(run_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    state = verify_run(run_dir)
    said = told(run_dir, capsys)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    assert state.sound
    assert [checkpoint.step for checkpoint in state.checkpoints] == [4, 8, 12, 16, 20, 24]
    assert f"{run_dir}: finished last" in said
    assert "last ending: code 0, done" in said
    assert said.count(" whole ") == 6
    assert "next: it is done: use" in said


def test_the_sizes_are_those_of_the_files(run_dir):
    for checkpoint in verify_run(run_dir).checkpoints:
        files = (run_dir / f"checkpoint-{checkpoint.step}").iterdir()
        assert checkpoint.size == sum(file.stat().st_size for file in files) > 1000


@pytest.mark.parametrize("name", ["model.safetensors", "all_results.json", "config.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_broken_result_is_named_and_the_advice_mends_it(
    name, damage, run_dir, trained, flags, capsys, quick_disk
):
    path = run_dir / name
    if damage == "flipped":
        flip(path, 0 if name.endswith("json") else 8 * path.stat().st_size - 9)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    error, said = refused(run_dir, capsys)
    assert f"broken: {path}" in said
    assert (
        f"remove {run_dir / 'run.json'} and repeat the same command: it goes on from checkpoint-24" in error
    )
    if name == "model.safetensors":
        (run_dir / "run.json").unlink()
        assert run_here(imdb_textcnn, flags, run_dir) == digest(trained)
        assert verify_run(run_dir).sound


def test_a_broken_checkpoint_is_named_and_the_older_is_the_next(run_dir, trained, flags, capsys, quick_disk):
    unfinish(run_dir)
    flip(run_dir / "checkpoint-24/optimizer.safetensors", 999)
    (run_dir / "checkpoint-20/state.json").unlink()
    (run_dir / "checkpoint-16/weights.pt").touch()
    said = told(run_dir, capsys)
    assert "not finished, step 12 is saved" in said
    assert "last ending" not in said
    assert "broken: optimizer.safetensors: damaged (other sha256)" in said
    assert "broken: state.json: missing" in said
    assert "broken: weights.pt is a pickle" in said
    assert "next: repeat the same command: it goes on from checkpoint-12" in said
    assert run_here(imdb_textcnn, flags, run_dir) == digest(trained)


def test_nothing_whole_is_code_2(run_dir, capsys):
    unfinish(run_dir)
    for step in (4, 8, 12, 16, 20, 24):
        flip(run_dir / f"checkpoint-{step}/manifest.json", 99)
    error, said = refused(run_dir, capsys)
    assert said.count("broken: manifest.json") == 6
    assert error == (
        f"{run_dir}: nothing whole to go on from; repeat the same command: "
        "it starts from nothing, as nothing was saved"
    )


def test_who_trains_is_named_with_its_pid(run_dir, capsys):
    unfinish(run_dir)
    with lock_run_dir(run_dir):
        said = told(run_dir, capsys)
        (run_dir / ".lock").write_text("")
        assert "in use by another process" in told(run_dir, capsys)
    assert f"in use by pid {os.getpid()} on " in said
    assert "next: wait: pid" in said
    assert "in use" not in told(run_dir, capsys)
    with lock_run_dir(run_dir):  # asking took the lock from nobody
        pass


def test_an_ending_of_another_hand_is_passed_over(run_dir, capsys):
    (run_dir / "exit.json").write_text('{"state": "fine"}')
    assert "last ending" not in told(run_dir, capsys)


def test_a_checkpoint_that_a_run_removes_meanwhile_is_no_problem(run_dir, monkeypatch):
    def looked_at(path: Path) -> str | None:
        reason = verify_checkpoint(path)
        if path.name == "checkpoint-8":
            shutil.rmtree(path)
        return reason

    monkeypatch.setattr("hftune.storage.verify.verify_checkpoint", looked_at)
    state = verify_run(run_dir)
    assert [checkpoint.step for checkpoint in state.checkpoints] == [4, 12, 16, 20, 24]
    assert state.sound


def test_a_run_record_of_another_hand_is_a_problem(run_dir, capsys):
    (run_dir / "run.json").write_text("{}")
    error, said = refused(run_dir, capsys)
    assert "run.json: not written by hftune" in said
    assert "goes on from checkpoint-24" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "hftune verify needs one run"),
        (["a", "b"], "hftune verify needs one run"),
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: holds neither run.json nor a checkpoint"),
        (["empty", "--fix"], "--fix: no such flag"),
    ],
)
def test_what_is_no_run_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=message):
        choose(["verify", *words])
