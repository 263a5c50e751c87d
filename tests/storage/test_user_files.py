"""No run replaces or removes a file that no run wrote."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest

from hftune.errors import BadInput
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.storage.run_dir import RunRecord, change_record, write_exit
from hftune.storage.user_files import claim, foreign_files, hash_files, refuse_foreign_files, remove_run

pytestmark = pytest.mark.usefixtures("quick_disk")
MANIFEST = {"format": 1, "step": 2, "files": {}}


def record(folder: Path, **changes) -> RunRecord:
    """Writes a run.json."""
    values = {"settings": {}, "versions": {}, "data_fingerprints": {}, "threads": 1, "world_size": 1}
    made = RunRecord(**values | {"micro_batches_per_step": 1, "claimed": False} | changes)
    made.write(folder)
    return made


def write(path: Path, text: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def finished(tmp_path) -> Path:
    """What a finished run left, and a file of the user's."""
    folder = tmp_path / "run"
    for name in ("README.md", "config.json", "model.safetensors", "all_results.json", "textcnn.py"):
        write(folder / name, name)
    write(folder / ".eval_results/imdb.yaml")
    write(folder / "log.jsonl")
    write(folder / "notes.txt")
    for step in (2, 4):
        write(folder / f"checkpoint-{step}/manifest.json", json.dumps(MANIFEST | {"step": step}))
    record(folder, finished=True, claimed=True)
    change_record(folder, files=hash_files(folder, {}))
    return folder


NAMES = [
    *("README.md", "config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json"),
    *("vocab.txt", "preprocessor_config.json", "curve.png", "confusion.png", "mistakes.png", "my_model.py"),
    *("all_results.json", "test_predictions.csv", "log.jsonl", "exit.json", ".git", ".eval_results/a.yaml"),
    "adapter/adapter_model.safetensors",
    "checkpoint-500",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_a_runs_name_that_no_run_wrote_is_refused(name, tmp_path):
    write(tmp_path / name / "trainer_state.json" if name == "checkpoint-500" else tmp_path / name)
    with pytest.raises(BadInput, match=f"replace: {name}; move that"):
        refuse_foreign_files(tmp_path, TextSettings())
    with pytest.raises(BadInput, match=name):  # the flag is for what a run left
        refuse_foreign_files(tmp_path, TextSettings(overwrite_output_dir=True))


def test_other_files_and_what_a_refused_start_left_are_no_hindrance(tmp_path):
    write(tmp_path / "notes.txt")
    write(tmp_path / "data/README.md")
    write(tmp_path / "README.md", "")
    write_exit(tmp_path, 2, "no rows", None)
    (tmp_path / ".lock").touch()
    (tmp_path / "log.jsonl").touch()
    refuse_foreign_files(tmp_path, TextSettings())
    refuse_foreign_files(tmp_path / "new", TextSettings())


def test_a_run_whose_record_alone_is_lost_goes_on(finished):
    (finished / "run.json").unlink()
    assert foreign_files(finished, None) == []
    write(finished / "checkpoint-500/trainer_state.json")
    assert foreign_files(finished, None) == ["checkpoint-500"]


def test_a_card_that_was_put_into_an_unfinished_run_stops_it(tmp_path):
    unfinished = record(tmp_path)
    assert foreign_files(tmp_path, unfinished) == []
    write(tmp_path / "README.md")
    with pytest.raises(BadInput, match=r"README\.md"):
        refuse_foreign_files(tmp_path, TextSettings())
    unfinished = change_record(tmp_path, claimed=True)  # killed at its end, it wrote the card itself
    assert foreign_files(tmp_path, unfinished) == []


def test_what_was_put_there_while_it_trained_is_set_aside(tmp_path, caplog):
    record(tmp_path)
    for name in ("README.md", ".eval_results/a.yaml", "set-aside/README.md"):
        write(tmp_path / name, name)
    claim(tmp_path)
    assert not (tmp_path / "README.md").exists()
    assert (tmp_path / "set-aside/README.md").read_text() == "set-aside/README.md"
    assert (tmp_path / "set-aside/README.md~").read_text() == "README.md"
    assert (tmp_path / "set-aside/.eval_results/a.yaml").exists()
    assert "README.md" in caplog.text
    assert RunRecord.read(tmp_path).claimed
    write(tmp_path / "README.md", "the run's")
    claim(tmp_path)
    assert (tmp_path / "README.md").exists()


@pytest.mark.parametrize("change", ["README.md", "model.safetensors", "mine.py", "checkpoint-9/config.json"])
def test_overwriting_stops_at_what_was_changed_since(change, finished):
    again = TextSettings(overwrite_output_dir=True)
    refuse_foreign_files(finished, again)
    write(finished / change, "by hand")
    refuse_foreign_files(finished, TextSettings())  # nothing is written there
    with pytest.raises(
        BadInput, match=f"left so: {change.split('/')[0]}|did not leave so: {change.split('/')[0]}"
    ):
        refuse_foreign_files(finished, again)


def test_exactly_what_the_run_left_is_removed(finished):
    write(finished / "set-aside/README.md")
    remove_run(finished, RunRecord.read(finished))
    left = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "set-aside/README.md"}


