"""Runs with a teacher: what is learned from it, how often it is asked, and what is refused."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file, save_file

from hftune.dry_run import dry_run
from hftune.errors import BadInput
from hftune.inference import teacher
from hftune.inference.load import load_model
from hftune.recipes import imdb_bag, imdb_textcnn
from hftune.seed import generator
from hftune.settings.parser import parse
from hftune.storage.checkpoint import list_checkpoints
from tests.runs import run_here, run_recipe, run_there, start_from, without_figures, write_record
from tests.tiny import tiny_checkpoint

pytestmark = pytest.mark.usefixtures("quick_disk")
LABELS = ("bad", "good")
ROWS = {"labelled": 16, "validation": 60, "test": 200, "unlabeled": 600, "whole": 600}
SMALL = ["--baselines", "false", "--bf16", "false", "--min_frequency", 1]
SMALL += ["--per_device_train_batch_size", 16, "--learning_rate", 0.01]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """A folder of csv files: 200 words speak for one of two classes; few rows have labels."""
    folder = tmp_path_factory.mktemp("texts")
    for name, count in ROWS.items():
        lines = []
        for row in range(count):
            random = generator("text", name, row)
            words = random.integers(100, size=8) + 100 * (random.random(8) < (0.8 if row % 2 else 0.2))
            lines.append(" ".join(f"w{word}" for word in words) + f",{LABELS[row % 2]}")
        head = "text,label"
        if name == "unlabeled":
            head, lines = "text", [line.partition(",")[0] for line in lines]
        (folder / f"{name}.csv").write_text("\n".join([head, *lines]))
    return folder


def files(texts: Path, train: str = "labelled") -> list:
    sets = {"train": train, "validation": "validation", "test": "test"}
    return [part for flag, name in sets.items() for part in (f"--{flag}_file", texts / f"{name}.csv")]


@pytest.fixture(scope="module")
def taught(texts) -> Path:
    """The run directory of a teacher, which has seen many labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        flags = [
            *files(texts, "whole"),
            *SMALL,
            "--num_train_epochs",
            5,
            "--config_overrides",
            "num_buckets=50",
        ]
        results = run_recipe(imdb_bag.recipe, flags, texts / "teacher")
    assert results["test_accuracy"] > 0.9
    return texts / "teacher"


def student(texts: Path, taught: Path, **changes) -> list:
    """Returns the flags of a small TextCNN that learns from few labels and many texts without."""
    given = {"teacher": taught, "unlabeled_file": texts / "unlabeled.csv", "max_steps": 40}
    given |= {"config_overrides": "embedding_dim=8,num_filters=8", "save_total_limit": "none"} | changes
    words = (part for name, value in given.items() if value is not None for part in (f"--{name}", value))
    return [*files(texts), *SMALL, *words]


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """How many rows a teacher was asked for, each time."""
    counts: list[int] = []
    answer = teacher.Teacher.answer

    def counted(self, contents):
        counts.append(len(contents))
        return answer(self, contents)

    monkeypatch.setattr(teacher.Teacher, "answer", counted)
    return counts


def test_texts_without_labels_make_a_better_student(texts, taught, tmp_path, capsys):
    results = run_recipe(imdb_textcnn.recipe, student(texts, taught, max_steps=120), tmp_path / "taught")
    shown = capsys.readouterr().out
    alone = student(texts, taught, max_steps=120, teacher=None, unlabeled_file=None)
    plain = run_recipe(imdb_textcnn.recipe, alone, tmp_path / "alone")
    assert results["test_accuracy"] > plain["test_accuracy"] + 0.1
    assert (
        results["test_teacher_accuracy"]
        == json.loads((taught / "all_results.json").read_text())["test_accuracy"]
    )
    over = results["test_accuracy"] - results["test_teacher_accuracy"]
    assert results["test_accuracy_over_teacher"] == pytest.approx(over)
    assert 0.8 < results["test_teacher_agreement_low"] < results["test_teacher_agreement"] <= 1
    assert (results["train_samples"], results["unlabeled_samples"]) == (16, 600)
    share = 100 * results["test_teacher_agreement"]
    assert f"{share:.1f} % [" in shown
    assert "of the test rows get the same answer as from its teacher" in shown
    assert f"teacher: {taught} answers 616 train rows, once" in shown
    card = (tmp_path / "taught/README.md").read_text()
    assert "distilled from a model of the author's own, whose answers to the 16 training rows and to" in card
    assert "at temperature 2, with a weight of 0.9" in card
    assert str(texts) not in card
    assert not {name for name in plain if "teacher" in name or "unlabeled" in name}


