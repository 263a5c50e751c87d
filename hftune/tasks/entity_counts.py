"""Counts entities that are found, as integers that add up in any order.

Two rules are called F1: by conlleval's, which seqeval has as its default, I-X without a B-X before it begins
an entity; the strict rule drops it. Gold tags are BIO, so the rules differ in what is predicted alone.
Shapes: W words of all rows together, E entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hftune.tasks.tagging_scheme import split_tag


class Tags(NamedTuple):
    """What the C tags of a model are.

    Args:
        types: The names of the types of entities, in the order of their tags.
        type: The type of each tag, -1 for O, int64 (C,).
        begins: Whether a tag is a B, bool (C,).
    """

    types: tuple[str, ...]
    type: np.ndarray
    begins: np.ndarray

    @classmethod
    def of(cls, labels: Sequence[str]) -> Tags:
        """Reads the names of the tags."""
        parts = [split_tag(label) for label in labels]
        types = tuple(dict.fromkeys(kind for _, kind in parts if kind))
        kinds = np.array([types.index(kind) if kind else -1 for _, kind in parts], np.int64)
        return cls(types, kinds, np.array([prefix == "B" for prefix, _ in parts], bool))


class Entities(NamedTuple):
    """The entities of all rows.

    Args:
        start: The first word of each, counted over all rows, int64 (E,), ascending.
        end: The one behind its last, int64 (E,).
        type: Its type, int64 (E,).
        row: The row that it stands in, int64 (E,).
        strict: Whether it begins with B, bool (E,).
    """

    start: np.ndarray
    end: np.ndarray
    type: np.ndarray
    row: np.ndarray
    strict: np.ndarray


def find_entities(ids: np.ndarray, row: np.ndarray, tags: Tags) -> Entities:
    """Finds the entities of tagged words by the default rule.

    Args:
        ids: The tag of each word, int64 (W,).
        row: The row of each word, int64 (W,), ascending.
        tags: What the tags are.
    """
    kind, begins = tags.type[ids], tags.begins[ids]
    inside = kind >= 0
    follows = np.zeros(len(ids), bool)  # whether a word goes on with the entity of the word before it
    follows[1:] = inside[1:] & (kind[1:] == kind[:-1]) & (row[1:] == row[:-1]) & ~begins[1:]
    start = np.flatnonzero(inside & ~follows)
    last = inside & ~np.append(follows[1:], False)
    return Entities(start, np.flatnonzero(last) + 1, kind[start], row[start], begins[start])


def found(given: Entities, true: Entities) -> np.ndarray:
    """Returns which of the given entities are true ones: the same words and type, bool (E,)."""
    if not len(true.start):
        return np.zeros(len(given.start), bool)
    place = np.minimum(np.searchsorted(true.start, given.start), len(true.start) - 1)
    same = true.start[place] == given.start
    return same & (true.end[place] == given.end) & (true.type[place] == given.type)


def count_per_row(which: np.ndarray, entities: Entities, rows: int) -> np.ndarray:
    """Counts the entities of each row of which something is true, bool (E,) -> int64 (N,)."""
    return np.bincount(entities.row[which], minlength=rows)
