"""A simple model of images, to compare with: logistic regression on thumbnails."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from hftune.data.image.rows import Images

SIDE = 8  # pixels: colours and where they are, no more
INVERSE_PENALTY = 0.01  # scikit-learn's C
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)  # of the ridge


@dataclass(frozen=True)
class ImageBaseline:
    """The 192 standardised values of 8 x 8 pixels.

    Args:
        train: N images, uint8 (H, W, 3) of any size.
        test: n images.
        validation: The images that `with_validation` needs.
    """

    train: Images
    test: Images
    validation: Images = ()
    name = "thumbnails"

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the thumbnails of the training and test images, (N, 192) and (n, 192) float32."""
        return thumbnails(_each(self.train)), thumbnails(_each(self.test))

    def with_validation(self) -> Self:
        """Returns the same model, whose test images are the validation images followed by the test images."""
        return replace(self, test=_Joined(self.validation, self.test))

    def estimator(self) -> Pipeline:
        """Returns an untrained logistic regression."""
        return make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=500))

    def regressor(self) -> Pipeline:
        """Returns an untrained ridge regression that chooses its penalty by itself."""
        return make_pipeline(StandardScaler(), RidgeCV(PENALTIES))


@dataclass(frozen=True)
class _Joined:
    """The images of one set, and behind them those of another."""

    first: Images
    second: Images

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, row: int) -> np.ndarray:
        behind = row - len(self.first)
        return self.first[row] if behind < 0 else self.second[behind]


def _each(images: Images) -> Iterator[np.ndarray]:
    return (images[row] for row in range(len(images)))


def thumbnails(images: Iterable[np.ndarray]) -> np.ndarray:
    """Returns 8 x 8 pixels of each image, float32 (N, 192)."""
    small = [
        np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)) for image in images
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)
