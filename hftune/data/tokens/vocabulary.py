"""A vocabulary of word pieces learned from the training words, as a tokenizer that `AutoTokenizer` loads.

A word that is rare, or that no training row has, is cut into pieces, so that its letters are not lost: for
names they say a lot, and so do capitals, which are kept.
"""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hftune.data.text.tokenizer import AS_WRITTEN
from hftune.data.text.vocabulary import PAD, UNKNOWN
from hftune.errors import BadInput


def train_pieces(
    sentences: Iterable[Sequence[str]], *, vocab_size: int, min_frequency: int, max_length: int
) -> PreTrainedTokenizerFast:
    """Builds a vocabulary from words (WordPiece, Schuster & Nakajima 2012).

    Args:
        sentences: The words of the training rows, and no others.
        vocab_size: The most pieces kept.
        min_frequency: How often two pieces stand side by side, at least, to be made one.
        max_length: Tokens that the model will read at once, stored with the tokenizer.

    Returns:
        A tokenizer with `[PAD]` = 0 and `[UNK]` = 1, which cuts words at blanks and signs first.

    Raises:
        BadInput: `vocab_size` has no room for the letters.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
            ),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join(words) for words in sentences), trainer)
    if tokenizer.get_vocab_size() > vocab_size:
        raise BadInput(
            f"--vocab_size {vocab_size}: the letters of the training words alone are "
            f"{tokenizer.get_vocab_size():,}; raise it"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="right",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **AS_WRITTEN,
    )