def test_a_teacher_is_asked_once_and_its_answers_are_kept(texts, taught, asked, tmp_path, capsys):
    flags, run_dir = student(texts, taught, max_steps=2), tmp_path / "run"
    run_recipe(imdb_textcnn.recipe, flags, run_dir)
    assert asked == [616, 200]  # the test rows in the end
    stored = load_file(run_dir / "teacher.safetensors")
    assert {name: (of.shape, of.dtype) for name, of in stored.items()} == {
        "train": ((616, 2), np.dtype("float32")),
        "test": ((200, 2), np.dtype("float32")),
    }

    def again(**changes):
        run_recipe(
            imdb_textcnn.recipe,
            [*student(texts, taught, **{"max_steps": 2} | changes), "--overwrite_output_dir"],
            run_dir,
        )

    again(distillation_alpha=0.5)
    assert asked == [616, 200]
    assert "its answers to 616 train rows are read from" in capsys.readouterr().out
    again(max_train_samples=12)  # other rows
    assert asked == [616, 200, 612, 200]

    other = tmp_path / "other"
    shutil.copytree(taught, other)
    again()
    again(teacher=other)  # has the same files
    assert asked[4:] == [616, 200]
    weights = load_file(other / "model.safetensors")
    save_file({name: of + 1 for name, of in weights.items()}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"model\.safetensors of --teacher has changed since"):
        run_recipe(imdb_textcnn.recipe, student(texts, other, max_steps=2), run_dir)
    assert len(asked) == 6
    again(teacher=other)
    assert asked[6:] == [616, 200]
    with pytest.raises(BadInput, match="holds a run with other settings"):
        run_recipe(imdb_textcnn.recipe, flags, run_dir)


def test_a_file_of_the_users_is_not_replaced(texts, taught, tmp_path):
    mine = {"weight": np.ones(3, np.float32)}
    (tmp_path / "run").mkdir()
    save_file(mine, tmp_path / "run/teacher.safetensors")
    with pytest.raises(BadInput, match=r"teacher.safetensors holds no answers of a teacher; move it"):
        run_recipe(imdb_textcnn.recipe, student(texts, taught), tmp_path / "run")
    assert load_file(tmp_path / "run/teacher.safetensors").keys() == mine.keys()


def test_labels_are_matched_by_name(texts, taught, tmp_path, capsys):
    """A teacher that has the labels in another order gives the same answers; one of others gives none."""
    turned = tmp_path / "turned"
    shutil.copytree(taught, turned)
    config = json.loads((turned / "config.json").read_text())
    names = [label.upper() for label in reversed(config["id2label"].values())]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: n for n, name in enumerate(names)}}
    (turned / "config.json").write_text(json.dumps(config))
    weights, last = load_file(turned / "model.safetensors"), []
    for name, of in weights.items():
        if len(of) == 2:
            weights[name] = np.ascontiguousarray(of[::-1])
            last.append(name)
    assert len(last) == 2
    save_file(weights, turned / "model.safetensors", {"format": "pt"})
    runs = {}
    for name, of in (("taught", taught), ("turned", turned)):
        run_recipe(imdb_textcnn.recipe, student(texts, of, max_steps=2), tmp_path / f"by-{name}")
        runs[name] = load_file(tmp_path / f"by-{name}/teacher.safetensors")["train"]
    np.testing.assert_allclose(runs["turned"], runs["taught"], atol=1e-6)

    config["id2label"] = {"0": "good", "1": "ugly"}
    (turned / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="it answers good, ugly; the labels here are bad, good"):
        run_recipe(imdb_textcnn.recipe, student(texts, turned), tmp_path / "refused")
    assert not list_checkpoints(tmp_path / "refused")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gone", "--teacher .*gone: no such folder"),
        ("unfinished", "--teacher .*: this run is not finished"),
        ("several", "--teacher .*: it gives texts any of"),
        ("pairs", "--teacher .*: it reads pairs of texts"),
        ("its own folder", "is the folder of --teacher"),
    ],
)
def test_what_is_no_teacher_is_refused_before_anything_is_trained(kind, said, texts, taught, tmp_path):
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {"bad": 0, "good": 1}}
    folder, run_dir = tmp_path / "gone", tmp_path / "run"
    if kind == "unfinished":
        folder = write_record(tmp_path / "gone", finished=False) if folder.mkdir() is None else folder
    elif kind == "several":
        tiny_checkpoint("bert", folder, 2, problem_type="multi_label_classification", **names)
    elif kind == "pairs":
        tiny_checkpoint("bert", folder, 2, text_pair=True, **names)
    elif kind == "its own folder":
        folder = run_dir = taught
    flags = student(texts, folder, max_steps=2)
    with pytest.raises(BadInput, match=said):
        run_recipe(imdb_textcnn.recipe, flags, run_dir)
    assert not list_checkpoints(tmp_path / "run")


