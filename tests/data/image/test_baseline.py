"""The simple models that an image model has to beat."""

import numpy as np
import pytest

from hftune.data.image.baseline import ImageBaseline, thumbnails
from hftune.tasks.single_label import SingleLabel


def tinted(label: int, height: int, width: int, seed: int) -> np.ndarray:
    """A noisy image that is reddish for class 0 and bluish for class 1."""
    noise = np.random.default_rng(seed).integers(0, 120, (height, width, 3))
    noise[..., 2 * label] += 80
    return noise.astype(np.uint8)


@pytest.fixture(scope="module")
def images():
    sizes = np.random.default_rng(0).integers(5, 60, (80, 2))
    labels = np.arange(80) % 2
    return [
        tinted(label, *size, row) for row, (label, size) in enumerate(zip(labels, sizes, strict=True))
    ], labels


def test_colours_are_learned_and_probabilities_are_whole(images):
    images, labels = images
    simple = ImageBaseline(images[:40], images[40:])
    found = SingleLabel(("a", "b", "c")).baselines(labels[:40], 40, simple)
    assert set(found) == {"majority", "thumbnails"}
    assert (found["thumbnails"]["logits"].argmax(1) == labels[40:]).all()
    for log_probabilities in (one["logits"] for one in found.values()):
        assert log_probabilities.shape == (40, 3)  # the third class has no training row
        assert np.isfinite(log_probabilities).all()
        np.testing.assert_allclose(np.exp(log_probabilities).sum(1), 1)


def test_a_thumbnail_is_a_mean_of_pixels():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8, :, 0] = 200
    (values,) = thumbnails([image]).reshape(1, 8, 8, 3)
    assert values[:4, :, 0].min() == 200
    assert values[4:].max() == 0
