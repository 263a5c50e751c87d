"""From a text with marked pieces to tagged words: what Doccano, Label Studio, Prodigy and spaCy write.

A piece that begins or ends inside a word becomes that whole word: it is snapped, and counted.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hftune.data.baselines import UNSPACED
from hftune.data.tokens.tagged import TaggedText
from hftune.errors import shown

OUTSIDE = "O"
# A word, or a sign; of scripts without blanks each sign is a word.
WORD = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\w)+|[^\w\s]")
STARTS, ENDS = ("start", "start_offset", "begin"), ("end", "end_offset", "stop")
LABELS = ("label", "labels", "type", "entity", "tag")


class Marked(NamedTuple):
    """A piece of a text: its first character, the one behind its last, and what it is."""

    start: int
    end: int
    label: str


def read_marks(cell: Any) -> list[Marked]:
    """Reads the marks of one text: lists of [start, end, label], or objects that say the same by name.

    Args:
        cell: The cell of the column; None for no marks.

    Raises:
        ValueError: It is something else; says what.
    """
    if cell is None:
        return []
    if not isinstance(cell, (list, tuple)):
        raise ValueError(f"the marks are {shown(repr(cell))}, not a list such as [[0, 4, 'PER']]")
    return [_mark((one.get("value") or one) if isinstance(one, dict) else one) for one in cell]


def _mark(one: Any) -> Marked:
    if isinstance(one, dict):
        found = [
            next((one[name] for name in names if one.get(name) is not None), None)
            for names in (STARTS, ENDS, LABELS)
        ]
    else:
        found = list(one) if isinstance(one, (list, tuple)) else []
    start, end, label = found if len(found) == 3 else (None, None, None)
    if isinstance(label, (list, tuple)) and len(label) == 1:  # Label Studio allows several
        label = label[0]
    numbers = [isinstance(at, int) and not isinstance(at, bool) for at in (start, end)]
    if not all(numbers) or not isinstance(label, str) or not label.strip():
        raise ValueError(f"the mark {shown(repr(one))} is not a start, an end and one label")
    assert isinstance(start, int)
    assert isinstance(end, int)
    return Marked(start, end, label.strip())


def tag_words(
    text: str, marks: Sequence[Marked], words: Sequence[tuple[int, int]] | None = None
) -> tuple[TaggedText, list[Marked]]:
    """Gives each word of a text its tag: B-LABEL, I-LABEL or O.

    Args:
        text: The text.
        marks: Its marked pieces.
        words: Where its words begin and end; None: what `WORD` finds.

    Returns:
        The tagged words, and the marks that were snapped to whole words.

    Raises:
        ValueError: A mark is empty, lies outside of the text or overlaps another; says which.
    """
    spans = np.array(words or [found.span() for found in WORD.finditer(text)], np.int32).reshape(-1, 2)
    tags, taken = [OUTSIDE] * len(spans), [None] * len(spans)  # type: tuple[list[str], list[Marked | None]]
    snapped = []
    for mark in sorted(marks):
        start, end, label = mark
        if not 0 <= start < end <= len(text):
            raise ValueError(f"{_named(mark)} lies outside of the text of {len(text):,} characters")
        piece = text[start:end]
        start, end = start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))
        inside = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
        if not len(inside):
            raise ValueError(f"{_named(mark)} holds no word")
        for place, word in enumerate(inside.tolist()):
            if (other := taken[word]) is not None:
                raise ValueError(f"{_named(mark)} overlaps {_named(other)}")
            taken[word] = mark
            tags[word] = f"{'I' if place else 'B'}-{label}"
        if (start, end) != (spans[inside[0], 0], spans[inside[-1], 1]):
            snapped.append(mark)
    return TaggedText(text, spans, tuple(tags)), snapped


def _named(mark: Marked) -> str:
    return f"the mark [{mark.start}, {mark.end}, {mark.label!r}]"
