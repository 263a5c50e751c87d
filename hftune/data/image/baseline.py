"""What an image model has to beat: the majority class, and logistic regression on thumbnails."""

from collections.abc import Iterable

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hftune.data.baselines import floor_log_probabilities

SIDE = 8  # pixels: colours and where they are, no more
INVERSE_PENALTY = 0.01  # scikit-learn's C


def predict_floor(
    train: Iterable[np.ndarray], labels: np.ndarray, test: Iterable[np.ndarray], num_labels: int
) -> dict[str, np.ndarray]:
    """Trains the floor on the training pictures and predicts the test pictures.

    Args:
        train: N pictures, uint8 (H, W, 3) of any size.
        labels: (N,) int in [0, C).
        test: n pictures.
        num_labels: Number of classes C.

    Returns:
        Log-probabilities, (n, C) float64 each, by name: `majority` (frequencies in training) and
        `thumbnails` (logistic regression on the 192 standardised values of 8 x 8 pixels).
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=500))
    classifier.fit(thumbnails(train), labels)
    predicted = classifier.predict_proba(thumbnails(test))
    probabilities = np.zeros((len(predicted), num_labels))
    probabilities[:, classifier[-1].classes_] = predicted
    return floor_log_probabilities(labels, num_labels, {"thumbnails": probabilities})


def thumbnails(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Returns 8 x 8 pixels of each picture, float32 (N, 192)."""
    small = [
        np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX))
        for picture in pictures
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)
