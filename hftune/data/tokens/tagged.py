"""A text whose words have tags: where each word stands, and what it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class TaggedText:
    """A sentence, or any text, with W words.

    Args:
        text: The text; of words that came without one, these with blanks between them.
        spans: First character of each word and the one behind its last, int32 (W, 2).
        tags: A tag for each word: names as the user wrote them; once a task has read them, class ids.
    """

    text: str
    spans: np.ndarray
    tags: tuple[str, ...] | tuple[int, ...]

    @classmethod
    def of_words(cls, words: list[str], tags: tuple[str, ...] | tuple[int, ...] | None = None) -> TaggedText:
        """Joins words with blanks; without tags they are zeros."""
        ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int32) - 1
        starts = ends - np.array([len(word) for word in words], np.int32)
        spans = np.stack([starts, ends], axis=1) if words else np.zeros((0, 2), np.int32)
        return cls(" ".join(words), spans, (0,) * len(words) if tags is None else tags)

    @property
    def words(self) -> list[str]:
        """The words."""
        return [self.text[start:end] for start, end in self.spans.tolist()]

    def __len__(self) -> int:
        """Returns W."""
        return len(self.tags)

    def tagged(self, tags: tuple[int, ...] | tuple[str, ...]) -> TaggedText:
        """Returns the same words with other tags."""
        return replace(self, tags=tags)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TaggedText)
            and self.text == other.text
            and self.tags == other.tags
            and np.array_equal(self.spans, other.spans)
        )

    __hash__ = None  # type: ignore[assignment]

    def __bytes__(self) -> bytes:
        return self.spans.astype("<i4").tobytes() + repr(self.tags).encode()


def of_rows(rows: list) -> np.ndarray:
    """Returns an array of objects, one for each row, also where all rows are arrays of one shape."""
    values = np.empty(len(rows), object)
    for place, row in enumerate(rows):
        values[place] = row
    return values
