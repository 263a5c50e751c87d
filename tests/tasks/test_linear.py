"""A linear model of features answers the same as a layer."""

import numpy as np
import pytest

from hftune.tasks.linear import layer_of_classes, layer_of_labels, layer_of_numbers, logistic, ridge


@pytest.fixture
def features():
    """Features of very different scales and means, float32 (60, 4)."""
    drawn = np.random.default_rng(0).normal(size=(60, 4))
    return (drawn * [1, 100, 0.01, 5] + [0, 30, 1, -2]).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_get_the_probabilities_of_the_regression(features, classes):
    targets = (features[:, 1] > 30).astype(int) + (features[:, 3] > 0) * (classes - 2)
    weights, biases = layer_of_classes(features, targets, classes)
    logits = features @ weights.T + biases
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, logistic().fit(features, targets).predict_proba(features), atol=1e-6)


def test_a_class_without_rows_is_the_least_likely(features):
    targets = np.where(features[:, 1] > 30, 2, 0)
    weights, biases = layer_of_classes(features, targets, 4)
    assert (weights[[1, 3]] == 0).all()
    assert biases[1] == biases[3] == biases.min()


def test_labels_get_their_own_regressions(features):
    targets = np.stack([features[:, 1] > 30, features[:, 3] > 0, np.ones(60)], 1).astype(np.float32)
    weights, biases = layer_of_labels(features, targets)
    chances = 1 / (1 + np.exp(-(features @ weights.T + biases)))
    for label in (0, 1):
        expected = logistic().fit(features, targets[:, label]).predict_proba(features)[:, 1]
        np.testing.assert_allclose(chances[:, label], expected, atol=1e-6)
    np.testing.assert_allclose(chances[:, 2], 61 / 62)  # all rows have it


def test_numbers_are_those_of_the_ridge(features):
    targets = features[:, 1] * 3 + 7
    weights, biases = layer_of_numbers(features, targets)
    expected = ridge().fit(features, targets).predict(features)
    np.testing.assert_allclose((features @ weights.T + biases)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("layer", [lambda *rows: layer_of_classes(*rows, 2), layer_of_numbers])
def test_features_that_vary_by_rounding_alone_have_no_say(layer):
    random = np.random.default_rng(0)
    features = random.normal(0, 0.1, (60, 5)).astype(np.float32)
    features[:, 3] = -5.960464e-08 + random.choice([0, 7e-15], 60)  # as of a dead unit of a layer norm
    features[:, 4] = 0
    weights, biases = layer(features, (features[:, 0] > 0).astype(np.int64))
    assert np.abs(weights).max() < 100
    moved = features.copy()
    moved[:, 3:] += 1e-7
    np.testing.assert_allclose(moved @ weights.T + biases, features @ weights.T + biases, atol=1e-4)
