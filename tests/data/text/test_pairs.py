"""Pairs of texts: found only where it is plain, cut and typed as the tokenizer does, told apart exactly."""

import json

import numpy as np
import pytest
import torch

from hftune.data.text.inputs import TextInputs
from hftune.data.text.load import load_text
from hftune.data.text.pairs import choose_texts, join, pair_columns, parted
from hftune.data.text.tokenize import TextCollator, encoder
from hftune.data.text.tokenize_pairs import OtherTooLong
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from tests.data.test_columns import table, words
from tests.tiny import WORDS, tiny_checkpoint, tiny_tokenizer

FAMILIES = ("bert", "roberta", "distilbert", "modernbert", "gpt2")
LABEL = {"label": [0, 1]}


def chosen(given, **names) -> tuple[str, ...]:
    return choose_texts(given, TextSettings(**names))[0]


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        (words("sentence1", "sentence2", idx=[1, 2], **LABEL), ("sentence1", "sentence2")),
        (words("hypothesis", "premise", **LABEL), ("premise", "hypothesis")),
        (words("Question_1", "Question 2", **LABEL), ("Question_1", "Question 2")),
        (words("question", "sentence", **LABEL), ("question", "sentence")),
        (words("text", "text_pair", **LABEL), ("text", "text_pair")),
        (table({"query": ["film", "plot"], "passage": ["a b", "c d"], **LABEL}), ("query", "passage")),
        # What was read as single texts before is read so still.
        (words("text", "sentence1", "sentence2", **LABEL), ("text",)),
        (words("review", "premise", "hypothesis", **LABEL), ("review",)),
        (words("sentence", "sentence2", **LABEL), ("sentence",)),
        (table({"remark": ["a b", "c d"], "anchor": [1, 2], "positive": [3, 4], **LABEL}), ("remark",)),
    ],
)
def test_pairs_are_found_only_where_their_names_are_plain(given, columns):
    assert chosen(given) == columns


