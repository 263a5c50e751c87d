"""Stopped and resumed = straight through; one process = two; 8 x 1 rows = 1 x 8 rows: to the bit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hftune.errors import BadInput
from hftune.recipes import imdb, imdb_bag, imdb_bilstm, imdb_textcnn
from hftune.storage.checkpoint import list_checkpoints, tensor_digest
from tests.kinds import another
from tests.runs import (
    file_flags,
    kill_on_the_way,
    run_by_torchrun,
    run_here,
    run_recipe,
    run_there,
    small_textcnn,
    start_from,
)

pytestmark = pytest.mark.usefixtures("quick_disk")
ROOT = Path(__file__).parents[2]
SMALL = {
    "textcnn": (imdb_textcnn, "embedding_dim=8,num_filters=4"),
    "bilstm": (imdb_bilstm, "embedding_dim=8,hidden_size=8"),
    "bag": (imdb_bag, "embedding_dim=8,num_buckets=64"),
}
PRETRAINED = {
    "bert": ["--task", "single_label"],
    "numbers": ["--task", "regression"],
    "labels": ["--task", "multi_label"],
    "lora": ["--task", "single_label", "--lora_r", 4, "--model_ema", 0.9],
}


def flags_for(kind: str, reviews: Path, encoder: Path) -> tuple:
    """A recipe with dropout on, cut down to a few steps per second."""
    flags = [
        *(*file_flags(reviews), "--baselines", "false"),
        *("--per_device_train_batch_size", 8, "--num_train_epochs", 2, "--max_length", 48, "--bf16", "false"),
        *("--save_strategy", "steps", "--save_steps", 1, "--save_total_limit", "none", "--min_frequency", 1),
    ]
    if kind == "lora":
        pytest.importorskip("peft")
    if kind in PRETRAINED:
        return imdb, [*flags, "--model_name_or_path", encoder, *PRETRAINED[kind]]
    module, overrides = SMALL[kind]
    return module, [*flags, "--config_overrides", overrides]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("kind", ["bert", "textcnn", *map(another, ["numbers", "lora", "bilstm", "bag"])])
def test_resumed_at_any_step_is_straight_through(kind, accumulation, reviews, encoder, tmp_path, capsys):
    module, flags = flags_for(kind, reviews, encoder)
    flags += ["--gradient_accumulation_steps", accumulation]
    straight = run_here(module, flags, tmp_path / "straight")
    steps = list_checkpoints(tmp_path / "straight")
    assert len(steps) == {1: 24, 3: 8}[accumulation]
    chosen = [1, 11, 12, 13, 24] if accumulation == 1 else [1, 4, 5, 8]  # an epoch has 12 steps, or 4
    if kind == "bert" and accumulation == 3:
        chosen = steps
    for step in chosen:
        start_from(tmp_path / "straight", tmp_path / f"from-{step}", step)
        capsys.readouterr()
        assert run_here(module, flags, tmp_path / f"from-{step}") == straight, f"resumed after step {step}"
        assert f"from-{step}/checkpoint-{step}" in capsys.readouterr().out  # and did not start anew


def test_resume_survives_workers_and_token_budget(reviews, encoder, tmp_path):
    module, flags = flags_for("bert", reviews, encoder)
    flags += ["--tokens_per_batch", 256, "--gradual_unfreezing", 0.5, "--lr_scheduler_type", "cosine"]
    straight = run_here(module, flags, tmp_path / "straight")
    step = list_checkpoints(tmp_path / "straight")[-1] // 2
    start_from(tmp_path / "straight", tmp_path / "resumed", step)
    resumed = run_here(module, [*flags, "--dataloader_num_workers", 2], tmp_path / "resumed")
    assert resumed == straight


def test_another_seed_is_another_run(reviews, encoder, tmp_path):
    module, flags = flags_for("textcnn", reviews, encoder)
    assert run_here(module, flags, tmp_path / "a") != run_here(module, [*flags, "--seed", 7], tmp_path / "b")


def test_killed_and_repeated_is_straight_through(reviews, encoder, tmp_path):
    _, flags = flags_for("bert", reviews, encoder)
    straight = run_here(imdb, flags, tmp_path / "straight")
    for wait in (0.0, 0.13):
        kill_on_the_way(imdb, flags, tmp_path / "killed", 1, wait=wait)
    assert run_there(imdb, flags, tmp_path / "killed", 1) == straight


@pytest.mark.parametrize(
    ("kind", "finish"),
    [
        ("bert", run_there),
        another("bert", run_by_torchrun),  # as users start it: half a minute of imports
        *(another(kind, run_there) for kind in ("lora", "numbers", "labels")),
    ],
)
def test_two_processes_are_one_with_twice_the_accumulation_and_survive_a_kill(
    kind, finish, reviews, encoder, tmp_path
):
    """The same rows in the same steps under the same dropout; LayerNorm has no batch statistics."""
    _, flags = flags_for(kind, reviews, encoder)
    one = run_here(imdb, [*flags, "--gradient_accumulation_steps", 2], tmp_path / "one")
    kill_on_the_way(imdb, flags, tmp_path / "two", 2, wait=0.05)
    assert finish(imdb, flags, tmp_path / "two", 2) == one


@pytest.mark.parametrize("sizes", [((8, 1), (1, 8)), ((12, 1), (4, 3))], ids=str)
def test_eight_by_one_is_one_by_eight(sizes, reviews, encoder, tmp_path):
    """Accumulation is exact up to rounding; no dropout here.

    An epoch's last window is shorter, and with 4 rows its two micro-batches have 4 and 2.
    """
    module, flags = flags_for("bert", reviews, encoder)
    flags += ["--config_overrides", "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"]
    flags += ["--train_sampling_strategy", "random"]  # grouping sorts more rows where batches are larger
    weights = []
    at = flags.index("--per_device_train_batch_size") + 1
    for rows, accumulation in sizes:
        run_dir = tmp_path / f"{rows}x{accumulation}"
        flags[at] = rows
        size = ["--gradient_accumulation_steps", accumulation]
        run_here(module, [*flags, *size, "--optim", "sgd", "--learning_rate", 0.1], run_dir)
        weights.append(load_file(run_dir / "model.safetensors"))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=1e-5, msg=name)
    assert not np.isnan(value.numpy()).any()


def test_precision_and_device_are_those_that_a_run_began_with(reviews, tmp_path, monkeypatch, capsys):
    """Also where it goes on on a machine that would choose another one."""
    flags = small_textcnn(reviews, max_steps=4, save_steps=2)
    del flags[flags.index("--bf16") : flags.index("--bf16") + 2]
    monkeypatch.setattr("hftune.training.precision._fast_on", lambda device: ("no", "it is slow"))
    straight = run_here(imdb_textcnn, flags, tmp_path / "straight")
    record = json.loads((tmp_path / "straight/run.json").read_text())
    assert (record["precision"], record["device"][:5]) == ("no", "cpu: ")

    monkeypatch.setattr("hftune.training.precision._fast_on", lambda device: ("bf16", "it is fast"))
    start_from(tmp_path / "straight", tmp_path / "resumed", 2)
    assert run_here(imdb_textcnn, flags, tmp_path / "resumed") == straight
    assert "precision: no on cpu, because the run began with it" in capsys.readouterr().out

    monkeypatch.setattr("hftune.training.state.device_name", lambda device: "cpu: another")
    elsewhere = [*flags, "--resume_from_checkpoint", tmp_path / "straight/checkpoint-2"]
    run_recipe(imdb_textcnn.recipe, elsewhere, tmp_path / "elsewhere")
    said = capsys.readouterr().out
    assert f"this run was on {record['device']}, now it is on cpu: another: the last bits" in " ".join(
        said.split()
    )
    assert tensor_digest(load_file(tmp_path / "elsewhere/model.safetensors")) == tensor_digest(
        load_file(tmp_path / "straight/model.safetensors")
    )

    for place in (tmp_path / "straight/checkpoint-2", tmp_path / "lonely/checkpoint-2"):
        (tmp_path / "lonely").mkdir(exist_ok=True)
        if not place.exists():  # a checkpoint without its run.json
            shutil.copytree(tmp_path / "straight/checkpoint-2", place)
        other = ["--bf16", "true", "--resume_from_checkpoint", place]
        with pytest.raises(BadInput, match="precision no"):
            run_recipe(imdb_textcnn.recipe, [*flags, *other], tmp_path / f"other-{place.parent.name}")
