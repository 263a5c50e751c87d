"""Draws the built-in images of shapes, so that a fresh clone trains on images without a Hub.

A shape of any size, place, angle and colour lies on a cloudy, noisy ground that is as often lighter
than it as darker, with a line and a speck that mean nothing. No pixel is brighter in one class than in
another, so a linear model of the pixels learns little; edges and corners say it all.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from numpy.random import Generator
from PIL import Image

from hftune.seed import generator

ROWS = {"train": 1200, "validation": 240, "test": 480}
SIDE = 48  # pixels
_STEPS = np.arange(SIDE) + 0.5  # centres of the pixels


def _circle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return np.sqrt(x * x + y * y) - 0.9 * r


def _square(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.78 * r


def _triangle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return np.max(_along(x, y, corners=3), axis=0) - 0.58 * r


def _star(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """A pentagram is what lies on the inner side of at least four of its five lines."""
    return np.sort(_along(x, y, corners=5), axis=0)[-2] - 0.36 * r


def _cross(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    upright = np.maximum(abs(x) - 0.32 * r, abs(y) - r)
    across = np.maximum(abs(x) - r, abs(y) - 0.32 * r)
    return np.minimum(upright, across)


def _ring(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    return abs(np.sqrt(x * x + y * y) - 0.72 * r) - 0.22 * r


def _along(x: np.ndarray, y: np.ndarray, corners: int) -> np.ndarray:
    """Returns each point's distance from the centre along the normal of each line, (corners, H, W)."""
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    return np.stack([x * math.cos(turn) + y * math.sin(turn) for turn in turns])


# From points (relative to the centre, turned) and a radius in pixels to distances from the outline,
# negative inside.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}


def load_shapes(seed: int = 0) -> DatasetDict:
    """Returns images of shapes that are a pure function of a seed.

    Args:
        seed: Which images; the default is the one that recipes train on.

    Returns:
        Splits train, validation and test with columns image (48 x 48 RGB, PNG), label (see
        `SHAPES`): all labels equally often in each split, and size: the shape's radius in pixels.
    """
    names = list(SHAPES)
    features = Features(image=ImageFeature(), label=ClassLabel(names=names), size=Value("float64"))
    splits = DatasetDict()
    for split, rows in ROWS.items():
        labels = [row % len(names) for row in range(rows)]
        drawn = [
            draw(names[label], generator("shapes", seed, split, row)) for row, label in enumerate(labels)
        ]
        images = [{"bytes": _png(image), "path": None} for image, _ in drawn]
        sizes = [size for _, size in drawn]
        columns = {"image": images, "label": labels, "size": sizes}
        splits[split] = Dataset.from_dict(columns, features=features)
    return splits


def draw(name: str, rng: Generator) -> tuple[np.ndarray, float]:
    """Draws one shape.

    Args:
        name: A key of `SHAPES`.
        rng: Only its uniform numbers are used: their bits are the same on every machine.

    Returns:
        uint8 of shape (48, 48, 3), and the shape's radius in pixels.
    """
    ground, paint = _colours(rng)
    image = ground + _clouds(rng, strength=50)
    image = _over(image, _line(rng), rng.uniform(0, 255, 3))
    radius = rng.uniform(9, 17)
    shape, speck = _placed(rng, SHAPES[name], radius), _placed(rng, _circle, rng.uniform(1.5, 3))
    image = _over(image, shape, paint + _clouds(rng, strength=40))
    image = _over(image, speck, rng.uniform(0, 255, 3))
    image += rng.uniform(-25, 25, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), radius


def _colours(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the colours of the ground and of the shape until they are far apart."""
    while True:
        ground, paint = rng.uniform(20, 235, (2, 3))
        if abs(ground - paint).sum() > 200:
            return ground, paint


def _clouds(rng: Generator, strength: float) -> np.ndarray:
    """Returns random colours on a 5 x 5 grid, interpolated to (48, 48, 3)."""
    knots = rng.uniform(-strength, strength, (5, 5, 3))
    place = np.linspace(0, 4, SIDE)
    low = np.minimum(place.astype(int), 3)
    share = (place - low)[:, None, None]
    rows = knots[low] * (1 - share) + knots[low + 1] * share  # (48, 5, 3)
    share = share.reshape(1, SIDE, 1)
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _placed(rng: Generator, distance: Callable, radius: float) -> np.ndarray:
    """Returns distances from the outline of a shape at a random place and angle, (48, 48)."""
    left, top = rng.uniform(radius, SIDE - radius, 2)
    turn = rng.uniform(0, 2 * math.pi)
    x, y = _STEPS[None, :] - left, _STEPS[:, None] - top
    cos, sin = math.cos(turn), math.sin(turn)
    return distance(x * cos + y * sin, y * cos - x * sin, radius)


def _line(rng: Generator) -> np.ndarray:
    """Returns distances from a line through the whole image, (48, 48)."""
    width = rng.uniform(0.6, 1.6)
    left, top = rng.uniform(0, SIDE, 2)
    turn = rng.uniform(0, math.pi)
    across = (_STEPS[None, :] - left) * math.cos(turn) + (_STEPS[:, None] - top) * math.sin(turn)
    return abs(across) - width


def _over(image: np.ndarray, distance: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """Paints what is inside an outline; a pixel on it is covered in part, which smooths the edge."""
    cover = np.clip(0.5 - distance, 0, 1)[:, :, None]
    return image * (1 - cover) + paint * cover


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    # Noise hardly shrinks, and what is not compressed has the same bytes for every version of zlib.
    Image.fromarray(image).save(file, "PNG", compress_level=0)
    return file.getvalue()
