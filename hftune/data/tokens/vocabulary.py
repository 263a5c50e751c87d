"""A vocabulary of word pieces learned from the training words, as a tokenizer that `AutoTokenizer` loads.

A word that is rare, or that no training row has, is cut into pieces, so that its letters are not lost: for
names they say a lot, and so do capitals, which are kept.
"""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hftune.data.text.pieces import GOES_ON, learn_pieces
from hftune.data.text.tokenizer import AS_WRITTEN
from hftune.data.text.vocabulary import PAD, UNKNOWN


def train_pieces(
    sentences: Iterable[Sequence[str]],
    *,
    vocab_size: int,
    min_frequency: int,
    max_length: int,
    known: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """Builds a vocabulary from words.

    Args:
        sentences: The words of the training rows, and no others.
        vocab_size: The most pieces kept.
        min_frequency: How often two pieces stand side by side, at least, to be made one.
        max_length: Tokens that the model will read at once, stored with the tokenizer.
        known: Words of which something is known, such as a vector, the most frequent first: as many as
            there is room for are pieces too, as they are and with a capital, seen in training rows or not.

    Returns:
        A tokenizer with `[PAD]` = 0 and `[UNK]` = 1, which cuts words at blanks and signs first.

    Raises:
        BadInput: `vocab_size` has no room for the letters.
    """
    pieces = learn_pieces(
        map(" ".join, sentences),
        _tokenizer({}),
        [PAD, UNKNOWN],
        vocab_size=vocab_size,
        min_frequency=min_frequency,
    )
    tokenizer = _tokenizer(_with_words(pieces, known, vocab_size))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="right",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **AS_WRITTEN,
    )


def _tokenizer(pieces: dict[str, int]) -> Tokenizer:
    """Returns a tokenizer of these pieces, which are no special tokens."""
    tokenizer = Tokenizer(
        models.WordPiece(
            pieces, unk_token=UNKNOWN, continuing_subword_prefix=GOES_ON, max_input_chars_per_word=100
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
            ),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(GOES_ON)
    return tokenizer


def _with_words(pieces: dict[str, int], words: Iterable[str], most: int) -> dict[str, int]:
    """Returns a vocabulary with further words, whole ones alone, up to a size."""
    found = dict(pieces)
    for word in words:
        if len(found) >= most:
            break
        if word.isalnum():  # another is cut at its signs first
            for form in (word, word.capitalize()):
                found.setdefault(form, len(found))
    return found
