"""A dictionary of the training entities, to compare with: what it does not hold is O."""

import numpy as np

from hftune.data.tokens.tagged import TaggedText
from hftune.tasks.entity_counts import Tags, find_entities

_Known = dict[tuple[str, ...], tuple[int, ...]]
OTHERS = -10.0  # logit of a tag that is not given


def look_up(train: np.ndarray, test: np.ndarray, tags: Tags) -> list[np.ndarray]:
    """Tags what stands among the training entities, the longest first, as it was tagged most often.

    Capital letters do not count.

    Args:
        train: Objects `TaggedText` with class ids, (N,).
        test: Likewise, (n,).
        tags: What the C tags are.

    Returns:
        Logits of each test row, float32 (W, C): 0 for the tag that is given, `OTHERS` else.
    """
    counts: dict[tuple[str, ...], dict[tuple[int, ...], int]] = {}
    for text in train:
        words, ids = _lower(text), np.array(text.tags, np.int64)
        found = find_entities(ids, np.zeros(len(ids), np.int64), tags)
        for start, end in zip(found.start.tolist(), found.end.tolist(), strict=True):
            given = tuple(ids[start:end].tolist())
            of_form = counts.setdefault(tuple(words[start:end]), {})
            of_form[given] = of_form.get(given, 0) + 1
    known = {form: max(given, key=lambda one: given[one]) for form, given in counts.items()}
    longest, outside = max(map(len, known), default=0), int(np.argmax(tags.type < 0))
    return [_logits(text, known, longest, outside, len(tags.type)) for text in test]


def _logits(text: TaggedText, known: _Known, longest: int, outside: int, classes: int) -> np.ndarray:
    words, ids, place = _lower(text), [outside] * len(text), 0
    while place < len(words):
        sizes = range(min(longest, len(words) - place), 0, -1)
        size = next((n for n in sizes if tuple(words[place : place + n]) in known), 0)
        if size:
            ids[place : place + size] = known[tuple(words[place : place + size])]
        place += size or 1
    logits = np.full((len(words), classes), OTHERS, np.float32)
    logits[np.arange(len(words)), ids] = 0
    return logits


def _lower(text: TaggedText) -> list[str]:
    return [word.casefold() for word in text.words]
