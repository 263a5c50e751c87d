"""Confusion matrices: the right numbers in the right cells, and nothing written over anything else."""

import numpy as np
import pytest
from PIL import Image

from hftune.report.plots.confusion import draw_confusion
from tests.kinds import another
from tests.report.plots.figures import confusion_of, overlaps, renderer_of, shown, visible_texts, words


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


@pytest.mark.parametrize("classes", [2, 10, 21, *map(another, [3, 20, 50, 100])])
def test_no_name_or_number_of_a_matrix_is_written_over_another(drawn, tmp_path, classes):
    names = [f"{number} is a class with a very long name indeed" for number in range(classes)]
    draw_confusion(confusion_of(classes) * 100, names, tmp_path / "a.png")
    figure = drawn[0]
    turned = [text for text in visible_texts(figure) if text.get_rotation() % 90]
    assert not overlaps(figure, [text for text in visible_texts(figure) if text not in turned])
    assert max(Image.open(tmp_path / "a.png").size) < 3000


@pytest.mark.parametrize("classes", [20, another(2)])
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


def test_long_names_keep_both_ends(drawn, tmp_path):
    names = ["card payment fee charged abroad", "card payment fee charged twice"]
    draw_confusion(confusion_of(2), names, tmp_path / "a.png")
    columns = [text.get_text() for text in drawn[0].axes[0].get_xticklabels()]
    assert all(len(name) == 24 and "…" in name for name in columns)
    assert len(set(columns)) == 2
