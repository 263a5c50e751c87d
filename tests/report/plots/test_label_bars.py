"""Bars of labels: in order, and none that no row has."""

import numpy as np
import pytest

from hftune.report.plots.label_bars import draw_label_bars
from hftune.tasks.metric import LabelScores
from tests.report.plots.figures import overlaps, visible_texts, words


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
