import hashlib
import io

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from hftune.data.image.sample import ROWS, SHAPES, SIDE, draw, load_shapes
from hftune.seed import generator


@pytest.fixture(scope="module")
def shapes():
    return load_shapes()


def pixels(rows) -> np.ndarray:
    return np.stack([np.asarray(row) for row in rows["image"]])


def test_splits_are_balanced_and_typed(shapes):
    assert {split: len(rows) for split, rows in shapes.items()} == {
        "train": 1200,
        "validation": 240,
        "test": 480,
    }
    for split, rows in shapes.items():
        assert rows.features["label"].names == ["circle", "square", "triangle", "star", "cross", "ring"]
        assert np.bincount(rows["label"]).tolist() == [ROWS[split] // 6] * 6


def test_images_are_rgb_png_files(shapes):
    for rows in shapes.values():
        for image in rows.with_format("arrow")[:]["image"].to_pylist()[:20]:
            assert image["path"] is None
            with Image.open(io.BytesIO(image["bytes"])) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "RGB", (SIDE, SIDE))


def test_images_are_the_same_on_every_machine(shapes):
    """Scores of recipes are compared across machines; a change of the drawing changes them all."""
    digest = hashlib.sha256(b"".join(pixels(shapes[split]).tobytes() for split in ROWS))
    assert digest.hexdigest() == "d511a154f51bf49deef7fe0c42fd946baddfe5fa90f0ca7752b1510bfedc595d"


def test_the_seed_decides_and_no_image_is_drawn_twice(shapes):
    assert np.array_equal(draw("star", generator("x", 1))[0], draw("star", generator("x", 1))[0])
    assert not np.array_equal(draw("star", generator("x", 1))[0], draw("star", generator("x", 2))[0])
    distinct = {image.tobytes() for rows in shapes.values() for image in pixels(rows)}
    assert len(distinct) == sum(ROWS.values())


AREAS = {"circle": 2.54, "square": 2.43, "triangle": 1.75, "cross": 2.15, "ring": 1.99}  # radius squared


@pytest.mark.parametrize(("name", "area"), AREAS.items())
def test_shapes_cover_the_area_that_geometry_says(name, area):
    place = np.linspace(-1.5, 1.5, 600)
    inside = SHAPES[name](place[None, :].repeat(600, 0) * 20, place[:, None].repeat(600, 1) * 20, 20.0) < 0
    assert inside.mean() * 9 == pytest.approx(area, rel=0.02)


def test_a_star_has_five_points_and_a_narrow_waist():
    turns = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    reach = np.array([_reach(np.cos(turn), np.sin(turn)) for turn in turns])
    peaks = (reach > np.roll(reach, 1)) & (reach >= np.roll(reach, -1))
    assert peaks.sum() == 5
    assert reach.max() > 2 * reach.min()


def _reach(cos: float, sin: float) -> float:
    distances = np.linspace(0.1, 30, 600)
    inside = SHAPES["star"](distances * cos, distances * sin, 20.0) < 0
    return float(distances[inside].max())


def test_colours_and_single_pixels_tell_little(shapes):
    train, test = (pixels(shapes[split]).reshape(len(shapes[split]), -1) / 255 for split in ("train", "test"))
    model = LogisticRegression(C=1e-3, max_iter=30, tol=1e-2).fit(train, shapes["train"]["label"])
    assert model.score(test, shapes["test"]["label"]) < 0.35
    means = train.reshape(len(train), -1, 3).mean(axis=1)
    by_class = np.array(
        [means[np.array(shapes["train"]["label"]) == label].mean(axis=0) for label in range(6)]
    )
    assert by_class.std(axis=0).max() < 0.03


def test_shapes_are_seen_against_their_ground():
    """The same scene with another shape differs where the shapes do, and by much."""
    for address in range(20):
        ring, circle = (draw(name, generator("scene", address))[0].astype(int) for name in ("ring", "circle"))
        changed = abs(ring - circle).sum(axis=2)
        assert 30 < (changed > 100).sum() < SIDE * SIDE / 2
        assert (changed == 0).mean() > 0.5
