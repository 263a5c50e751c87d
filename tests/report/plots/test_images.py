"""Images of mistakes, views and heat maps: the right ones in the right places."""

import numpy as np
import pytest
from PIL import Image

from hftune.data.dataset import Places
from hftune.report.plots.images import draw_mistakes, draw_overlays, draw_views
from tests.report.plots.figures import overlaps, plain, shown, visible_texts, words


def test_the_surest_mistakes_come_first(drawn, tmp_path):
    # Row:      0 right  1 wrong 0.88  2 wrong 0.98  3 right  4 wrong 0.73
    logits = np.array([[9, 0], [2, 0], [0, 4], [0, 3], [1, 0]], np.float32)
    labels = np.array([0, 1, 0, 1, 1])
    asked = []

    def image(row: int) -> np.ndarray:
        asked.append(row)
        return plain(row * 10)

    draw_mistakes(image, logits, labels, ["cat", "dog"], tmp_path / "a.png", most=2)
    assert asked == [2, 1]
    panels = drawn[0].axes
    assert [int(shown(panel)[0, 0, 0]) for panel in panels] == [20, 10]
    assert [text.get_text() for text in panels[0].texts] == ["said: dog 98%", "is: cat", "row 2"]
    assert [text.get_text() for text in panels[1].texts] == ["said: cat 88%", "is: dog", "row 1"]
    assert "3 of 5 wrong: the 2 of which the model was most sure" in words(drawn[0])


def test_a_mistake_is_named_by_its_row_and_place_in_the_data(drawn, tmp_path):
    names = [f"photos/a very long folder of many photos/{number}.png" for number in range(3)]
    places = Places(np.array([4, 7, 9]), names.__getitem__, {"image": names.__getitem__})
    logits = np.array([[9, 0], [2, 0], [0, 4]], np.float32)
    draw_mistakes(plain, logits, np.array([0, 1, 1]), ["cat", "dog"], tmp_path / "a.png", places=places)
    (panel,) = drawn[0].axes
    assert panel.texts[-1].get_text() == "row 7"
    assert panel.get_xlabel() == "…ry long folder of many photos/1.png"
    assert not overlaps(drawn[0], visible_texts(drawn[0]))


def test_equally_sure_mistakes_keep_the_order_of_rows(tmp_path):
    asked = []
    draw_mistakes(
        lambda row: asked.append(row) or plain(0),
        np.tile([[1.0, 0]], (9, 1)),
        np.ones(9, int),
        "ab",
        tmp_path / "a.png",
    )
    assert asked == list(range(9))


def test_without_mistakes_the_image_says_so(drawn, tmp_path):
    draw_mistakes(plain, np.eye(3), np.arange(3), ["a", "b", "c"], tmp_path / "a.png")
    assert words(drawn[0]) == ["No mistakes in 3 images"]
    width, height = Image.open(tmp_path / "a.png").size
    assert width > 200
    assert height > 30


def test_texts_above_images_keep_apart(drawn, tmp_path):
    names = ["MMMMMMM is a long name of a class", "another long name of another class"]
    logits = np.tile([[30.0, 0]], (24, 1))
    sizes = [(32, 32), (640, 480), (30, 300), (300, 30)]
    draw_mistakes(
        lambda row: plain(90, *sizes[row % 4]), logits, np.ones(24, int), names, tmp_path / "a.png", most=24
    )
    assert len(drawn[0].axes) == 24
    assert not overlaps(drawn[0], visible_texts(drawn[0]))


def test_large_images_are_scaled_down_before_they_are_kept(drawn, tmp_path):
    draw_mistakes(lambda row: plain(7, 3000, 4000), np.eye(2), np.array([1, 0]), "ab", tmp_path / "a.png")
    assert [shown(panel).shape for panel in drawn[0].axes] == [(192, 256, 3)] * 2


def test_views_stand_under_their_originals(drawn, tmp_path):
    originals = [plain(10), plain(20, 40, 60), plain(30)]
    views = [[plain(10 * each + depth) for depth in (1, 2)] for each in (1, 2, 3)]
    draw_views(
        originals, views, np.array([2, 0, 1]), ["dog", "eel", "cat"], tmp_path / "a.png", "light\ncrop, flip"
    )
    at = {}
    for panel in drawn[0].axes:
        left, bottom = panel.get_position(original=True).min
        at.setdefault(round(left, 3), []).append((-bottom, int(shown(panel)[0, 0, 0]), panel))
    columns = [sorted(at[left], key=lambda each: each[0]) for left in sorted(at)]
    assert [[value for _, value, _ in column] for column in columns] == [
        [10, 11, 12],
        [20, 21, 22],
        [30, 31, 32],
    ]
    assert [column[0][2].texts[0].get_text() for column in columns] == ["cat", "dog", "eel"]
    (title,) = drawn[0].texts
    assert title.get_text() == "light\ncrop, flip"
    assert title.get_position()[1] > max(panel.get_position().y1 for panel in drawn[0].axes)
    assert not overlaps(drawn[0], visible_texts(drawn[0]))


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_heat_map_lies_over_all_of_its_image(drawn, tmp_path, count):
    images = [plain(200, 300, 400)] * count
    heat = np.zeros((3, 4))
    heat[0, 3] = 1
    draw_overlays(images, [heat] * count, [f"row {n}" for n in range(count)], tmp_path / "a.png")
    panels = drawn[0].axes
    assert len(panels) == 2 * count
    for bare, overlaid in zip(panels[::2], panels[1::2], strict=True):
        assert len(bare.images) == 1
        below, above = overlaid.images
        assert np.array_equal(below.get_array(), bare.images[0].get_array())
        assert tuple(above.get_extent()) == tuple(below.get_extent())
        assert above.get_alpha()[0, 3] > above.get_alpha()[2, 0] == 0
    assert [panel.texts[0].get_text() for panel in panels[::2]] == [f"row {n}" for n in range(count)]
