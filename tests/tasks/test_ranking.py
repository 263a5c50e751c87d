"""The ranking of scores from bounded counts, whatever their order."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hftune.tasks.ranking import RankingSketch


def test_sketch_is_exact_up_to_its_limit_and_close_beyond():
    random = np.random.default_rng(0)
    positive = random.random(5000) < 0.3
    scores = random.normal(size=5000).astype(np.float32) + positive
    exact, small = RankingSketch(), RankingSketch(limit=256)
    for sketch in (exact, small):
        sketch.update(scores, positive)
    assert exact.dropped == 0
    assert exact.auc() == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert small.dropped > 0
    assert 100 < len(small.cells()) <= 256
    assert small.auc() == pytest.approx(exact.auc(), abs=2e-4)


@pytest.mark.parametrize("cut", [0, 3, 30, 57, 60])
def test_sketch_beyond_its_limit_does_not_depend_on_order(cut):
    random = np.random.default_rng(cut)
    scores, positive = random.normal(size=60) * 10.0 ** random.integers(-3, 3, 60), random.random(60) < 0.5

    def sketch_of(rows):
        sketch = RankingSketch(limit=8)
        for row in rows:
            sketch.update(scores[[row]], positive[[row]])
        return sketch

    shuffled = random.permutation(60)
    whole, merged, other = sketch_of(range(60)), sketch_of(shuffled[:cut]), sketch_of(shuffled[cut:])
    merged.merge(other.cells(), other.dropped)
    np.testing.assert_array_equal(merged.cells(), whole.cells())
    assert merged.dropped == whole.dropped > 0


def test_negative_and_positive_zero_tie():
    sketch = RankingSketch()
    sketch.update(np.array([0.0, -0.0]), np.array([True, False]))
    assert sketch.auc() == 0.5
