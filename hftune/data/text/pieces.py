"""Pieces of words that occur often together, learned from texts (WordPiece, Schuster & Nakajima 2012)."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, trainers

from hftune.errors import BadInput

GOES_ON = "##"  # how a piece within a word begins


def learn_pieces(
    texts: Iterable[str], tokenizer: Tokenizer, special: Sequence[str], *, vocab_size: int, min_frequency: int
) -> dict[str, int]:
    """Returns a vocabulary, the same in every process.

    Args:
        texts: The training texts, and no others.
        tokenizer: A WordPiece model without pieces; says how texts are normalised and cut into words. It is
            trained.
        special: Special tokens, which get the first numbers.
        vocab_size: The most pieces kept.
        min_frequency: How often two pieces stand side by side, at least, to be made one.

    Raises:
        BadInput: `vocab_size` has no room for the letters.
    """
    texts = list(texts)
    normalize = tokenizer.normalizer.normalize_str
    letters = sorted(set().union(*map(normalize, texts)) - {" "})
    # The trainer numbers pieces within words as a hash table happens to hold them, and equally frequent pairs
    # are joined by these numbers: as special tokens they have theirs before it begins.
    within = [GOES_ON + letter for letter in letters]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*special, *within],
        initial_alphabet=letters,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pieces = tokenizer.get_vocab()
    if len(pieces) > vocab_size:
        raise BadInput(
            f"--vocab_size {vocab_size}: the letters of the training words alone are {len(pieces):,}; "
            "raise it"
        )
    return pieces
