"""fp16's scaler: a skipped step changes nothing, and overflows that never end are an error."""

import json

import pytest
import torch

import hftune.run
from hftune.errors import NonFiniteError
from hftune.recipes import imdb_bag
from hftune.training.log import read_log
from tests.runs import run_recipe, small_textcnn

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def scaled(monkeypatch):
    """Gives a CPU the scaler that accelerate keeps for GPUs; returns what sets its first scale."""
    scale = []
    make = hftune.run.make_accelerator

    def with_scaler(settings, precision, run_dir):
        accelerator = make(settings, "bf16", run_dir)  # whose autocast is set up as fp16's is
        accelerator.state._mixed_precision = "fp16"
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale[0])
        return accelerator

    monkeypatch.setattr(hftune.run, "make_accelerator", with_scaler)
    return scale.append


def flags(reviews, optim: str) -> list:
    """Returns a short run whose rate moves with every step that counts."""
    bag = {"config_overrides": "embedding_dim=8,num_buckets=64", "optim": optim, "max_steps": 4}
    return small_textcnn(reviews, **bag, logging_steps=1, eval_strategy="no", save_steps=2, learning_rate=0.1)


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_torch"])
def test_the_schedule_waits_for_skipped_steps(scaled, optim, reviews, tmp_path, capsys):
    scaled(2.0**120)
    run_recipe(imdb_bag.recipe, flags(reviews, optim), tmp_path / "run")
    rates = [record["learning_rate"] for record in read_log(tmp_path / "run/log.jsonl")]
    assert len(set(rates)) == 1
    assert "fp16: 4 of 4 steps overflowed and changed no weight" in capsys.readouterr().out


def test_log_has_null_where_json_has_no_word(scaled, reviews, tmp_path):
    scaled(2.0**120)
    run_recipe(imdb_bag.recipe, flags(reviews, "sgd"), tmp_path / "run")
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()

    def refuse(name: str):
        raise AssertionError(name)

    norms = [json.loads(line, parse_constant=refuse)["grad_norm"] for line in lines]
    assert norms == [None] * 4


def test_gradients_that_no_scale_makes_finite_end_the_run(scaled, reviews, tmp_path, capsys):
    """A NaN of the backward pass is taken for an overflow while the scale can still come down."""
    scaled(4.0)

    def loss(model, batch):
        found = model(**batch).loss
        return found + 0 * torch.sqrt(0 * found)  # 0, with a gradient of NaN

    with pytest.raises(NonFiniteError):
        run_recipe(imdb_bag.recipe.replace(loss=loss), flags(reviews, "adamw_torch_fused"), tmp_path / "run")
    ended = json.loads((tmp_path / "run/exit.json").read_text())
    assert ended["code"] == 3
    assert "step 3" in ended["reason"]
