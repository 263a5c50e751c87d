"""A learned vocabulary: what a token is, what is unknown, and that it loads where hftune is not."""

import json

import pytest

from hftune.data.text.vocabulary import train_tokenizer, word_splitter
from hftune.errors import BadInput
from tests.forked import run_python

TEXTS = [
    "The film was great!<br /><br />Really great.",
    "the plot is 好看的电影, isn't it?",
    "GREAT plot, great film",
    "Ünïcode ﬁlm and a rare word",
]


def tokens(tokenizer, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_words_are_lower_case_and_split_at_blanks_and_punctuation():
    tokenizer = train_tokenizer(TEXTS, min_frequency=1)
    assert tokens(tokenizer, "The FILM, isn't  great!") == ["the", "film", ",", "isn", "'", "t", "great", "!"]
    assert tokens(tokenizer, "ünïcode ﬁlm") == ["ünïcode", "film"]  # the ligature is two letters


def test_the_splitter_cuts_as_a_vocabulary_does():
    tokenizer = train_tokenizer(TEXTS, min_frequency=1)
    split = word_splitter()
    for text in TEXTS:
        assert split(text) == tokens(tokenizer, text)
    assert split("a word\tit never saw: É!<br>") == ["a", "word", "it", "never", "saw", ":", "é", "!"]


@pytest.mark.parametrize("kind", ["word", "character"])
def test_line_breaks_of_web_pages_are_no_words(kind):
    tokenizer = train_tokenizer(TEXTS, tokenizer_type=kind, min_frequency=1)
    assert not {"<", ">", "br", "/"} & {*tokenizer.get_vocab()}
    broken = tokenizer("great<br />film<br/>plot<BR>it")["input_ids"]
    assert broken == tokenizer("great film plot it")["input_ids"]


def test_every_han_character_is_a_word():
    tokenizer = train_tokenizer(TEXTS, min_frequency=1)
    assert tokens(tokenizer, "电影好看plot") == ["电", "影", "好", "看", "plot"]


def test_every_character_is_a_token_of_the_character_kind():
    tokenizer = train_tokenizer(TEXTS, tokenizer_type="character", min_frequency=1)
    assert tokens(tokenizer, "Great 电影!") == [*"great", *"电影", "!"]


def test_words_of_other_splits_are_unknown():
    tokenizer = train_tokenizer(TEXTS, min_frequency=2)
    assert tokens(tokenizer, "great zebra") == ["great", "[UNK]"]
    assert tokens(tokenizer, "rare") == ["[UNK]"]  # once only
    assert tokenizer.unk_token_id == 1
    assert tokenizer.pad_token_id == 0


def test_the_most_frequent_words_are_kept_ties_by_alphabet():
    tokenizer = train_tokenizer(["c b a d d"], vocab_size=5, min_frequency=1)
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "d": 2, "a": 3, "b": 4}


def test_the_order_of_the_texts_does_not_matter():
    forward, backward = (
        train_tokenizer(texts, min_frequency=1).get_vocab() for texts in (TEXTS, TEXTS[::-1])
    )
    assert forward == backward


def test_no_word_frequent_enough_is_bad_input():
    with pytest.raises(BadInput, match="--min_frequency 9"):
        train_tokenizer(TEXTS, min_frequency=9)
    with pytest.raises(BadInput, match=r"--vocab_size 2: leaves no room for words beside \[PAD\], \[UNK\]"):
        train_tokenizer(TEXTS, min_frequency=1, vocab_size=2)


def test_saved_it_gives_the_same_ids_without_hftune(tmp_path):
    kinds = ("word", "character")
    tokenizers = [
        train_tokenizer(TEXTS, tokenizer_type=kind, min_frequency=1, max_length=77) for kind in kinds
    ]
    for kind, tokenizer in zip(kinds, tokenizers, strict=True):
        tokenizer.save_pretrained(tmp_path / kind)
    texts = [*TEXTS, "", "a zebra  看\tfilm!!"]
    program = (
        "import json, sys\n"
        "sys.modules['hftune'] = None  # importing it fails\n"
        "from transformers import AutoTokenizer\n"
        "for kind in ('word', 'character'):\n"
        "    tokenizer = AutoTokenizer.from_pretrained(kind)\n"
        "    batch = tokenizer(json.loads(sys.argv[1]))\n"
        "    print(json.dumps([dict(batch), tokenizer.model_max_length, tokenizer.padding_side]))\n"
    )
    run = run_python(["-I", "-c", program, json.dumps(texts)], cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for tokenizer, line in zip(tokenizers, run.stdout.splitlines(), strict=True):
        batch, max_length, side = json.loads(line)
        assert batch == dict(tokenizer(texts))
        assert {*batch} == {"input_ids", "attention_mask"}  # the small models take no token_type_ids
        assert (max_length, side) == (77, "right")
