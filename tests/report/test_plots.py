"""The gallery: the right images and numbers in the right places, and nothing written over anything else."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from hftune.data.dataset import Places
from hftune.report import plots as gallery
from hftune.report.plots import (
    draw_confusion,
    draw_label_bars,
    draw_mistakes,
    draw_overlays,
    draw_views,
)
from hftune.tasks.base import LabelScores


def visible_texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in visible_texts(figure)]


def renderer_of(figure: Figure):
    """Lays the figure out anew: saving it moves it about."""
    figure.draw_without_rendering()
    return FigureCanvasAgg(figure).get_renderer()


def overlaps(figure: Figure, texts: list[Text]) -> list[tuple[str, str]]:
    """Pairs of upright texts whose boxes share more than a pixel."""
    renderer = renderer_of(figure)
    boxes = [(text.get_text(), text.get_window_extent(renderer).padded(-0.5)) for text in texts]
    return [(one, two) for (one, a), (two, b) in combinations(boxes, 2) if a.overlaps(b)]


def confusion_of(classes: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.diag(random.integers(50, 900, classes)) + random.integers(0, 9, (classes, classes))


def plain(colour: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def shown(panel) -> np.ndarray:
    return np.asarray(panel.images[0].get_array())


def test_cells_hold_counts_and_shares_of_their_rows(drawn, tmp_path):
    counts = np.array([[90, 10, 0], [12_345, 200_000, 0], [0, 0, 0]])
    draw_confusion(counts, ["cat", "dog", "eel"], tmp_path / "a.png")
    at = {}
    matrix = drawn[0].axes[0]
    for text in matrix.texts:
        at.setdefault(tuple(map(int, text.xy[::-1])), []).append(text.get_text())
    assert at[0, 0] == ["90", "90.0%"]
    assert at[0, 1] == ["10", "10.0%"]
    assert at[1, 0] == ["12,345", "5.8%"]
    assert at[1, 1] == ["200k", "94.2%"]
    assert at[2, 2] == ["0"]
    assert len(at) == 9
    np.testing.assert_allclose(shown(matrix)[0], [0.9, 0.1, 0])
    assert [text.get_text() for text in matrix.get_xticklabels()] == ["cat", "dog", "eel"]
    assert [text.get_text() for text in matrix.get_yticklabels()] == ["cat (100)", "dog (212,345)", "eel (0)"]
    assert "200,090 of 212,445 right (94.2%)" in words(drawn[0])


@pytest.mark.parametrize("classes", [2, 3, 10, 20, 21, 50, 100])
def test_no_name_or_number_of_a_matrix_is_written_over_another(drawn, tmp_path, classes):
    names = [f"{number} is a class with a very long name indeed" for number in range(classes)]
    draw_confusion(confusion_of(classes) * 100, names, tmp_path / "a.png")
    figure = drawn[0]
    turned = [text for text in visible_texts(figure) if text.get_rotation() % 90]
    assert not overlaps(figure, [text for text in visible_texts(figure) if text not in turned])
    assert max(Image.open(tmp_path / "a.png").size) < 3000


@pytest.mark.parametrize("classes", [2, 20])
def test_numbers_fit_their_cells(drawn, tmp_path, classes):
    draw_confusion(np.full((classes, classes), 99_999), [str(n) for n in range(classes)], tmp_path / "a.png")
    figure, matrix = drawn[0], drawn[0].axes[0]
    renderer = renderer_of(figure)
    cell = matrix.get_window_extent(renderer).width / classes
    assert max(text.get_window_extent(renderer).width for text in matrix.texts) < cell


def test_many_classes_get_a_list_of_the_most_confused_pairs(drawn, tmp_path):
    counts = np.diag(np.full(40, 90))
    counts[3, 4], counts[7, 1], counts[39, 0] = 10, 30, 10
    draw_confusion(counts, [f"k{number}" for number in range(40)], tmp_path / "a.png")
    assert not drawn[0].axes[0].texts
    pairs = drawn[0].axes[2]
    assert [text.get_text() for text in pairs.get_yticklabels()] == ["k7 → k1", "k3 → k4", "k39 → k0"]
    assert [text.get_text() for text in pairs.texts] == ["30 (25%)", "10 (10%)", "10 (10%)"]
    assert [bar.get_width() for bar in pairs.patches] == [30, 10, 10]
    assert pairs.yaxis_inverted()  # the worst on top


def test_many_classes_without_confusion(drawn, tmp_path):
    draw_confusion(np.diag(np.full(30, 5)), [str(n) for n in range(30)], tmp_path / "a.png")
    assert "No confusion" in words(drawn[0])


def test_a_thousand_classes_are_a_image_of_those_confused_most(drawn, tmp_path):
    counts = np.diag(np.full(1000, 9))
    counts[7, 900] = 50
    draw_confusion(counts, [f"class{number:03}" for number in range(1000)], tmp_path / "a.png")
    width, height = Image.open(tmp_path / "a.png").size
    assert width * height < 4e6
    matrix = drawn[0].axes[0]
    names = [text.get_text() for text in matrix.get_yticklabels()]
    assert len(names) == 61
    assert names[7] == "class007 (59)"
    assert names[-2:] == ["class900 (9)", "940 others (8,460)"]
    assert "9,000 of 9,050 right" in matrix.get_title()
    assert "the others summed up" in matrix.get_title()
    assert "class007 → class900" in words(drawn[0])


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


@pytest.mark.filterwarnings("error:Glyph")
def test_names_that_no_font_has_are_told_apart(drawn, tmp_path):
    names = ["naïve $5 and $6", "нет", "\U0001f600\uf8ff", "\uf8fe"]  # the last two are private: in no font
    draw_confusion(confusion_of(4), names, tmp_path / "a.png")
    columns = [text.get_text() for text in drawn[0].axes[0].get_xticklabels()]
    assert columns == ["naïve $5 and $6", "нет", "class 2", "class 3"]
    assert not any(text.get_parse_math() for text in drawn[0].axes[0].get_xticklabels())  # $ is a dollar
    draw_views([plain(0)], [[plain(1)]], np.array([1]), ["cat", "eel \uf8fe"], tmp_path / "b.png", "\uf8ff")
    assert {"class 1", "<U+F8FF>"} <= set(words(drawn[1]))


def test_fonts_are_those_that_are_installed():
    assert gallery.FONTS[0] == gallery._fonts()[0][0] == "DejaVu Sans"  # comes with matplotlib


def test_long_names_keep_both_ends(drawn, tmp_path):
    names = ["card payment fee charged abroad", "card payment fee charged twice"]
    draw_confusion(confusion_of(2), names, tmp_path / "a.png")
    columns = [text.get_text() for text in drawn[0].axes[0].get_xticklabels()]
    assert all(len(name) == 24 and "…" in name for name in columns)
    assert len(set(columns)) == 2


def label_scores(count: int) -> list[LabelScores]:
    found = [LabelScores(f"label {n}", 0.5, 0.5, (n + 1) / (count + 2), 10 + n) for n in range(count)]
    found[3] = LabelScores("lost", float("nan"), 0.0, 0.0, 7)
    found[4] = LabelScores("nowhere", float("nan"), float("nan"), float("nan"), 0)
    return found


def test_bars_of_labels_stand_in_order_and_name_what_is_never_given(drawn, tmp_path):
    scores = label_scores(12)
    limits = np.array([[0.5 * np.nan_to_num(one.f1), 0.9] for one in scores])
    draw_label_bars(scores, limits, tmp_path / "labels.png")
    (figure,) = drawn
    said = words(figure)
    assert "nowhere (0)" not in said
    assert said.count("never given") == 1
    ticks = [text for text in said if text.startswith(("label", "lost"))]
    assert ticks[0] == "label 11 (21)"
    assert ticks[-1] == "lost (7)"
    known = [one.f1 for one in scores if one.rows]
    assert any(text == f"F1 of each label, {np.mean(known):.3f} on average" for text in said)
    assert not overlaps(figure, visible_texts(figure))


@pytest.mark.parametrize("rows", [0, 5])
def test_of_very_many_labels_the_weakest_are_drawn_and_of_none_nothing(rows, drawn, tmp_path):
    scores = [one._replace(rows=rows) for one in label_scores(90)]
    draw_label_bars(scores, np.zeros((90, 2)), tmp_path / "labels.png")
    said = words(drawn[0])
    assert sum(text.endswith(f"({rows})") for text in said) == (60 if rows else 0)
    assert any("60 of 90 labels, the weakest" in text for text in said) == bool(rows)
