import numpy as np
from PIL import Image

from hftune.report.plots.entities import _f1, _fates, _touches, draw_entities
from hftune.tasks.entity_counts import Tags, find_entities, found

TAGS = Tags.of(("O", "B-X", "I-X", "B-Y", "I-Y"))
#               found  other type  other words  missed  made up
TRUE = np.array([1, 2, 0, 1, 0, 0, 1, 2, 2, 0, 0, 1, 0, 0, 0])
GIVEN = np.array([1, 2, 0, 3, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 0])
ROW = np.repeat([0, 1, 2], 5)


def entities():
    given, true = (find_entities(ids, ROW, TAGS) for ids in (GIVEN, TRUE))
    return given, true, found(given, true)


def test_what_became_of_each_entity():
    given, true, right = entities()
    assert _fates(given, true).tolist() == ["found", "other type", "other words", "missed"]
    assert (~right & ~_touches(given, true)).tolist() == [False, False, False, True]


def test_f1_of_types_lies_in_its_interval():
    given, true, right = entities()
    low, value, high = _f1(given, true, right, 2)
    assert value.tolist() == [2 * 1 / (2 + 4), 0]
    assert (low <= value).all()
    assert (value <= high).all()


def test_nothing_found_and_nothing_there_can_be_drawn(tmp_path):
    given, true, right = entities()
    none = find_entities(np.zeros(15, np.int64), ROW, TAGS)
    nothing = np.zeros(0, bool)
    for number, drawn in enumerate(((given, true, right), (none, true, nothing), (none, none, nothing))):
        draw_entities(*drawn, TAGS.types, tmp_path / f"{number}.png")
        assert Image.open(tmp_path / f"{number}.png").size[0] == 1300
