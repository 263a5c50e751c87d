"""Ways to write entities as tags of words, and from each of them to BIO and back.

    bio    B-PER I-PER O      a first word, the others
    iob1   I-PER I-PER O      B- only where an entity follows another of its type (CoNLL-2003 as published)
    bioes  B-PER E-PER S-LOC  also the last word, and single ones; bilou says L and U instead
    io     I-PER I-PER O      or PER PER O: neighbours of one type are one entity

A model is trained on BIO, which transformers' pipeline reads; `io` stays as it is, which it reads too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
SCHEMES = ("bio", "iob1", "bioes", "bilou", "io")
_PREFIXES = ("B", "I", "E", "S", "L", "U")
_ENDING = {"bioes": ("E", "S"), "bilou": ("L", "U")}


class Entity(NamedTuple):
    """An entity: its first word, the one behind its last, and its type."""

    start: int
    end: int
    type: str


def split_tag(tag: str) -> tuple[str, str]:
    """Returns a tag's prefix and type: B and PER of "B-PER"; I and the tag itself where it has no prefix."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and kind and prefix in _PREFIXES else ("I", tag)


def find_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """Returns the scheme that tagged sentences are written in, one of `SCHEMES`."""
    prefixes = set()
    begun = {"B": 0, "I": 0}  # entities by the prefix of their first word
    for tags in sentences:
        prefixes |= {split_tag(tag)[0] for tag in tags}
        for entity in entities(tags):
            first = split_tag(tags[entity.start])[0]
            begun[first] = begun.get(first, 0) + 1
    if prefixes & {"E", "S"}:
        return "bioes"
    if prefixes & {"L", "U"}:
        return "bilou"
    if "B" not in prefixes:
        return "io"
    return "iob1" if begun["I"] > begun["B"] else "bio"


def entities(tags: Sequence[str]) -> list[Entity]:
    """Returns the entities of a sentence, of any scheme, by the rule of conlleval.

    An entity begins at B, S or U; and at any other tag behind O, behind another type, or behind E, S, L or U.
    """
    found: list[Entity] = []
    last, kind, start = OUTSIDE, "", 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, of = split_tag(tag)
        goes_on = prefix in ("I", "E", "L") and last in ("B", "I") and of == kind
        if last != OUTSIDE and not goes_on:
            found.append(Entity(start, place, kind))
        if prefix != OUTSIDE and not goes_on:
            start = place
        last, kind = prefix, of
    return found


def to_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """Returns a sentence's tags in BIO; those of `io` stay as they are."""
    return list(tags) if scheme == "io" else written(entities(tags), len(tags), "bio")


def from_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """Returns a sentence's tags in a scheme, from BIO."""
    return list(tags) if scheme == "io" else written(entities(tags), len(tags), scheme)


def written(found: Iterable[Entity], words: int, scheme: str) -> list[str]:
    """Writes the entities of a sentence of some words as tags of a scheme."""
    tags = [OUTSIDE] * words
    last, single = _ENDING.get(scheme, ("I", "B"))
    before = Entity(-1, -1, "")
    for entity in found:
        start, end, kind = entity
        tags[start:end] = [f"I-{kind}"] * (end - start)
        adjacent = before.end == start and before.type == kind
        tags[start] = f"B-{kind}" if scheme != "iob1" or adjacent else f"I-{kind}"
        if scheme in _ENDING:
            tags[end - 1] = f"{single if end - start == 1 else last}-{kind}"
        before = entity
    return tags
