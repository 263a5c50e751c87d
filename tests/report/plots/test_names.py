"""Names in plots: none is lost for want of a font."""

import numpy as np
import pytest

from hftune.report.plots import names as written_names
from hftune.report.plots.confusion import draw_confusion
from hftune.report.plots.images import draw_views
from tests.report.plots.figures import confusion_of, plain, words


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
    assert written_names.FONTS[0] == written_names.fonts()[0][0] == "DejaVu Sans"  # comes with matplotlib
