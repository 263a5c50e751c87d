import itertools

import pytest

from hftune.tasks.tagging_scheme import Entity, entities, find_scheme, from_bio, split_tag, to_bio

BIO = ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "O"]
WRITTEN = {
    "bio": BIO,
    "iob1": ["I-PER", "I-PER", "B-PER", "O", "I-LOC", "O"],
    "bioes": ["B-PER", "E-PER", "S-PER", "O", "S-LOC", "O"],
    "bilou": ["B-PER", "L-PER", "U-PER", "O", "U-LOC", "O"],
}


@pytest.mark.parametrize("scheme", WRITTEN)
def test_every_scheme_says_the_same_entities(scheme):
    assert from_bio(BIO, scheme) == WRITTEN[scheme]
    assert to_bio(WRITTEN[scheme], scheme) == BIO
    assert entities(WRITTEN[scheme]) == [Entity(0, 2, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "LOC")]


@pytest.mark.parametrize("scheme", WRITTEN)
def test_the_scheme_is_found(scheme):
    many = [WRITTEN[scheme], ["O", "O"], from_bio(["B-LOC", "I-LOC", "I-LOC", "O"], scheme)]
    assert find_scheme(many) == scheme


@pytest.mark.parametrize("tags", ["I-PER I-PER O I-LOC", "PER PER O LOC", "NOUN VERB NOUN"])
def test_without_a_b_neighbours_of_one_type_are_one_entity(tags):
    found = tags.split()
    assert find_scheme([found]) == "io"
    assert to_bio(found, "io") == found
    assert [(e.start, e.end) for e in entities(["I-PER", "I-PER", "O", "I-LOC"])] == [(0, 2), (3, 4)]


def test_a_type_may_have_a_hyphen_and_look_like_a_prefix():
    assert split_tag("B-creative-work") == ("B", "creative-work")
    assert split_tag("E-mail") == ("E", "mail")
    assert split_tag("X-ray") == ("I", "X-ray")
    assert entities(["B-creative-work", "I-creative-work"]) == [Entity(0, 2, "creative-work")]


def test_an_i_without_b_begins_an_entity_and_is_repaired():
    broken, repaired = "O I-PER I-PER I-LOC B-LOC I-PER", "O B-PER I-PER B-LOC B-LOC B-PER"
    assert to_bio(broken.split(), "bio") == repaired.split()


def test_repair_changes_no_entity_and_nothing_twice():
    for tags in itertools.product(["O", "B-X", "I-X", "B-Y", "I-Y"], repeat=4):
        repaired = to_bio(tags, "bio")
        assert entities(repaired) == entities(tags)
        assert to_bio(repaired, "bio") == repaired
        for scheme in WRITTEN:
            assert to_bio(from_bio(repaired, scheme), scheme) == repaired
