"""Rows with several labels each: every label keeps its share, and has rows on both sides where it can."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hftune.data.stratify import sample_of_labels


def rare_and_common(rows: int = 3000, seed: int = 0) -> np.ndarray:
    """Draws 20 labels of which the rarest has 3 rows; they come together."""
    random = np.random.default_rng(seed)
    shares = np.geomspace(0.4, 0.002, 20)
    labels = random.random((rows, 20)) < shares * random.gamma(2, 0.5, (rows, 1))
    labels[:, -1] = False
    labels[random.choice(rows, 3, replace=False), -1] = True
    return labels


def test_every_label_keeps_its_share_much_closer_than_by_chance():
    labels = rare_and_common()
    chosen = sample_of_labels(labels, 300, 1, "test", 1)
    assert len(chosen) == 300
    wanted = labels.sum(0) / 10
    off = abs(labels[chosen].sum(0) - wanted)
    assert (off[wanted >= 1] <= np.maximum(1, 0.02 * wanted[wanted >= 1])).all()
    by_chance = np.random.default_rng(0).permutation(len(labels))[:300]
    assert off.mean() < 0.3 * abs(labels[by_chance].sum(0) - wanted).mean()


def test_a_label_of_two_rows_is_on_both_sides_and_of_one_stays_behind():
    labels = np.zeros((50, 3), bool)
    labels[:, 0] = True
    labels[[3, 40], 1] = True
    labels[7, 2] = True
    for seed in range(10):
        chosen = sample_of_labels(labels, 5, 1, "test", seed)
        assert len(chosen) == 5
        assert labels[chosen].sum(0).tolist() == [5, 1, 0]


@given(
    shares=st.lists(st.floats(0, 0.7), min_size=1, max_size=6),
    rows=st.integers(0, 40),
    part=st.floats(0, 1),
    leave=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_rows_are_chosen_once_and_enough_stay_behind(shares, rows, part, leave, seed):
    labels = np.random.default_rng(seed).random((rows, len(shares))) < shares
    count = round(part * rows)
    chosen = sample_of_labels(labels, count, leave, "test", seed)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) == count if leave == 0 else len(chosen) <= count
    rest = np.setdiff1d(np.arange(rows), chosen)
    assert (labels[rest].sum(0) >= np.minimum(leave, labels.sum(0))).all()


def test_the_address_decides():
    labels = rare_and_common(500)
    first, again, other = (sample_of_labels(labels, 50, 1, "split", seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