@pytest.mark.parametrize("allowed", range(14))
def test_a_removal_that_is_killed_is_taken_up_again(allowed, finished, monkeypatch):
    """Nothing half-removed is ever taken for a finished run, nor for files that no run wrote."""
    count = 0

    def limited(function):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count > allowed:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for owner, name in ((Path, "unlink"), (Path, "rename"), (shutil, "rmtree"), (os, "replace")):
            patched.setattr(owner, name, limited(getattr(owner, name)))
        with contextlib.suppress(KeyboardInterrupt):
            remove_run(finished, RunRecord.read(finished))
    there = RunRecord.read(finished)
    again = TextSettings(overwrite_output_dir=True)
    refuse_foreign_files(finished, again)
    assert (finished / "notes.txt").exists()
    if there:
        whole = {"README.md", "config.json", "model.safetensors", "all_results.json"}
        assert not there.finished or whole <= set(os.listdir(finished))
        remove_run(finished, there)
    assert not (finished / "README.md").exists()
    assert not list(finished.glob("checkpoint-*"))


INSIDE = [
    ({"model_name_or_path": "model"}, "model", "is the folder of --model_name_or_path"),
    ({"model_name_or_path": "run/checkpoint-2"}, "run", "--model_name_or_path run/checkpoint-2 is among"),
    ({"dataset_name": "photos"}, "photos", "is the folder of --dataset_name"),
    ({"train_dir": "photos/train"}, "photos/train", "is the folder of --train_dir"),
    ({"train_dir": "photos/train"}, "photos/train/runs", "is within --train_dir"),
    ({"train_file": "run/test_predictions.csv"}, "run", "--train_file run/test_predictions.csv is among"),
    ({"model_type": "resnet18", "checkpoint_path": "run/model.safetensors"}, "run", "--checkpoint_path"),
]


@pytest.mark.parametrize(("given", "output", "message"), INSIDE)
def test_a_folder_of_what_is_read_is_refused(given, output, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model/config.json", "photos/train/red/a.png", "run/test_predictions.csv", "run/notes.txt"):
        write(Path(name))
    write(Path("run/checkpoint-2/manifest.json"), json.dumps(MANIFEST))
    write(Path("run/model.safetensors"))
    for folder in (output, f"./{output}", f"{tmp_path}/{output}", f"link/{output}"):
        if folder.startswith("link"):
            Path("link").symlink_to(".")
        with pytest.raises(BadInput) as refused:
            refuse_foreign_files(Path(folder), ImageSettings(**given))
        assert message in refused.value.message
        assert "choose another" in refused.value.message


def test_beside_or_above_what_is_read_a_run_may_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("data/train.csv"))
    write(Path("model/config.json"))
    refuse_foreign_files(Path("data"), TextSettings(train_file="data/train.csv"))
    refuse_foreign_files(Path("model/run"), TextSettings(model_name_or_path="model"))
    refuse_foreign_files(Path("runs/x"), TextSettings(dataset_name="sample"))


@pytest.mark.parametrize("inside", ["checkpoint-2", "checkpoint-2/again", "checkpoint-4/runs/mine"])
def test_no_run_lies_in_a_checkpoint_of_another(inside, finished):
    with pytest.raises(BadInput, match=rf"is in a checkpoint \(checkpoint-\d\) of the run {finished}, which"):
        refuse_foreign_files(finished / inside, TextSettings(dataset_name="sample"))
    refuse_foreign_files(finished / "again", TextSettings(dataset_name="sample"))
    refuse_foreign_files(finished.parent / "checkpoint-2/mine", TextSettings(dataset_name="sample"))


def test_overwriting_what_is_to_be_gone_on_from_is_refused(finished):
    given = {"overwrite_output_dir": True, "resume_from_checkpoint": str(finished / "checkpoint-2")}
    with pytest.raises(BadInput, match="--resume_from_checkpoint"):
        refuse_foreign_files(finished, TextSettings(**given))


def test_names_are_cut(tmp_path):
    for number in range(9):
        write(tmp_path / f"model_{number}.py")
    with pytest.raises(BadInput, match=r"model_4\.py and 4 more"):
        refuse_foreign_files(tmp_path, TextSettings())
