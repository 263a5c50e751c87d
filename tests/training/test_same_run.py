"""A run answers, and goes on, for the data, the model and the code that it began with, and for no other."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest

from hftune.errors import BadInput, HftuneError
from hftune.recipes import imdb, imdb_textcnn
from hftune.settings.base import Settings
from hftune.settings.text import TextSettings
from hftune.storage.checkpoint import list_checkpoints
from hftune.storage.run_dir import RunRecord, change_record
from hftune.training.same_run import (
    compare_settings,
    hash_sources,
    refuse_other_settings,
    refuse_other_sources,
)
from tests.runs import run_recipe, small_textcnn, start_from, write_record, write_reviews

pytestmark = pytest.mark.usefixtures("quick_disk")
RECIPE = imdb_textcnn.recipe
STEPS = 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder that holds reviews and a finished run on them."""
    folder = tmp_path_factory.mktemp("same")
    write_reviews(folder)
    run_recipe(RECIPE, flags(folder), folder / "run")
    return folder


def flags(folder: Path, **changes) -> list:
    return small_textcnn(folder, max_steps=STEPS, save_steps=2, max_length=16, **changes)


@pytest.fixture(params=["finished", "killed"])
def here(request, trained, tmp_path) -> Path:
    """The same, in the same place, and its run: finished, or killed after half of its steps."""
    shutil.copytree(trained, tmp_path / "kept")
    if request.param == "killed":
        start_from(trained / "run", tmp_path / "run", 2)
    else:
        shutil.copytree(trained / "run", tmp_path / "run")
    yield tmp_path / "run"
    for file in trained.glob("*.csv"):
        shutil.copy(tmp_path / "kept" / file.name, file)


def refused(recipe, given, run_dir, capsys) -> str:
    capsys.readouterr()
    with pytest.raises(BadInput):
        run_recipe(recipe, given, run_dir)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert "--overwrite_output_dir" in line
    assert "accuracy" not in said.out
    return line


def test_the_same_command_answers_or_goes_on(here, trained):
    results = run_recipe(RECIPE, flags(trained), here)
    known = json.loads((trained / "run/all_results.json").read_text())
    assert results["test_accuracy"] == known["test_accuracy"]
    assert results["test_loss"] == known["test_loss"]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_other_rows_are_named(split, here, trained, capsys):
    file = trained / f"{split}.csv"
    file.write_text(file.read_text() + "a new row of a dozen words about a film,1\n")
    line = refused(RECIPE, flags(trained), here, capsys)
    name = {"train": "training"}.get(split, split)
    assert f"on other data: the {name} rows have changed since" in line


def test_a_word_that_changed_is_noticed(here, trained, capsys):
    file = trained / "test.csv"
    text = file.read_text()
    file.write_text(text.replace("film", "file", 1))
    assert file.read_text() != text
    assert "on other data" in refused(RECIPE, flags(trained), here, capsys)


def own_loss(model, batch):
    """Not the model's own."""
    return model(**batch).loss * 2


def nothing(steps, model):
    return None


PARTS = [
    ({"loss": own_loss}, "its loss has changed"),
    ({"metrics": ("accuracy",)}, "its metrics have changed"),
    ({"after_step": nothing}, "its after_step has changed"),
    ({"load_data": lambda settings: imdb.load_data(settings)}, "its load_data has changed"),
    ({"loss": own_loss, "after_step": nothing}, "its loss and after_step have changed"),
    (
        {"build_model": lambda settings, data: imdb.build_model(settings, data)},
        "its build_model has changed",
    ),
]


@pytest.mark.parametrize(("parts", "message"), PARTS, ids=lambda value: "+".join(value) if value else None)
def test_another_part_of_the_recipe_is_named(parts, message, here, trained, capsys):
    assert message in refused(RECIPE.replace(**parts), flags(trained), here, capsys)


def test_a_run_of_before_answers_without_what_it_did_not_note(here, trained):
    written = json.loads((here / "run.json").read_text())
    for name in ("parts", "sources", "claimed", "files"):
        del written[name]
    written["data_fingerprints"] = {"data": written["data_fingerprints"]["data"]}
    del written["settings"]["overwrite_output_dir"]
    (here / "run.json").write_text(json.dumps(written))
    assert "test_accuracy" in run_recipe(RECIPE, flags(trained), here)


def test_code_of_another_hftune_is_not_compared_and_the_run_goes_on(here, trained, capsys):
    """An hftune that wrote down code in another way left hashes that say nothing here."""
    written = json.loads((here / "run.json").read_text())
    killed = not (here / "all_results.json").exists()
    older = {**written, "parts": dict.fromkeys(written["parts"], "0123abcd" * 4)}
    (here / "run.json").write_text(json.dumps(older))
    assert "test_accuracy" in run_recipe(RECIPE, flags(trained), here)
    said = [line for line in capsys.readouterr().out.splitlines() if "cannot be compared" in line]
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    if killed:  # what it went on with is what it is now
        assert json.loads((here / "run.json").read_text())["parts"] == written["parts"]
        assert "its loss has changed" in refused(RECIPE.replace(loss=own_loss), flags(trained), here, capsys)


def test_another_base_model_is_named(encoder, trained, tmp_path, capsys):
    base = tmp_path / "base"
    shutil.copytree(encoder, base)
    given = [*flags(trained)[:6], "--model_name_or_path", base, "--max_length", 16, "--max_steps", 1]
    given += ["--per_device_train_batch_size", 4, "--no_baselines", "--bf16", "false"]
    run_recipe(imdb.recipe, given, tmp_path / "run")
    (base / "README.md").write_text("words change nothing")
    run_recipe(imdb.recipe, given, tmp_path / "run")
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    line = refused(imdb.recipe, given, tmp_path / "run", capsys)
    assert "model.safetensors of --model_name_or_path has changed" in line


