"""Counts beside a plain reading of the rules, tag by tag, as conlleval and seqeval state them."""

import numpy as np

from hftune.seed import generator
from hftune.tasks.entity_counts import Tags, count_per_row, find_entities, found

LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def slowly(tags: list[str], strict: bool) -> set[tuple[int, int, str]]:
    """Returns (first, behind last, type) of a sentence, reading it once from left to right."""
    entities, start, kind = set(), None, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, of = tag.partition("-")
        if start is not None and not (prefix == "I" and of == kind):
            entities.add((start, place, kind))
            start = None
        if start is None and (prefix == "B" or (prefix == "I" and not strict)):
            start, kind = place, of
    return entities


def test_counts_are_those_of_a_plain_reading():
    random = generator("test", "entities")
    rows = [random.integers(0, 5, size=random.integers(1, 8)) for _ in range(300)]
    others = [random.integers(0, 5, size=len(row)) for row in rows]
    row = np.repeat(np.arange(300), list(map(len, rows)))
    tags = Tags.of(LABELS)
    given, true = (find_entities(np.concatenate(each), row, tags) for each in (rows, others))
    hits = found(given, true)
    for strict in (False, True):
        first, second = (
            [slowly([LABELS[tag] for tag in one], strict) for one in each] for each in (rows, others)
        )
        counted = given.strict if strict else np.ones(len(given.row), bool)
        assert count_per_row(counted, given, 300).tolist() == list(map(len, first))
        if not strict:
            both = [len(a & b) for a, b in zip(first, second, strict=True)]
            assert count_per_row(hits, given, 300).tolist() == both
            assert 0 < sum(both) < sum(map(len, first))


def test_an_entity_ends_with_its_row():
    ids, row = np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])
    entities = find_entities(ids, row, Tags.of(LABELS))
    assert entities.start.tolist() == [1, 2]
    assert entities.end.tolist() == [2, 4]
    assert entities.strict.tolist() == [True, False]


def test_nothing_is_found_where_nothing_is():
    none, row = np.zeros(3, np.int64), np.zeros(3, np.int64)
    given, true = (find_entities(ids, row, Tags.of(LABELS)) for ids in (np.array([1, 0, 3]), none))
    assert found(given, true).tolist() == [False, False]
    assert found(true, given).tolist() == []
