"""Linear models of features: as baselines, and as the last layer with which a training starts."""

from typing import Self

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

INVERSE_PENALTY = 0.03  # scikit-learn's C, for features of mean 0 and variance 1
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)  # of the ridge

ROUNDING = 1e-6  # of the largest feature: what varies less does so by rounding

Layer = tuple[np.ndarray, np.ndarray]  # weights (outputs, F) and biases (outputs,), float64


class FeatureScaler(StandardScaler):
    """scikit-learn's scaler, which lets a feature that is constant but for rounding be.

    Encoders have such features: all-MiniLM-L6-v2 has three. Scaled to variance 1 they would have a weight of
    10 to the power of 13, and the model would answer by the rounding of its input.
    """

    def fit(self, X: np.ndarray, y: None = None, sample_weight: None = None) -> Self:
        """Learns means and scales of features, (N, F)."""
        super().fit(X, y, sample_weight)
        spread = np.sqrt(self.var_)
        self.scale_ = np.where(spread > ROUNDING * (np.abs(self.mean_) + spread).max(), spread, 1.0)
        return self


def logistic() -> Pipeline:
    """Returns an untrained logistic regression."""
    return make_pipeline(FeatureScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))


def ridge() -> Pipeline:
    """Returns an untrained ridge regression that chooses its penalty by itself."""
    return make_pipeline(FeatureScaler(), RidgeCV(PENALTIES))


def layer_of_classes(features: np.ndarray, targets: np.ndarray, classes: int) -> Layer:
    """Returns a logistic regression as a layer whose outputs are the logits of the classes.

    Args:
        features: float32 (N, F).
        targets: Class ids of two classes or more, int64 (N,).
        classes: How many there are. One without rows gets weights of 0 and the lowest bias.
    """
    fitted = logistic().fit(features, targets)
    weights, biases = _unscaled(fitted)
    if len(fitted.classes_) == 2:  # of which scikit-learn keeps the difference
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    every = np.zeros((classes, features.shape[1])), np.full(classes, biases.min())
    every[0][fitted.classes_], every[1][fitted.classes_] = weights, biases
    return every


def layer_of_labels(features: np.ndarray, targets: np.ndarray) -> Layer:
    """Returns logistic regressions, one for each label, as a layer.

    Args:
        features: float32 (N, F).
        targets: 0 or 1 by label, (N, C). A label that all rows share gets weights of 0.
    """
    share = (targets.sum(0) + 1) / (len(targets) + 2)
    weights, biases = np.zeros((targets.shape[1], features.shape[1])), np.log(share / (1 - share))
    for label in np.flatnonzero(targets.min(0) < targets.max(0)):
        (weights[label],), (biases[label],) = _unscaled(logistic().fit(features, targets[:, label]))
    return weights, biases


def layer_of_numbers(features: np.ndarray, targets: np.ndarray) -> Layer:
    """Returns a ridge regression as a layer of one output.

    Args:
        features: float32 (N, F).
        targets: Numbers, (N,).
    """
    weights, biases = _unscaled(ridge().fit(features, targets))
    return weights, biases


def _unscaled(fitted: Pipeline) -> Layer:
    """Returns the layer that reads features as they are, where a pipeline's model reads scaled ones."""
    scaler, model = fitted[0], fitted[-1]
    weights = np.atleast_2d(model.coef_) / scaler.scale_
    return weights, np.atleast_1d(model.intercept_) - weights @ scaler.mean_