def test_word_vectors_and_weights_are_hashed_and_what_left_the_cache_is_not_compared(tmp_path):
    vectors = tmp_path / "a.vec"
    vectors.write_text("word 1 2\n")
    settings = TextSettings(model_type="bilstm", embeddings=str(vectors))
    sources = hash_sources(settings) | {"model.safetensors of --model_name_or_path": "ab"}
    record = change_record(write_record(tmp_path), sources=sources)
    refuse_other_sources(tmp_path, record, hash_sources(settings))
    vectors.write_text("word 1 3\n")
    with pytest.raises(BadInput, match="--embeddings has changed"):
        refuse_other_sources(tmp_path, record, hash_sources(settings))


def test_overwriting_starts_again_and_leaves_what_is_the_users(here, trained, capsys):
    (here / "notes.txt").write_text("mine")
    file = trained / "train.csv"
    file.write_text(file.read_text() + "a new row of a dozen words about a film,1\n")
    given = flags(trained, learning_rate=1e-3, overwrite_output_dir=True)
    run_recipe(RECIPE.replace(loss=own_loss), given, here)
    record = json.loads((here / "run.json").read_text())
    assert record["settings"]["learning_rate"] == 1e-3
    assert record["finished"]
    assert (here / "notes.txt").read_text() == "mine"
    assert list_checkpoints(here) == [2, 4]
    log = [json.loads(line) for line in (here / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == STEPS
    assert len({line["step"] for line in log if "loss" in line}) == len([1 for line in log if "loss" in line])
    assert "is removed (--overwrite_output_dir)" in capsys.readouterr().out


def test_every_file_that_a_run_leaves_is_known_as_its_own(trained):
    """One that `foreign.AT_THE_END` lacks would be written over unseen, and stay with a new run."""
    record = json.loads((trained / "run/run.json").read_text())
    names = {path.name for path in (trained / "run").iterdir() if path.is_file()}
    assert names - {".lock", "run.json", "exit.json", "log.jsonl"} == set(record["files"])
    assert {"README.md", "textcnn.py", "model.safetensors"} <= names
    modes = {(trained / "run" / name).stat().st_mode & 0o777 for name in record["files"]}
    assert len(modes) == 1


def test_what_was_begun_by_overwriting_and_interrupted_goes_on(trained, tmp_path, capsys):
    """A batch system repeats the command; it must not lose the run each time."""
    left = [3]

    def after_step(steps, model):
        if steps in left:
            left.remove(steps)
            raise MemoryError

    recipe = RECIPE.replace(after_step=after_step)
    shutil.copytree(trained / "run", tmp_path / "run")
    given = flags(trained, overwrite_output_dir=True)
    with pytest.raises(HftuneError):
        run_recipe(recipe, given, tmp_path / "run")
    assert list_checkpoints(tmp_path / "run") == [2]
    capsys.readouterr()
    run_recipe(recipe, given, tmp_path / "run")
    assert f"resuming from {tmp_path / 'run/checkpoint-2'}" in capsys.readouterr().out
    run_recipe(recipe, given, tmp_path / "run")  # finished: from the start
    assert "resuming" not in capsys.readouterr().out


def test_a_run_that_fails_before_it_trains_removes_nothing(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    given = flags(trained, overwrite_output_dir=True)
    given[given.index("--train_file") + 1] = tmp_path / "gone.csv"
    with pytest.raises(BadInput):
        run_recipe(RECIPE, given, tmp_path / "run")
    assert (tmp_path / "run/model.safetensors").exists()
    assert "test_accuracy" in run_recipe(RECIPE, flags(trained), tmp_path / "run")


def test_settings_that_differ_are_named_with_both_values():
    old = {"lr": 5e-05, "optim": "sgd", "betas": [0.9, 0.98], "bound": None, "gone": 1, "logging_steps": 10}
    new = {
        "logging_steps": 20,
        "bound": math.inf,
        "betas": (0.9, 0.98),
        "optim": "adamw",
        "lr": 1e-4,
        "new": True,
    }
    defaults = {"new": False, "young": 3}
    new |= {"young": 3}  # what it was before there was such a setting
    assert compare_settings(old, new, defaults) == [
        "optim: 'sgd' there, 'adamw' here",
        "lr: 5e-05 there, 0.0001 here",
        "new: False there, True here",
        "gone: 1 there, not set here",
    ]
    assert compare_settings(old, old, {}) == []


def test_the_metric_that_an_earlier_version_named_by_itself_is_the_one_that_is_not_given_now(tmp_path):
    def there(**settings) -> RunRecord:
        return RunRecord.read(write_record(tmp_path, **dataclasses.asdict(Settings()) | settings))

    named = {"metric_for_best_model": "accuracy"}
    refuse_other_settings(tmp_path, there(**named), Settings())
    refuse_other_settings(tmp_path, there(), Settings(**named))
    refuse_other_settings(tmp_path, there(**named, task="multi_label"), Settings(task="multi_label"))
    with pytest.raises(BadInput) as refused:
        refuse_other_settings(tmp_path, there(**named), Settings(metric_for_best_model="f1"))
    assert refused.value.details == ["metric_for_best_model: 'accuracy' there, 'f1' here"]