def test_pairs_may_be_answered_by_a_classifier_whose_files_say_little(tmp_path, asked, capsys):
    """Neither what its labels are called nor that it reads pairs."""
    lines = [f"good film {row},bad plot {row},{row % 2}" for row in range(24)]
    (tmp_path / "pairs.csv").write_text("\n".join(["premise,hypothesis,label", *lines]))
    (tmp_path / "more.csv").write_text("premise,hypothesis\na good scene,the worst scene\n")
    folder = tiny_checkpoint("bert", tmp_path / "teacher", 2)
    flags = ["--train_file", tmp_path / "pairs.csv", "--unlabeled_file", tmp_path / "more.csv", *SMALL]
    flags += ["--config_overrides", "embedding_dim=8,num_filters=8", "--teacher", folder, "--max_steps", 1]
    run_recipe(imdb_textcnn.recipe, flags, tmp_path / "run")
    assert "warning: teacher: its labels have no names, and are taken for 0, 1" in capsys.readouterr().out
    logits = load_file(tmp_path / "run/teacher.safetensors")["train"]
    assert asked == [len(logits)]
    loaded = load_model(str(folder))
    inputs = loaded.inputs.of_pairs()
    batch = inputs.collate([inputs.rows([("a good scene", "the worst scene")])[0]])
    batch.pop("labels")
    with torch.no_grad():
        expected = loaded.task.predict(loaded.model, batch)
    np.testing.assert_allclose(logits[-1:], expected["logits"], atol=1e-5)


def test_a_dry_run_asks_for_few_rows_and_foretells_the_rest(texts, taught, asked, tmp_path, monkeypatch):
    monkeypatch.setattr("hftune.dry_run.check_loads_without_hftune", lambda model, data, folder: "")
    recipe, run_dir = imdb_textcnn.recipe, tmp_path / "run"
    flags = student(texts, taught, per_device_eval_batch_size=8)
    settings = parse(recipe.settings, list(map(str, flags)), prog="", description="")
    with without_figures():
        checks = dry_run(recipe, settings, run_dir, Console(file=io.StringIO()))
    assert all(check.ready for check in checks), checks
    assert asked == [24]
    words = {check.name: check.words for check in checks}
    assert "the teacher's answers" in words["time"]
    assert not run_dir.exists()


def test_a_recipe_with_a_loss_of_its_own_has_no_teacher(texts, taught, tmp_path):
    recipe = imdb_textcnn.recipe.replace(loss=lambda model, batch: model(**batch).loss)
    with pytest.raises(BadInput, match="--teacher: the recipe imdb_textcnn has a loss of its own"):
        run_recipe(recipe, student(texts, taught), tmp_path / "run")
    assert not (tmp_path / "run/teacher.safetensors").exists()


def test_resumed_is_straight_through_and_two_processes_are_one(texts, taught, tmp_path):
    flags = student(texts, taught, max_steps=12, save_strategy="steps", save_steps=4)
    flags += ["--gradient_accumulation_steps", 2]
    straight = run_here(imdb_textcnn, flags, tmp_path / "straight")
    start_from(tmp_path / "straight", tmp_path / "resumed", 4)
    assert run_here(imdb_textcnn, flags, tmp_path / "resumed") == straight
    assert run_there(imdb_textcnn, [*flags[:-1], 1], tmp_path / "two", 2) == straight
    one, two = (load_file(tmp_path / name / "teacher.safetensors") for name in ("straight", "two"))
    assert {name: of.tobytes() for name, of in one.items()} == {
        name: of.tobytes() for name, of in two.items()
    }
