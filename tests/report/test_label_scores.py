"""What the card says of each label: its scores, its threshold, and that it was never given."""

import math

from hftune.report.label_scores import label_section
from hftune.tasks.metric import LabelScores


def test_thresholds_have_a_column_where_there_are_some():
    scores = [LabelScores("joy", 0.5, 0.25, 1 / 3, 40, 0.31), LabelScores("fear", 1, 1, 1, 50, 0.0123)]
    page = label_section(scores)
    assert "| class | precision | recall | F1 | rows | threshold |" in page
    assert "| joy | 0.500 | 0.250 | 0.333 | 40 | 0.31 |" in page
    assert "| fear | 1.000 | 1.000 | 1.000 | 50 | 0.0123 |" in page
    assert "Threshold: the probability above which a row gets it" in page
    assert "hreshold" not in label_section([one._replace(threshold=None) for one in scores])


def test_labels_that_are_never_given_are_named():
    never = LabelScores("grief", math.nan, 0.0, 0.0, 6, 0.1)
    absent = LabelScores("relief", math.nan, math.nan, math.nan, 0, 0.1)
    page = label_section([LabelScores("joy", 0.5, 0.25, 1 / 3, 40, 0.3), never, absent])
    assert "Never given: **grief**." in page
    assert "Never given" not in label_section([LabelScores("joy", 0.5, 0.25, 1 / 3, 40, 0.3), absent])
