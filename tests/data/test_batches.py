"""The plan of batches: every row once, shares that add up, and the same rows wherever a run starts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.data.batches import BatchPlan, by_length
from hftune.errors import BadInput


def make_plan(lengths, **changes) -> BatchPlan:
    values = {
        "rows_per_batch": 4,
        "tokens_per_batch": None,
        "micro_batches_per_step": 1,
        "processes": 1,
        "group_by_length": True,
        "seed": 42,
    }
    return BatchPlan(lengths=np.asarray(lengths, np.int64), **{**values, **changes})


BUDGETS = st.integers(8, 200)
ANY_BUDGET, EITHER = st.none() | BUDGETS, st.booleans()


@st.composite
def plans(draw, least_rows=1, budget=ANY_BUDGET, group_by_length=EITHER):
    processes = draw(st.integers(1, 3))
    return make_plan(
        draw(st.lists(st.integers(1, 40), min_size=least_rows, max_size=120)),
        rows_per_batch=draw(st.integers(least_rows, 9)),
        tokens_per_batch=draw(budget),
        micro_batches_per_step=processes * draw(st.integers(1, 4)),
        processes=processes,
        group_by_length=draw(group_by_length),
        seed=draw(st.integers(0, 5)),
        least_rows=least_rows,
    )


def rows_of(step) -> list[list[int]]:
    return [micro.rows.tolist() for micro in step.micro_batches]


def reviews(n: int) -> np.ndarray:
    """Lengths spread like those of film reviews."""
    return np.random.default_rng(0).lognormal(5, 0.6, n).clip(8, 512).astype(np.int64)


@given(plans(least_rows=2), st.integers(0, 2))
def test_no_batch_has_fewer_rows_than_the_model_needs(plan, epoch):
    """Those that keep the processes in step neither."""
    rows = [len(micro.rows) for step in plan.epoch(epoch) for micro in step]
    assert min(rows) >= 2


def test_a_last_single_row_joins_the_batch_before_it():
    usual, joined = (
        make_plan([1] * 17, rows_per_batch=8, group_by_length=False, least_rows=n) for n in (1, 2)
    )
    assert [len(rows) for rows in usual.batches(0)] == [8, 8, 1]
    assert [len(rows) for rows in joined.batches(0)] == [8, 9]
    assert np.concatenate(usual.batches(0)).tolist() == np.concatenate(joined.batches(0)).tolist()


def test_batches_that_cannot_have_enough_rows_are_refused():
    with pytest.raises(BadInput, match="--per_device_train_batch_size 1: the model's BatchNorm needs 2 rows"):
        make_plan([1] * 4, rows_per_batch=1, least_rows=2)
    with pytest.raises(BadInput, match="1 training rows: the model's BatchNorm needs 2"):
        make_plan([1], least_rows=2)


@given(plans(), st.integers(0, 3))
def test_every_row_counts_once_per_epoch(plan, epoch):
    steps = plan.epoch(epoch)
    rows = [row for step in steps for micro in step if micro.share for row in micro.rows]
    assert sorted(rows) == list(range(len(plan.lengths)))


@given(plans())
def test_batches_keep_to_their_size(plan):
    for rows in plan.batches(0):
        assert len(rows) >= 1
        if plan.tokens_per_batch is None:
            assert len(rows) <= plan.rows_per_batch
        else:
            assert len(rows) == 1 or plan.lengths[rows].max() * len(rows) <= plan.tokens_per_batch


@given(plans(budget=BUDGETS, group_by_length=st.just(False)))
def test_a_token_budget_is_used_up(plan):
    """No batch could have taken in the row that follows it, where the order is known."""
    batches = plan.batches(0)
    for rows, following in pairwise(batches):
        longest = max(plan.lengths[rows].max(), plan.lengths[following[0]])
        assert longest * (len(rows) + 1) > plan.tokens_per_batch


@given(plans())
def test_a_steps_shares_are_its_rows_and_sum_to_one(plan):
    for step in plan.steps(0, 2 * len(plan.epoch(0))):
        micro_batches = step.micro_batches
        assert sum(micro.share for micro in micro_batches) == pytest.approx(1)
        assert len(micro_batches) <= plan.micro_batches_per_step
        assert len(micro_batches) % plan.processes == 0
        assert [micro.index for micro in micro_batches] == list(range(len(micro_batches)))
        for micro in micro_batches:
            assert len(micro.rows) >= 1
            assert micro.share in (0, len(micro.rows) / step.rows)


@given(plans(), st.data())
def test_steps_from_anywhere_are_the_tail_of_all_steps(plan, data):
    last = data.draw(st.integers(1, 3 * len(plan.epoch(0)) + 1))
    first = data.draw(st.integers(0, last))
    every = list(plan.steps(0, last))
    assert [step.number for step in every] == list(range(last))
    tail = list(plan.steps(first, last))
    assert [step.number for step in tail] == list(range(first, last))
    for here, there in zip(tail, every[first:], strict=True):
        assert rows_of(here) == rows_of(there)
        assert (here.epoch, here.epochs_done) == (there.epoch, there.epochs_done)


@given(plans(), st.integers(1, 4))
def test_two_processes_see_the_rows_of_one_with_twice_the_micro_batches(plan, accumulation):
    shared = {"rows_per_batch": plan.rows_per_batch, "tokens_per_batch": plan.tokens_per_batch}
    shared |= {"group_by_length": plan.group_by_length, "seed": plan.seed}
    one = make_plan(plan.lengths, **shared, micro_batches_per_step=2 * accumulation, processes=1)
    two = make_plan(plan.lengths, **shared, micro_batches_per_step=2 * accumulation, processes=2)
    last = 2 * len(one.epoch(0))
    for alone, together in zip(one.steps(0, last), two.steps(0, last), strict=True):
        counting = [micro for micro in together.micro_batches if micro.share]
        assert [micro.rows.tolist() for micro in counting] == rows_of(alone)
        assert [micro.share for micro in counting] == [micro.share for micro in alone.micro_batches]
        assert [micro.index for micro in counting] == [micro.index for micro in alone.micro_batches]
        assert together.rows == alone.rows


@pytest.mark.parametrize("grouped", [True, False])
def test_epochs_and_seeds_differ_and_a_seed_repeats(grouped):
    lengths = reviews(300)
    plan, again, other = (make_plan(lengths, group_by_length=grouped, seed=seed) for seed in (1, 1, 2))

    def order(plan, epoch):
        return np.concatenate(plan.batches(epoch)).tolist()

    assert order(plan, 0) == order(again, 0)
    assert order(plan, 3) == order(again, 3)
    assert order(plan, 0) != order(plan, 1)
    assert order(plan, 0) != order(other, 0)


def test_grouped_batches_hold_little_padding_but_not_always_the_same_rows():
    lengths = reviews(3200)
    grouped, random = (
        make_plan(lengths, rows_per_batch=16, group_by_length=grouped) for grouped in (True, False)
    )
    assert grouped.padding_share() < 0.1
    assert random.padding_share() > 0.4
    padded = sum(lengths[rows].max() * len(rows) for rows in random.batches(0))
    assert random.padding_share() == pytest.approx(1 - lengths.sum() / padded)
    together = [{frozenset(rows.tolist()) for rows in grouped.batches(epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < len(together[0]) / 20


def test_long_batches_come_at_any_time():
    """Sorted within a chunk and then shuffled: else every epoch would begin with its longest texts."""
    lengths = reviews(640)
    plan = make_plan(lengths, rows_per_batch=16)
    places = [int(np.argmax([lengths[rows].max() for rows in plan.batches(epoch)])) for epoch in range(8)]
    assert len(set(places)) > 4


def test_a_token_budget_makes_small_batches_of_long_rows():
    plan = make_plan([100] * 10 + [10] * 100, tokens_per_batch=200)
    sizes = {(plan.lengths[rows].max(), len(rows)) for rows in plan.batches(0)}
    assert (100, 2) in sizes
    assert (10, 20) in sizes


def test_a_row_above_the_budget_is_a_batch_of_its_own():
    plan = make_plan([500, 3, 3, 3], tokens_per_batch=8)
    assert [0] in [rows.tolist() for rows in plan.batches(0)]


@pytest.mark.parametrize(
    ("epochs", "ends"), [(1, [10]), (3, [10, 20, 30]), (2.5, [10, 20, 25]), (0.3, [3]), (0.01, [1])]
)
def test_epoch_ends_count_steps_and_parts_of_epochs(epochs, ends):
    plan = make_plan([1] * 20, rows_per_batch=1, micro_batches_per_step=2)
    assert plan.epoch_ends(epochs) == ends


def test_epochs_of_steps_and_steps_of_epochs_agree():
    plan = make_plan(reviews(90), tokens_per_batch=700, micro_batches_per_step=3)
    for epoch, end in enumerate(plan.epoch_ends(4)):
        assert plan.epochs(end) == epoch + 1
    last = plan.epoch_ends(4)[-1]
    for step in plan.steps(0, last):
        assert plan.epochs(step.number + 1) == pytest.approx(step.epochs_done, abs=1e-4)
    assert plan.epochs(0) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(1, 70))
def test_by_length_covers_all_rows_longest_first(lengths, rows_per_batch):
    lengths = np.array(lengths)
    batches = by_length(lengths, rows_per_batch)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()
    assert all(1 <= len(rows) <= rows_per_batch for rows in batches)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "4 rows"),
        ({"micro_batches_per_step": 3}, "4 rows x 3 accumulated = 12"),
        ({"micro_batches_per_step": 8, "processes": 4}, "4 rows x 2 accumulated x 4 processes = 32"),
        (
            {"tokens_per_batch": 2048, "micro_batches_per_step": 2, "processes": 2},
            "2,048 tokens x 2 processes = 4,096",
        ),
    ],
)
def test_the_size_of_a_step_is_said(changes, said):
    """A recipe that starts on eight GPUs has batches of eight times the rows."""
    assert make_plan([1] * 9, **changes).describe() == said
