import pytest
from transformers import AutoTokenizer

from hftune.data.tokens.vocabulary import train_pieces
from hftune.seed import generator

SENTENCES = [["Anna", "sleeps"], ["Anna", "walks"], ["Bob", "walked", "slowly"]] * 2


def pieces(**changes):
    return train_pieces(SENTENCES, **{"vocab_size": 200, "min_frequency": 2, "max_length": 16, **changes})


def test_new_words_are_read_in_pieces_with_their_capitals(tmp_path):
    pieces().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # as anybody loads it
    assert tokenizer.tokenize("Anna walks") == ["Anna", "walks"]
    found = tokenizer.tokenize("Bobanna")
    assert found[0].startswith("Bo")
    assert "".join(piece.removeprefix("##") for piece in found) == "Bobanna"
    assert tokenizer.tokenize("anna") != ["anna"]
    assert tokenizer.tokenize("ž") == ["[UNK]"]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.model_max_length) == (0, 1, 16)


def test_known_words_are_whole_while_there_is_room():
    plain = len(pieces())
    with_words = pieces(known=["barrack", "n't", "wall"])
    assert len(with_words) == plain + 4
    assert with_words.tokenize("Barrack wall") == ["Barrack", "wall"]
    assert pieces().tokenize("Barrack") != ["Barrack"]
    assert set(pieces().get_vocab().items()) < set(with_words.get_vocab().items())
    assert len(pieces(vocab_size=plain, known=["barrack"])) == plain


def test_the_same_words_give_the_same_numbers_each_time():
    random = generator("test", "pieces")
    words = ["".join(chr(97 + n) for n in random.integers(0, 12, random.integers(1, 7))) for _ in range(600)]
    first, *others = (
        train_pieces([words], vocab_size=400, min_frequency=2, max_length=16).get_vocab() for _ in range(6)
    )
    assert all(other == first for other in others)


@pytest.mark.parametrize("size", [40, 60])
def test_no_more_pieces_than_asked_for(size):
    assert len(pieces(vocab_size=size)) <= size
