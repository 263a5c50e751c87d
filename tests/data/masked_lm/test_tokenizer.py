import pytest

from hftune.data.masked_lm.tokenizer import load_tokenizers
from hftune.errors import BadInput
from hftune.settings.masked_lm import MaskedLMSettings
from tests.tiny import tiny_checkpoint

TEXTS = ["The film was lovely", "the film was lovelier", "films and films and the Film", "a [MASK] in it"] * 3


def settings(**changes) -> MaskedLMSettings:
    return MaskedLMSettings(**{"dataset_name": "sample", "max_length": 32, **changes})


@pytest.mark.parametrize("kind", ["bert", "roberta", "scratch"])
def test_a_mask_in_a_text_is_plain_text_and_in_the_saved_form_a_mask(kind, tmp_path):
    chosen = {"model_type": "bert", "vocab_size": 90}
    if kind != "scratch":
        chosen = {"model_name_or_path": str(tiny_checkpoint(kind, tmp_path))}
    reads, saved = load_tokenizers(settings(**chosen), TEXTS)
    written = f"a film {saved.mask_token} was"
    assert saved.mask_token_id in saved(written)["input_ids"]
    assert saved.mask_token_id not in reads(written)["input_ids"]
    assert reads("the film was")["input_ids"] == saved("the film was")["input_ids"]
    saved.save_pretrained(tmp_path / "again")
    again = type(saved).from_pretrained(tmp_path / "again")
    assert again(written)["input_ids"] == saved(written)["input_ids"]
    assert again.model_max_length == 32


def test_a_vocabulary_is_learned_the_same_each_time():
    first, second = (
        load_tokenizers(settings(model_type="bert", vocab_size=90), TEXTS).saved for _ in range(2)
    )
    assert first.get_vocab() == second.get_vocab()
    assert first.tokenize("the FILM") == ["the", "film"]
    assert first.convert_ids_to_tokens(first("the")["input_ids"]) == ["[CLS]", "the", "[SEP]"]
    assert len(first) <= 90


def test_a_model_without_a_mask_is_refused(tmp_path):
    name = str(tiny_checkpoint("gpt2", tmp_path))
    with pytest.raises(BadInput, match="its tokenizer has no mask, so it is no masked language model"):
        load_tokenizers(settings(model_name_or_path=name), TEXTS)
