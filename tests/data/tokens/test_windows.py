import numpy as np
import pytest
import torch

from hftune.data.text.tokenize import TextCollator
from hftune.data.tokens.prefix_space import with_prefix_space
from hftune.data.tokens.tagged import TaggedText, of_rows
from hftune.data.tokens.windows import IGNORED, Pieces, TaggedRows, TokenCollator, Windows
from hftune.errors import BadInput
from hftune.seed import generator
from tests.tiny import tiny_tokenizer


def windows(max_length: int = 16, stride: int = 4, family: str = "bert") -> Windows:
    return Windows(with_prefix_space(tiny_tokenizer(family)), max_length, stride)


def answered(parts: list) -> list[int]:
    return [word for part in parts for word in part.words[part.words >= 0].tolist()]


def test_every_word_is_answered_once_in_order_whatever_its_length():
    random = generator("test", "windows")
    cut = windows(max_length=12, stride=4)
    for _ in range(300):
        sizes = random.integers(1, 14, size=random.integers(1, 30))
        words = np.repeat(np.arange(len(sizes)), sizes)
        parts = cut.cut(Pieces(np.arange(len(words)), words))
        assert answered(parts) == list(range(len(sizes)))
        assert all(len(part.ids) <= 12 for part in parts)
        assert all((part.words >= 0).any() for part in parts)


def test_a_word_is_answered_where_it_is_furthest_from_an_edge():
    words = np.arange(30)
    parts = windows(max_length=12, stride=6).cut(Pieces(words + 100, words))
    assert len(parts) == 6  # ten words of room, four new ones each
    for number, part in enumerate(parts):
        inner = part.ids[1:-1] - 100
        for word in inner.tolist():
            seen = []  # how far the word is from the nearest cut of each window
            for other in parts:
                there = (other.ids[1:-1] - 100).tolist()
                if word in there:
                    left = there.index(word) if there[0] else np.inf
                    right = len(there) - 1 - there.index(word) if there[-1] != 29 else np.inf
                    seen.append((min(left, right), other is part))
            best = max(distance for distance, _ in seen)
            if word in part.words.tolist():
                assert (best, True) in seen, (number, word)


def test_the_first_token_of_a_word_is_labelled_alone():
    (parts,), _ = windows().of_words([["film", "filmed", "films", "the"]])
    tokens = tiny_tokenizer("bert").convert_ids_to_tokens(parts[0].ids.tolist())
    assert tokens == ["[CLS]", "film", "film", "##ed", "film", "##s", "the", "[SEP]"]
    assert parts[0].words.tolist() == [-1, 0, 1, -1, 2, -1, 3, -1]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_a_word_without_tokens_shifts_no_other(family):
    words = ["the", "\u200d\u0007", "film", "", "made"]
    (parts,), gaps = windows(family=family).of_words([words])
    assert answered(parts) == [0, 1, 2, 3, 4]
    assert gaps == [0]
    cut = windows(family=family)
    for place, word in ((0, "the"), (2, "film"), (4, "made")):
        first = parts[0].ids[np.flatnonzero(parts[0].words == place)[0]]
        assert first == cut.of_words([[word]])[0][0][0].ids[1]


@pytest.mark.parametrize("family", ["roberta", "modernbert", "gpt2"])
def test_given_words_are_the_tokens_of_the_text(family):
    tokenizer = with_prefix_space(tiny_tokenizer(family))
    text = "the best film of the year, made well"
    split = tokenizer(text.split(), is_split_into_words=True)["input_ids"]
    assert split == tokenizer(text)["input_ids"]


def rows_of(*sentences: str, max_length: int = 8, stride: int = 2) -> TaggedRows:
    texts = [TaggedText.of_words(sentence.split()) for sentence in sentences]
    tagged = [text.tagged(tuple(range(len(text)))) for text in texts]
    cut, _ = windows(max_length, stride).of_words([text.words for text in tagged])
    return TaggedRows(cut, of_rows(tagged))


LONG, SHORT = "the best film of the year made well and loved by all who had seen it", "a film"


def test_labels_of_a_batch_are_the_tags_of_its_rows_in_order():
    rows = rows_of(LONG, SHORT)
    batch = TokenCollator(TextCollator.of(tiny_tokenizer("bert")))([rows[0], rows[1]])
    labels = batch["labels"]
    assert labels[labels != IGNORED].tolist() == [*range(16), 0, 1]
    assert rows.weights.tolist() == [16, 2]
    assert (batch["attention_mask"][labels != IGNORED] == 1).all()


def test_windows_as_rows_have_the_same_labels():
    rows = rows_of(LONG, SHORT)
    apart = rows.as_windows()
    assert len(apart) == rows.windows == 5
    assert apart.weights.sum() == rows.weights.sum() == 18
    assert [word for target in apart.targets for word in target.words] == f"{LONG} {SHORT}".split()
    collate = TokenCollator(TextCollator.of(tiny_tokenizer("bert")))
    whole, single = collate([rows[0], rows[1]]), collate([apart[row] for row in range(5)])
    assert torch.equal(whole["input_ids"], single["input_ids"])
    assert torch.equal(whole["labels"], single["labels"])


def test_a_length_without_room_is_refused():
    with pytest.raises(
        BadInput, match="--max_length 6: with 2 special tokens it must be above --window_stride 4"
    ):
        windows(max_length=6, stride=4)
