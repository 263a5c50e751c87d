"""Images of predicted numbers: every point in its place, and the furthest off named."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from hftune.data.dataset import Places
from hftune.report.plots.scatter import draw_furthest, draw_scatter


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def test_each_answer_stands_above_the_true_number(drawn, tmp_path):
    targets = np.arange(8.0)
    numbers = targets + np.array([0, 0.5, -4, 0, 0, 3, 0, 0])
    draw_scatter(numbers, targets, "$price", 1.0, "{:.4g}".format, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (800, 700)
    (panel,) = drawn[0].axes
    points = panel.collections[1].get_offsets()
    np.testing.assert_array_equal(points, np.stack([targets, numbers], axis=1))
    said = words(drawn[0])
    assert {"8 test rows, RMSE 1.777", "true $price", "prediction", "right", "90 % interval"} <= {*said}
    assert [word for word in said if word.startswith("row ")] == ["row 2", "row 5", "row 1"]


@pytest.mark.parametrize(
    ("numbers", "targets"),
    [([2.0], [2.0]), ([2.7, 2.7], [1.0, 3.0]), ([], []), (np.zeros(5000), np.linspace(0, 1e9, 5000))],
)
def test_few_many_or_equal_numbers_are_drawn_too(numbers, targets, tmp_path):
    draw_scatter(np.array(numbers), np.array(targets), "score", None, str, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (800, 700)


def test_the_images_furthest_off_come_first(drawn, tmp_path):
    asked = []

    def image(row: int) -> np.ndarray:
        asked.append(row)
        return np.full((8, 8, 3), row, np.uint8)

    places = Places(np.array([5, 7, 9]), ["a.png", "b.png", "c.png"].__getitem__, {})
    draw_furthest(
        image, np.array([1.0, 2, 3]), np.array([1.0, 12, -1]), "{:g}".format, tmp_path / "a.png", places
    )
    assert asked == [1, 2, 0]
    texts = [[text.get_text() for text in panel.texts] for panel in drawn[0].axes]
    assert texts[0] == ["said: 2", "is: 12", "row 7"]
    assert drawn[0].axes[0].get_xlabel() == "b.png"
    assert "The 3 of 3 images that are furthest off" in words(drawn[0])
