"""What the tests of plots ask of a figure."""

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


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
