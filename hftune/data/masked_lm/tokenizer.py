"""Two forms of one tokenizer: one that reads texts as they are written, and the one that is saved."""

import copy
from collections.abc import Iterable
from typing import NamedTuple

from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase

from hftune.data.base_model import checkpoint_config, why_not_loaded
from hftune.data.text.pieces import GOES_ON, learn_pieces
from hftune.data.text.tokenizer import AS_WRITTEN, prepare_tokenizer
from hftune.errors import BadInput
from hftune.settings.masked_lm import MaskedLMSettings

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizers(NamedTuple):
    """Both forms, which give a text without a special token in it the same ids.

    Args:
        reads: Takes a [MASK] that stands in a training text for plain text.
        saved: Takes it for the mask, as the pipeline that fills masks needs it.
    """

    reads: PreTrainedTokenizerBase
    saved: PreTrainedTokenizerBase


def load_tokenizers(settings: MaskedLMSettings, texts: Iterable[str]) -> Tokenizers:
    """Loads the checkpoint's tokenizer, or learns BERT's kind from the training texts.

    Args:
        settings: Which one.
        texts: The training texts, and no others.

    Raises:
        BadInput: The checkpoint has no tokenizer that can be loaded, or one without a mask.
    """
    if settings.model_type:
        return _learned(settings, texts)
    name = settings.model_name_or_path
    if name is None:
        raise BadInput("no model: give --model_name_or_path NAME, or --model_type bert to start from scratch")
    flag = f"--model_name_or_path {name}"
    config = checkpoint_config(name, "texts")
    try:
        made = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **AS_WRITTEN)
        reads = prepare_tokenizer(made, config)
        options = {"padding_side": reads.padding_side, "split_special_tokens": False}
        saved = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{flag}: no tokenizer could be loaded: {why_not_loaded(error)}") from None
    if saved.mask_token_id is None:
        raise BadInput(f"{flag}: its tokenizer has no mask, so it is no masked language model; pass another")
    for each in (reads, saved):
        each.model_max_length = settings.max_length
    return Tokenizers(reads, saved)


def _learned(settings: MaskedLMSettings, texts: Iterable[str]) -> Tokenizers:
    numbers = {token: number for number, token in enumerate(SPECIAL)}
    usual = BertTokenizer(vocab=numbers).backend_tokenizer
    blank = Tokenizer(models.WordPiece({}, unk_token="[UNK]", continuing_subword_prefix=GOES_ON))
    blank.normalizer, blank.pre_tokenizer = usual.normalizer, usual.pre_tokenizer
    pieces = learn_pieces(
        texts, blank, SPECIAL, vocab_size=settings.vocab_size, min_frequency=settings.min_frequency
    )
    saved = BertTokenizer(vocab=pieces, model_max_length=settings.max_length)
    reads = copy.deepcopy(saved)
    reads.split_special_tokens = True
    return Tokenizers(reads, saved)
