"""Which steps evaluate, save and log, as the settings say it in steps, shares or epochs."""

import numpy as np
import pytest

from hftune.data.batches import BatchPlan
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.training.schedule import Schedule

PLAN = BatchPlan(  # 5 steps an epoch
    lengths=np.ones(10, np.int64),
    rows_per_batch=2,
    tokens_per_batch=None,
    micro_batches_per_step=1,
    processes=1,
    group_by_length=False,
    seed=1,
)
WITHOUT_BEST = {"load_best_model_at_end": False}


@pytest.mark.parametrize(
    ("changes", "total", "eval_at", "save_at", "log_every"),
    [
        ({}, 20, {5, 10, 15, 20}, {5, 10, 15, 20}, 1),
        ({"max_steps": 12, "logging_steps": 0.25}, 12, {5, 10, 12}, {5, 10, 12}, 3),
        ({"num_train_epochs": 2.5, "logging_steps": 7}, 12, {5, 10, 12}, {5, 10, 12}, 7),
        ({"eval_strategy": "steps", "eval_steps": 8}, 20, {8, 16, 20}, {5, 10, 15, 20}, 1),
        ({"save_strategy": "steps", "save_steps": 0.5}, 20, {5, 10, 15, 20}, {10, 20}, 1),
        ({"save_strategy": "no", **WITHOUT_BEST}, 20, {5, 10, 15, 20}, set(), 1),
        ({"eval_strategy": "no", **WITHOUT_BEST}, 20, set(), {5, 10, 15, 20}, 1),
    ],
)
def test_the_steps_are_those_that_the_settings_ask_for(changes, total, eval_at, save_at, log_every):
    schedule = Schedule.of(TextSettings(**({"num_train_epochs": 4.0} | changes)), PLAN)
    assert (schedule.total_steps, schedule.lr_steps, schedule.log_every) == (total, total, log_every)
    assert (schedule.eval_at, schedule.save_at) == (eval_at, save_at)


def test_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(BadInput, match="--warmup_steps 20: must be below the run's 20 steps"):
        Schedule.of(TextSettings(num_train_epochs=4.0, warmup_steps=20), PLAN)
