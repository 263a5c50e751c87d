"""Thresholds: their worth on rows that they were not chosen on; labels of few rows, equal answers."""

import numpy as np
import pytest
from scipy.special import expit, logit

from hftune.tasks import thresholds
from hftune.tasks.thresholds import choose_thresholds

RARE = [0.3, 0.1, 0.03, 0.01, 0.004, 0.003, 0.003, 0.002]  # shares of rows


def some(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws labels, and probabilities of a fair model of them."""
    random = np.random.default_rng(seed)
    odds = logit(RARE) + 1.5 * random.normal(size=(n, len(RARE)))
    return expit(odds), (random.random(odds.shape) < expit(odds)).astype(np.float32)


def f1_macro(chances, targets, chosen) -> float:
    given = chances > chosen
    hits = (given & (targets > 0)).sum(0)
    return float(np.mean(2 * hits / np.maximum(given.sum(0) + targets.sum(0), 1)))


def test_they_are_worth_more_on_new_rows_the_more_the_labels_share(monkeypatch):
    """Against a half, one for all, and each label on its own, which overfits; means over 20 draws."""
    found = {}
    new = some(20_000, 100)
    for seed in range(20):
        chances, targets = some(1500, seed)
        for rule in ("0.5", "common", "per_label"):
            chosen = choose_thresholds(chances, targets, rule)
            found.setdefault(rule, []).append(f1_macro(*new, chosen))
        with monkeypatch.context() as patch:
            patch.setattr(thresholds, "BELIEVED", 1e-9)
            patch.setattr(thresholds, "SHARED", 1e-9)
            chosen = choose_thresholds(chances, targets, "per_label")
        found.setdefault("alone", []).append(f1_macro(*new, chosen))
    mean = {rule: np.mean(values) for rule, values in found.items()}
    assert mean["0.5"] + 0.03 < mean["alone"] < mean["per_label"] - 0.005
    assert mean["0.5"] < mean["common"] < mean["per_label"]


def test_of_many_rows_the_threshold_is_the_best_one():
    """Of a fair model it is half of the highest F1 (Lipton et al. 2014)."""
    chances, targets = some(40_000, 0)
    for column, chosen in enumerate(choose_thresholds(chances, targets, "per_label")[:3]):
        one = chances[:, [column]], targets[:, [column]]
        best = max(f1_macro(*one, threshold) for threshold in np.linspace(0.01, 0.99, 99))
        assert f1_macro(*one, chosen) > best - 0.005
        assert chosen == pytest.approx(best / 2, abs=0.05)


def test_a_common_threshold_is_the_best_of_all_and_amid_equal_ones():
    chances = np.array([[0.9, 0.6], [0.8, 0.1], [0.2, 0.2], [0.1, 0.7]])
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 1]])
    first, second = choose_thresholds(chances, targets, "common")
    assert first == second
    assert first == pytest.approx(expit((logit(0.2) + logit(0.6)) / 2), abs=0.01)


def test_equal_probabilities_are_given_together_or_not_at_all():
    """As of the baseline that answers every row alike: above its share all rows are given the label."""
    chances = np.tile([0.25, 0.5], (40, 1))
    targets = np.zeros((40, 2))
    targets[:10, 0] = targets[:20, 1] = 1
    chosen = choose_thresholds(chances, targets, "per_label")
    assert (chances > chosen).all()


def test_a_label_without_validation_rows_gets_a_threshold_too():
    chances, targets = some(500, 1)
    targets[:, 3] = 0
    chosen = choose_thresholds(chances, targets, "per_label")
    assert 0 < chosen[3] < 0.3
    assert choose_thresholds(chances, np.zeros_like(targets), "per_label") == (0.5,) * len(RARE)


def test_a_model_that_is_sure_of_everything_gets_thresholds_between():
    chances = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0 - 1e-12]])
    chosen = choose_thresholds(chances, np.round(chances), "per_label")
    assert all(0 < one < 1 for one in chosen)
    assert ((chances > chosen) == np.round(chances)).all()
