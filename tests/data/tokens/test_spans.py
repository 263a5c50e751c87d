import pytest

from hftune.data.tokens.spans import Marked, read_marks, tag_words

TEXT = "Anna Smith lives in New York."


def tags_of(text: str, marks: list) -> str:
    return " ".join(tag_words(text, read_marks(marks))[0].tags)


@pytest.mark.parametrize(
    "marks",
    [
        [[0, 10, "PER"], [20, 28, "LOC"]],
        [{"start": 20, "end": 28, "label": "LOC"}, {"start": 0, "end": 10, "label": "PER", "token_end": 1}],
        [{"id": 7, "start_offset": 0, "end_offset": 10, "label": "PER"}, [20, 28, "LOC"]],
        [
            {"value": {"start": 0, "end": 10, "text": "Anna Smith", "labels": ["PER"]}, "type": "labels"},
            {"value": {"start": 20, "end": 28, "labels": ["LOC"]}},
        ],
    ],
)
def test_every_tool_says_the_same(marks):
    assert tags_of(TEXT, marks) == "B-PER I-PER O O B-LOC I-LOC O"


def test_a_mark_within_a_word_is_widened_and_reported():
    tagged, snapped = tag_words(TEXT, [Marked(1, 10, "PER"), Marked(20, 26, "LOC")])
    assert tagged.tags == ("B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O")
    assert snapped == [Marked(1, 10, "PER"), Marked(20, 26, "LOC")]


def test_blanks_at_the_ends_of_a_mark_are_no_snap():
    tagged, snapped = tag_words(TEXT, [Marked(10, 17, "VERB")])
    assert tagged.tags[2] == "B-VERB"
    assert snapped == []


@pytest.mark.parametrize(
    ("marks", "problem"),
    [
        ([[20, 40, "LOC"]], r"the mark \[20, 40, 'LOC'\] lies outside of the text of 29 characters"),
        ([[-1, 4, "PER"]], "lies outside"),
        ([[4, 4, "PER"]], "lies outside"),
        ([[4, 5, "PER"]], "holds no word"),
        ([[0, 10, "PER"], [5, 10, "ORG"]], r"\[5, 10, 'ORG'\] overlaps the mark \[0, 10, 'PER'\]"),
        ([[0, 10, "PER"], [0, 10, "PER"]], "overlaps"),
        ([[0, 2, "PER"], [2, 4, "ORG"]], "overlaps"),  # both are the word Anna
        ([[0, 4]], "is not a start, an end and one label"),
        ([[0, 4, ["A", "B"]]], "is not a start, an end and one label"),
        ("PER", "not a list"),
    ],
)
def test_what_cannot_be_meant_is_said(marks, problem):
    with pytest.raises(ValueError, match=problem):
        tag_words(TEXT, read_marks(marks))


def test_signs_of_scripts_without_blanks_are_words():
    tagged, snapped = tag_words("我在北京。", [Marked(2, 4, "LOC")])
    assert tagged.words == ["我", "在", "北", "京", "。"]
    assert tagged.tags == ("O", "O", "B-LOC", "I-LOC", "O")
    assert not snapped
