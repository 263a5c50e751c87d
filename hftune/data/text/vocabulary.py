"""A vocabulary learned from the training texts, as a tokenizer that `AutoTokenizer` loads anywhere.

The small models of this package start from scratch, so their words come from the training split
alone. The result is an ordinary fast tokenizer: saved as `tokenizer.json`, loaded without hftune.
"""

from collections.abc import Callable, Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hftune.data.text.tokenizer import AS_WRITTEN
from hftune.errors import BadInput

PAD, UNKNOWN, SEPARATOR = "[PAD]", "[UNK]", "[SEP]"


def train_tokenizer(
    texts: Iterable[str],
    *,
    tokenizer_type: str = "word",
    vocab_size: int = 30_000,
    min_frequency: int = 2,
    max_length: int = 512,
    truncation_side: str = "right",
    pairs: bool = False,
) -> PreTrainedTokenizerFast:
    """Builds a vocabulary from texts.

    Args:
        texts: The training texts, and no others: words of the test set must stay unknown.
        tokenizer_type: `"word"` splits at blanks and punctuation, and takes every Han character
            as a word of its own; `"character"` takes every character, for scripts without blanks.
        vocab_size: The most words kept, most frequent first, ties in alphabetical order.
        min_frequency: Words seen less often are unknown.
        max_length: Tokens that the model will read at most, stored with the tokenizer.
        truncation_side: The end at which a long text is cut, stored with it too.
        pairs: Whether the tokenizer also joins two texts, with `[SEP]` between them.

    Returns:
        A tokenizer with `[PAD]` = 0 and `[UNK]` = 1, for pairs also `[SEP]` = 2.

    Raises:
        BadInput: If no word is frequent enough.
    """
    tokenizer = _without_words(tokenizer_type)
    special = [PAD, UNKNOWN, *[SEPARATOR] * pairs]
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if pairs:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A", pair=f"$A {SEPARATOR} $B", special_tokens=[(SEPARATOR, special.index(SEPARATOR))]
        )
    if vocab_size <= len(special):
        raise BadInput(f"--vocab_size {vocab_size}: leaves no room for words beside {', '.join(special)}")
    if tokenizer.get_vocab_size() == len(special):
        word = "no character" if tokenizer_type == "character" else "no word"
        advice = (
            "lower it"
            if tokenizer_type == "character"
            else ("lower it, or pass --tokenizer_type character for a script without blanks between words")
        )
        raise BadInput(
            f"--min_frequency {min_frequency}: {word} occurs so often in the training texts; {advice}"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        sep_token=SEPARATOR if pairs else None,
        padding_side="right",
        truncation_side=truncation_side,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **AS_WRITTEN,
    )


def word_splitter() -> Callable[[str], list[str]]:
    """Returns what cuts a text into the words that a vocabulary of `"word"` tokens may hold."""
    backend = _without_words("word")
    normalize, split = backend.normalizer.normalize_str, backend.pre_tokenizer.pre_tokenize_str
    return lambda text: [word for word, _ in split(normalize(text))]


def _without_words(tokenizer_type: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"(?i)<br\s*/?>"), " "),  # line breaks of scraped reviews are no words
            normalizers.NFKC(),
            normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True
            ),
        ]
    )
    tokenizer.pre_tokenizer = {
        "word": pre_tokenizers.BertPreTokenizer(),
        "character": pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), behavior="isolated")]
        ),
    }[tokenizer_type]
    return tokenizer
