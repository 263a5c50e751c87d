"""A tokenizer reads texts as they are written and pads as its model needs it, also once saved and loaded."""

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Tokenizer,
    XLMRobertaTokenizer,
    XLNetConfig,
    XLNetForSequenceClassification,
    XLNetTokenizer,
    pipeline,
)

from hftune.data.text.tokenizer import AS_WRITTEN, longest_text, obeyed, prepare_tokenizer
from hftune.data.text.vocabulary import train_tokenizer
from hftune.inference.load import load_model
from hftune.inference.predict import predict_rows
from tests.tiny import TEXT, WORDS, tiny_checkpoint, tiny_model, tiny_tokenizer

TAGS = "good</s> <s>film [SEP] a [PAD] <pad> <mask>x <|endoftext|> [CLS]love <sep> <cls> [MASK]"


def unigram(special: list[str]) -> list[tuple[str, float]]:
    """Learns the vocabulary of a SentencePiece model, in which special tokens are pieces like others."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 5, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(
        ((word, 0.0 if word in special else -5.0) for word in vocabulary), key=lambda p: vocabulary[p[0]]
    )


def words_alone() -> PreTrainedTokenizerBase:
    """Builds a tokenizer of whole words, which finds `</s>` in its vocabulary like any other word."""
    words = dict.fromkeys(["<pad>", "<unk>", "</s>", *WORDS])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
XLNET = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
KINDS = {  # the architecture, and how its tokenizer is made
    "t5": ("t5", lambda: T5Tokenizer(vocab=unigram(["<pad>", "</s>", "<unk>"]), extra_ids=3)),
    "xlm-roberta": ("xlm-roberta", lambda: XLMRobertaTokenizer(vocab=unigram(ROBERTA))),
    "xlnet": ("xlnet", lambda: XLNetTokenizer(vocab=unigram(XLNET))),
    "words": ("bert", words_alone),
    **{
        family: (family, lambda family=family: tiny_tokenizer(family))
        for family in ("bert", "roberta", "gpt2", "modernbert")
    },
}


def saved(kind: str, folder: Path) -> tuple[PreTrainedTokenizerBase, AutoConfig]:
    """Saves a tokenizer of a kind, with two tokens of the user's own, beside its config."""
    architecture, make = KINDS[kind]
    tokenizer = make()
    tokenizer.add_tokens([AddedToken("MYTOK"), AddedToken("<url>")])
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(architecture)
    config.save_pretrained(folder)
    return tokenizer, config


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_a_text_are_text_and_all_else_keeps_its_ids(kind, tmp_path):
    plain, config = saved(kind, tmp_path / "base")
    assert obeyed(plain), "nothing to hinder"
    made = AutoTokenizer.from_pretrained(tmp_path / "base", **AS_WRITTEN)
    prepared = prepare_tokenizer(made, config)
    written = prepared(TAGS, add_special_tokens=False)["input_ids"]
    assert not (set(written) - {prepared.unk_token_id}) & set(prepared.all_special_ids)
    for text in (TEXT, "see MYTOK and <url> there", "a < b > c [ d ] | e"):
        assert prepared(text) == plain(text)
    assert plain.convert_tokens_to_ids("MYTOK") in prepared("see MYTOK there")["input_ids"]
    prepared.save_pretrained(tmp_path / "run")
    config.save_pretrained(tmp_path / "run")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "run")
    again = prepare_tokenizer(AutoTokenizer.from_pretrained(tmp_path / "run", **AS_WRITTEN), config)
    for text in (TAGS, TEXT, "see MYTOK and <url> there"):
        assert loaded(text) == again(text) == prepared(text)
    assert len(loaded) == len(plain)
    assert loaded.padding_side == prepared.padding_side == ("left" if kind == "xlnet" else "right")


@pytest.mark.parametrize("kind", ["word", "character"])
def test_a_learned_vocabulary_reads_its_own_tokens_as_text(kind, tmp_path):
    tokenizer = train_tokenizer(["[PAD] [UNK] good film"] * 2, tokenizer_type=kind)
    tokenizer.save_pretrained(tmp_path)
    for made in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert not {0, 1} & set(made("good [PAD] [UNK] film")["input_ids"])


def without_padding() -> PreTrainedTokenizerBase:
    tokenizer = tiny_tokenizer("gpt2").backend_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=None, eos_token=None)


def test_any_token_may_pad_where_a_tokenizer_has_none(tmp_path):
    tokenizer = without_padding()
    tokenizer.save_pretrained(tmp_path / "base")
    config = AutoConfig.for_model("gpt2", bos_token_id=None, eos_token_id=None)
    made = AutoTokenizer.from_pretrained(tmp_path / "base", **AS_WRITTEN)
    prepared = prepare_tokenizer(made, config)
    assert prepared.pad_token_id == config.pad_token_id is not None
    assert prepared.pad_token not in tokenizer.get_added_vocab()
    text = f"a {prepared.pad_token}{prepared.pad_token} film"
    prepared.save_pretrained(tmp_path / "run")
    again = prepare_tokenizer(AutoTokenizer.from_pretrained(tmp_path / "run", **AS_WRITTEN), config)
    assert tokenizer(text)["input_ids"] == prepared(text)["input_ids"] == again(text)["input_ids"]


def test_positions_without_a_limit_are_none():
    assert longest_text(tiny_model("bert")) == 64
    assert longest_text(tiny_model("roberta")) == 64
    xlnet = XLNetConfig(vocab_size=20, d_model=8, n_layer=1, n_head=2, d_inner=8)
    assert longest_text(XLNetForSequenceClassification(xlnet)) is None


def test_xlnet_answers_as_pipeline_whatever_is_beside_a_text(tmp_path):
    """It reads the last state, so padding is on the left; its last token has a segment of its own."""
    tokenizer, _ = saved("xlnet", tmp_path)
    torch.manual_seed(0)
    sizes = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16, "initializer_range": 0.5}
    XLNetForSequenceClassification(
        XLNetConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    ).save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    texts = ["good film", "a bad plot, the worst scene of all", "love"]
    logits = predict_rows(model, model.inputs.rows(texts), rows_per_batch=3)["logits"]
    alone = predict_rows(model, model.inputs.rows(texts), rows_per_batch=1)["logits"]
    torch.testing.assert_close(torch.tensor(logits), torch.tensor(alone))
    classify = pipeline("text-classification", str(tmp_path), device="cpu", top_k=None)
    for text, row in zip(texts, torch.tensor(logits).softmax(-1).tolist(), strict=True):
        theirs = {one["label"]: one["score"] for one in classify([text])[0]}
        assert [theirs[label] for label in model.labels] == pytest.approx(row, abs=1e-5)


def test_a_saved_models_tokenizer_is_prepared(tmp_path):
    folder = tiny_checkpoint("bert", tmp_path, num_labels=3)
    model = load_model(str(folder))
    ids = model.inputs.rows(["good [SEP] film"])[0]["input_ids"]
    assert (ids == model.inputs.processor.sep_token_id).sum() == 1
