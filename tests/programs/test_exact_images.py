"""Image runs: stopped and resumed = straight through, any workers = none, to the bit; means are scored."""

import functools
import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from hftune.errors import HftuneError
from hftune.recipes import hotdog_features, shapes
from hftune.storage.checkpoint import list_checkpoints, load_checkpoint, tensor_digest
from hftune.training.evaluate import predict, score
from hftune.training.log import read_log
from tests.kinds import another
from tests.runs import (
    COLOURS,
    digest,
    kill_on_the_way,
    run_here,
    run_recipe,
    run_there,
    start_from,
    write_images,
)

pytest.importorskip("timm")
pytest.importorskip("albumentations")
pytestmark = pytest.mark.usefixtures("quick_disk")

ROWS = {"train": 50, "validation": 18, "test": 18}  # 50: every epoch ends in a smaller batch and window
EPOCH = 7  # steps of 8 rows
MODELS = {
    "resnet9": ("resnet9", 16, "width=4"),
    "resnet": ("test_resnet", 32, "drop_path_rate=0.2"),
    "vit": ("vit_tiny_patch16_224", 32, "depth=2,embed_dim=24,drop_rate=0.1,drop_path_rate=0.2"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with train, validation and test."""
    return write_images(tmp_path_factory.mktemp("images"), ROWS)


@pytest.fixture(scope="module")
def checkpoint(images, tmp_path_factory):
    """A small network of timm that was trained for a moment, on labels of other names."""
    others, folder = tmp_path_factory.mktemp("others"), tmp_path_factory.mktemp("checkpoint")
    for number, name in enumerate(COLOURS):
        (others / f"kind {number}").symlink_to(images / "train" / name)
    files = {"train_dir": others, "validation_dir": None, "test_dir": None}
    run_recipe(shapes.recipe, flags_for(images, "resnet", **files, max_steps=2), folder)
    return folder


def settings_for(images: Path, model: str | None = "resnet9", **changes) -> dict:
    """Two epochs of strong augmentation, cut down to many steps per second, with every step saved."""
    settings: dict = {f"{split}_dir": str(images / split) for split in ROWS}
    settings |= {"baselines": False, "bf16": False, "augmentation": "strong", "num_train_epochs": 2}
    settings |= {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 5}
    settings |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": "none"}
    if model:
        name, side, overrides = MODELS[model]
        settings |= {"model_type": name, "image_size": side, "config_overrides": overrides}
    return {name: value for name, value in (settings | changes).items() if value is not None}


def flags_for(images: Path, model: str | None = "resnet9", **changes) -> list:
    settings = settings_for(images, model, **changes)
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def assert_resumes(run, straight: Path, steps: list[int]) -> None:
    """Repeats a run from some of its checkpoints on."""
    expected = run(straight)
    for step in steps:
        again = straight.with_name(f"from-{step}")
        start_from(straight, again, step)
        assert run(again) == expected, f"resumed after step {step}"


@pytest.mark.parametrize(
    ("workers", "accumulation", "steps"),
    [another(0, 1, [1, EPOCH, EPOCH + 1]), (0, 2, [3, 4, 5]), (2, 1, [EPOCH - 1]), another(2, 2, [5])],
)
def test_resumed_at_any_step_is_straight_through(workers, accumulation, steps, images, tmp_path, capsys):
    more = {"gradient_accumulation_steps": accumulation, "dataloader_num_workers": workers}
    run = functools.partial(run_here, shapes, flags_for(images, **more))
    assert_resumes(run, tmp_path / "straight", steps)
    assert len(list_checkpoints(tmp_path / "straight")) == {1: 14, 2: 8}[accumulation]
    said = capsys.readouterr().out
    assert all(f"from-{step}/checkpoint-{step}" in said for step in steps)  # and did not start anew


@pytest.mark.parametrize(
    ("model", "more"),
    [
        another("resnet9", {"model_ema": 0.9}),
        ("resnet9", {"model_ema": 0.9, "load_best_model_at_end": False}),
        another("resnet9", {"mixup": 0.4}),
        another("resnet9", {"cutmix": 1.0}),
        ("resnet9", {"mixup": 0.4, "cutmix": 1.0}),
        ("resnet", {"freeze_batch_norm": True, "augmentation": "randaugment"}),
        another("resnet", {"gradual_unfreezing": 0.4, "model_ema": 0.9}),
        ("resnet9", {"optim": "adamw_torch_fused", "learning_rate": 0.01}),  # with channels_last
        ("resnet", {"optim": "timm_lamb", "learning_rate": 0.01, "model_ema": 0.9}),
        ("vit", {"gradual_unfreezing": 0.4, "optim": "adamw_torch", "gradient_accumulation_steps": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_every_option_resumes(model, more, images, tmp_path):
    run = functools.partial(run_here, shapes, flags_for(images, model, **more))
    assert_resumes(run, tmp_path / "straight", [5])
    tensors = load_checkpoint(tmp_path / "straight/checkpoint-5").tensors
    assert ("average" in tensors) is ("model_ema" in more)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_no_number_of_workers_changes_a_weight(images, tmp_path):
    digests = set()
    for workers in (0, 1, 4):
        flags = flags_for(images, num_train_epochs=1, dataloader_num_workers=workers, mixup=0.4)
        run_recipe(shapes.recipe, flags, tmp_path / str(workers))
        digests.add(tensor_digest(load_file(tmp_path / str(workers) / "model.safetensors")))
    assert len(digests) == 1


def test_what_is_drawn_matters(images, tmp_path):
    """Else runs could be equal because nothing in them is random."""
    digests = set()
    for number, changes in enumerate(({}, {"augmentation": "none"}, {"mixup": 0.4}, {"seed": 7})):
        flags = flags_for(images, num_train_epochs=1, **changes)
        digests.add(run_here(shapes, flags, tmp_path / str(number)))
    assert len(digests) == 4


@pytest.mark.every_kind
def test_killed_and_repeated_is_straight_through(images, tmp_path):
    flags = flags_for(images, model_ema=0.9, mixup=0.4, dataloader_num_workers=1)
    straight = run_here(shapes, flags, tmp_path / "straight")
    kill_on_the_way(shapes, flags, tmp_path / "killed", 1, checkpoints=3)
    assert run_there(shapes, flags, tmp_path / "killed", 1) == straight


def test_a_checkpoint_without_an_average_starts_none(images, tmp_path, capsys):
    run_here(shapes, flags_for(images), tmp_path / "plain")
    flags = flags_for(images, model_ema=0.9, resume_from_checkpoint=tmp_path / "plain/checkpoint-5")
    with pytest.raises(HftuneError) as ending:
        run_recipe(shapes.recipe, flags, tmp_path / "averaged")
    assert ending.value.exit_code == 2
    assert (
        "checkpoint-5 holds no averaged weights; go on from it without --model_ema" in capsys.readouterr().err
    )


@pytest.mark.every_kind
def test_two_processes_are_one_with_twice_the_accumulation_and_survive_a_kill(images, tmp_path):
    """The same views, dropout and rows in the same steps; LayerNorm has no batch statistics."""
    flags = flags_for(images, "vit", mixup=0.4, model_ema=0.9)
    one = run_here(shapes, [*flags, "--gradient_accumulation_steps", 2], tmp_path / "one")
    kill_on_the_way(shapes, flags, tmp_path / "two", 2, checkpoints=3)
    assert run_there(shapes, flags, tmp_path / "two", 2) == one


def test_two_processes_score_the_batch_norm_that_is_saved_and_resume(images, tmp_path):
    """Each process has measured rows of its own; what it scores must be what the main one saves."""
    changes: dict = {
        "model_ema": 0.9,
        "load_best_model_at_end": False,
        "eval_strategy": "steps",
        "eval_steps": 1,
    }
    flags = flags_for(images, num_train_epochs=1, **changes)
    straight = run_there(shapes, flags, tmp_path / "straight", 2)
    start_from(tmp_path / "straight", tmp_path / "resumed", 2)
    assert run_there(shapes, flags, tmp_path / "resumed", 2) == straight
    loss = json.loads((tmp_path / "straight/all_results.json").read_text())["eval_loss"]
    last = load_checkpoint(tmp_path / "straight/checkpoint-4")
    assert validation_loss(settings_for(images, **changes), last.tensors["average"]) == loss


def test_cached_features_resume_and_only_the_head_trains(checkpoint, images, tmp_path):
    flags = flags_for(images, None, model_name_or_path=checkpoint, image_size=32)
    run = functools.partial(run_here, hotdog_features, flags)
    assert_resumes(run, tmp_path / "straight", [1, EPOCH, 13])
    before, after = (
        load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "straight")
    )
    assert before.keys() == after.keys()
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_are_those_of_the_checkpoint(frozen, checkpoint, images, tmp_path):
    changes = {"model_name_or_path": checkpoint, "image_size": 32, "freeze_batch_norm": frozen}
    run_recipe(shapes.recipe, flags_for(images, None, num_train_epochs=1, **changes), tmp_path)
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path))
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert all(torch.equal(after[name], before[name]) is frozen for name in statistics)


@pytest.mark.parametrize("best", [True, False])
def test_the_average_is_scored_and_saved(best, images, tmp_path):
    changes: dict = {"model_ema": 0.9, "load_best_model_at_end": best, "learning_rate": 0.3}
    results = run_recipe(shapes.recipe, flags_for(images, **changes), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    step = record["best_step"] if best else record["last_step"]
    tensors = load_checkpoint(tmp_path / f"checkpoint-{step}").tensors
    saved = tensor_digest(load_file(tmp_path / "model.safetensors"))
    assert saved == tensor_digest(tensors["average"])
    assert saved != tensor_digest(tensors["model"])
    (evaluation,) = [
        line for line in read_log(tmp_path / "log.jsonl") if "eval_loss" in line and line["step"] == step
    ]
    settings = settings_for(images, **changes)
    average, last = (validation_loss(settings, tensors[name]) for name in ("average", "model"))
    assert results["eval_loss"] == evaluation["eval_loss"] == average != last


def validation_loss(changes: dict, tensors: dict[str, torch.Tensor]) -> float:
    """Scores weights in one process, without a run."""
    settings = shapes.recipe.settings.replace(**changes)
    data = shapes.recipe.load_data(settings)
    model = shapes.recipe.build_model(settings, data)
    model.load_state_dict(tensors)
    rows = settings.per_device_eval_batch_size
    found = predict(data.task, model, data.validation, data.collate, Accelerator(), rows_per_batch=rows)
    return score(data.task, "eval", found, data.validation.targets, ["log_loss"])["eval_loss"]


def test_the_mirror_adds_scores_and_changes_none(images, tmp_path):
    plain = run_recipe(shapes.recipe, flags_for(images), tmp_path / "plain")
    flags = flags_for(images, test_time_augmentation=True)
    both = run_recipe(shapes.recipe, flags, tmp_path / "both")
    added = both.keys() - plain.keys()
    apart = ("samples", "class", "only_answer")  # scores of each class are those of the answers alone
    scored = {name for name in plain if name.startswith("test_") and not any(part in name for part in apart)}
    assert added == {name.replace("test_", "test_mirrored_") for name in scored}
    assert {name: both[name] for name in scored} == {name: plain[name] for name in scored}
    assert both["test_mirrored_loss"] != both["test_loss"]
    assert digest(tmp_path / "both") == digest(tmp_path / "plain")