def test_named_columns_win():
    given = words("sentence1", "sentence2", "remark", **LABEL)
    assert chosen(given, text_column_name="sentence1") == ("sentence1",)
    assert chosen(given, text_pair_column_name="sentence2") == ("sentence1", "sentence2")
    assert chosen(given, text_column_name="remark", text_pair_column_name="sentence1") == (
        "remark",
        "sentence1",
    )
    assert chosen(words("mine", "yours", **LABEL), text_pair_column_name="yours") == ("mine", "yours")


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [
        (words("mine", "yours", **LABEL), {}, "each of mine, yours could be the text column; say wh"),
        (words("mine", "yours", **LABEL), {}, "and the second text of pairs with --text_pair_column_name"),
        (words("mine", **LABEL), {"text_pair_column_name": "mime"}, "'mime' (--text_pair_column_name); did"),
        (words("a", **LABEL), {"text_pair_column_name": "label", "label_column_name": "label"}, "are both"),
        (
            words("premise", "hypothesis", "sentence1", "sentence2", **LABEL),
            {},
            "each of premise, hypothesis, sentence1, sentence2 could be",
        ),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_an_error_that_lists_the_columns(given, names, message):
    with pytest.raises(BadInput) as caught:
        chosen(given, **names)
    assert message in caught.value.message


def test_one_column_twice_is_refused():
    with pytest.raises(BadInput, match="--text_pair_column_name a: it is --text_column_name as well"):
        TextSettings(text_column_name="a", text_pair_column_name="a")


def test_columns_of_pairs_to_predict_need_no_label():
    assert pair_columns(words("hypothesis", "premise", "remark"), None, None) == ("premise", "hypothesis")
    assert pair_columns(words("mine", "yours"), None, None) == ("mine", "yours")
    assert pair_columns(words("mine", "yours", "sentence2"), "yours", "mine") == ("yours", "mine")
    with pytest.raises(BadInput, match="which two columns hold the pairs of texts"):
        pair_columns(words("a", "b", "c"), None, None)
    with pytest.raises(BadInput, match=r"no column 'z' \(--text_pair_column_name\)"):
        pair_columns(words("a", "b"), "a", "z")


def test_a_pair_is_more_than_its_joined_texts():
    pairs = [("a b", "c"), ("a", "b c"), ("c", "a b"), ('a", "b', "c"), ("a\n", "\t影"), ("", "")]
    joined = join(*map(list, zip(*pairs, strict=True))).to_pylist()
    assert len(set(joined)) == len(pairs)
    assert [parted(content) for content in joined] == pairs


PAIRS = [
    ("the film was great", "it was the best film"),
    (" ".join(WORDS[:30]), "a plot"),
    ("no", " ".join(WORDS[20:50])),
    (" ".join(WORDS[:25]), " ".join(WORDS[10:40])),
    ("xyzzy 影片", "!"),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
def test_ids_types_and_cuts_are_the_tokenizers_own(family, truncation):
    tokenizer = tiny_tokenizer(family)
    pairs = [("no", "plot"), *{"only_first": PAIRS[:2], "only_second": PAIRS[2:3]}.get(truncation, PAIRS)]
    rows = encoder(tokenizer, max_length=20, truncation=truncation)(pairs)
    first, second = map(list, zip(*pairs, strict=True))
    expected = tokenizer(first, second, truncation=truncation, max_length=20)
    assert rows["input_ids"] == expected["input_ids"]
    assert rows.get("token_type_ids") == expected.get("token_type_ids")
    assert ("token_type_ids" in rows) == (family == "bert")
    assert rows["tokens"] == [len(ids) for ids in tokenizer(first, second)["input_ids"]]


def test_a_text_that_is_not_to_be_cut_is_named_where_it_is_too_long():
    tokenizer = tiny_tokenizer("bert")
    with pytest.raises(
        OtherTooLong, match="the first text alone has 30 tokens, and a max_length of 20 ha"
    ) as e:
        encoder(tokenizer, max_length=20, truncation="only_second")([PAIRS[0], PAIRS[1]])
    assert e.value.row == 1
    with pytest.raises(OtherTooLong, match="the second text alone has 17 tokens"):
        encoder(tokenizer, max_length=20, truncation="only_first")([("a", " ".join(WORDS[:17]))])
    fits = encoder(tokenizer, max_length=20, truncation="only_first")([("a b", " ".join(WORDS[:16]))])
    assert len(fits["input_ids"][0]) == 20
    with pytest.raises(BadInput, match="--max_length 4: the special tokens of a pair alone are 3"):
        encoder(tokenizer, max_length=4, truncation="longest_first")


def test_two_texts_of_nothing_are_no_empty_row():
    tokenizer = tiny_tokenizer("gpt2")
    rows = encoder(tokenizer, max_length=20, truncation="longest_first")([("", ""), ("a", "")])
    assert rows["input_ids"][0] == [tokenizer.unk_token_id]
    assert rows["tokens"] == [1, 1]


@pytest.fixture
def files(tmp_path):
    """24 training, 8 validation and 8 test pairs; line 5 of train.jsonl has a long first text."""
    random = np.random.default_rng(0)
    for name, rows in (("train", 24), ("validation", 8), ("test", 8)):
        lines = []
        for row in range(rows):
            first, second = (" ".join(random.choice(WORDS[:90], n)) for n in (30 if row == 4 else 5, 6))
            lines.append({"premise": f"{name} {first}", "hypothesis": second, "label": "ny"[row % 2]})
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def settings_for(files, splits=("train", "validation", "test"), **changes) -> TextSettings:
    return TextSettings(**{f"{name}_file": str(files / f"{name}.jsonl") for name in splits}, **changes)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_batches_are_what_the_tokenizer_itself_would_pad(family, files, tmp_path):
    folder = tiny_checkpoint(family, tmp_path / family)
    data = load_text(settings_for(files, model_name_or_path=str(folder), max_length=30))
    assert data.input_config == {"text_pair": True, "truncation": "longest_first"}
    lines = [json.loads(line) for line in (files / "train.jsonl").read_text().splitlines()]
    first, second = ([line[name] for line in lines] for name in ("premise", "hypothesis"))
    expected = tiny_tokenizer(family)(
        first, second, truncation=True, max_length=30, padding=True, return_tensors="pt"
    )
    batch = data.collate([data.train[row] for row in range(24)])
    assert {*batch} - {"labels"} == {*expected}
    for name, values in expected.items():
        assert torch.equal(batch[name], values), name
    swapped = data.collate([data.swapped[row] for row in range(8)])
    test = [json.loads(line) for line in (files / "test.jsonl").read_text().splitlines()]
    expected = tiny_tokenizer(family)(
        [line["hypothesis"] for line in test], [line["premise"] for line in test], truncation=True,
        max_length=30, padding=True, return_tensors="pt",
    )  # fmt: skip
    assert torch.equal(swapped["input_ids"], expected["input_ids"])
    assert swapped["labels"].tolist() == [0, 1] * 4


def test_the_row_of_an_unfit_pair_is_named(files, tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    settings = settings_for(files, model_name_or_path=str(folder), max_length=30, truncation="only_second")
    with pytest.raises(
        BadInput, match=r"train\.jsonl line 5: --truncation only_second: the first text alone has"
    ):
        load_text(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truncation": "tail"}, "--truncation tail: for pairs of texts pass one of longest_first, only_fi"),
        ({"text_column_name": "premise", "truncation": "only_first"}, "only_first: the texts are no pairs"),
    ],
)  # fmt: skip
def test_a_cut_that_makes_no_sense_is_refused(changes, message, files):
    with pytest.raises(BadInput, match=message):
        load_text(settings_for(files, model_type="bag", min_frequency=1, **changes))


def test_pairs_are_compared_as_pairs(files, caplog):
    lines = (files / "train.jsonl").read_text().splitlines()
    one, other = json.loads(lines[0]), json.loads(lines[1])
    turned = {**one, "premise": one["hypothesis"], "hypothesis": one["premise"]}
    half = {**one, "hypothesis": other["hypothesis"]}
    with (files / "train.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in (one, turned, half)))
    with caplog.at_level("WARNING", "hftune"):
        before = load_text(settings_for(files, model_type="bag", min_frequency=1)).fingerprint
    assert "1 train rows repeat an earlier pair (first: " in caplog.text
    text = (files / "train.jsonl").read_text()
    (files / "train.jsonl").write_text(text.replace(json.dumps(turned), json.dumps(one)))
    assert load_text(settings_for(files, model_type="bag", min_frequency=1)).fingerprint != before


def test_a_learned_tokenizer_joins_two_texts_as_pipeline_does(files, tmp_path):
    data = load_text(settings_for(files, model_type="bag", min_frequency=1, max_length=30))
    data.processor.save_pretrained(tmp_path / "saved")
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    line = json.loads((files / "train.jsonl").read_text().splitlines()[4])
    ids = loaded(line["premise"], text_pair=line["hypothesis"], truncation=True)["input_ids"]
    assert ids == data.train[4]["input_ids"].tolist()
    assert ids.count(loaded.sep_token_id) == 1
    assert loaded("[SEP]")["input_ids"].count(loaded.sep_token_id) == 0
    assert loaded("the film")["input_ids"] == loaded.convert_tokens_to_ids(["the", "film"])


def test_either_text_is_augmented_and_the_place_says_both(files, tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    settings = settings_for(files, model_name_or_path=str(folder), max_length=64)
    data = load_text(settings, augment=lambda text, _: f"{text} good")
    row, plain = data.train[0], load_text(settings).train[0]
    good = data.processor.convert_tokens_to_ids("good")
    added = row["input_ids"] == good
    assert len(row["input_ids"]) == len(plain["input_ids"]) + 2
    assert row["token_type_ids"][np.flatnonzero(added)[[0, -1]]].tolist() == [0, 1]
    line = json.loads((files / "test.jsonl").read_text().splitlines()[2])
    contents = {name: content(2) for name, content in data.places.contents.items()}
    assert contents == {"text": line["premise"], "text_pair": line["hypothesis"]}


def test_rows_of_a_saved_model_are_those_of_training(files, tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    data = load_text(settings_for(files, model_name_or_path=str(folder), max_length=30))
    inputs = TextInputs(data.processor, 30, "longest_first", pairs=True)
    test = [json.loads(line) for line in (files / "test.jsonl").read_text().splitlines()]
    rows = inputs.rows([(line["premise"], line["hypothesis"]) for line in test])
    for row in range(8):
        for name in ("input_ids", "token_type_ids"):
            assert rows[row][name].tolist() == data.test[row][name].tolist()
    assert isinstance(inputs.collate, TextCollator)
    assert list(inputs.forward_axes) == ["input_ids", "attention_mask", "token_type_ids"]
    assert all(len(pair) == 2 for pair in inputs.edge_cases([("a b", "c")]))
