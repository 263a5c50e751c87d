"""Data of texts from settings: splits, tokenizer, token ids, and a baseline."""

import logging

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hftune.data.base_model import checkpoint_config, why_not_loaded
from hftune.data.baselines import TextBaseline
from hftune.data.dataset import Data, Rows
from hftune.data.splits import log_splits
from hftune.data.text.augment import Augment, AugmentedTexts
from hftune.data.text.splits import TextSplits, load_splits
from hftune.data.text.token_warnings import unknown_share, warn_of_special_tokens, warn_of_unknown
from hftune.data.text.tokenize import Encoder, TextCollator, TokenRows, tokenize, truncation_report
from hftune.data.text.tokenizer import AS_WRITTEN, prepare_tokenizer
from hftune.data.text.vocabulary import train_tokenizer
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks.base import Task

log = logging.getLogger(__name__)


def load_text(settings: TextSettings, augment: Augment | None = None, task: Task | None = None) -> Data:
    """Loads, splits, tokenizes and cuts a text data set.

    Args:
        settings: Where the texts are, and how they are tokenized.
        augment: Changes each training text, differently in every epoch: from the text and a random
            generator, whose numbers depend on (seed, epoch, row) alone, to the text to train on. Validation
            and test texts stay as they are.
        task: What is asked of a row, where it is the recipe's own; None for the one that `--task` names.

    Raises:
        BadInput: If the data or the tokenizer cannot be used; the message names file and row.
    """
    splits = load_splits(settings, task)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    sets = {name: split for name, split in parts.items() if split is not None}
    sizes = {name: len(split) for name, split in sets.items()}
    log_splits(splits.origin, sizes, splits.task.labels, splits.warnings)
    tokenizer = load_tokenizer(settings, splits)
    rows = {
        name: tokenize(
            split,
            tokenizer,
            targets=splits.targets[name],
            max_length=settings.max_length,
            truncation=settings.truncation,
            fingerprint=f"{splits.fingerprint}-{name}",
            description=f"tokenizing {name}",
        )
        for name, split in sets.items()
    }
    log_lengths(rows["train"], settings, unknown_share(rows["train"], tokenizer))
    for name, split in sets.items():
        warn_of_unknown(name, split, rows[name], tokenizer, _for_other_words(settings))
        warn_of_special_tokens(name, split, tokenizer)
    train: Rows = rows["train"]
    if augment:
        encode = Encoder(tokenizer, max_length=settings.max_length, truncation=settings.truncation)
        train = AugmentedTexts(rows["train"], splits.train["text"], encode, augment, settings.seed)
        log.info("training texts: changed in every epoch by %s", getattr(augment, "__name__", "augment"))
    return Data(
        train=train,
        validation=rows["validation"],
        test=rows.get("test"),
        collate=TextCollator.of(tokenizer),
        task=splits.task,
        processor=tokenizer,
        fingerprint=splits.fingerprint,
        origin=splits.origin,
        dataset_commit=splits.commit or None,
        facts={f"{name}_samples": size for name, size in sizes.items()}
        | {f"train_{name}": value for name, value in truncation_report(rows["train"]).items()},
        baseline=TextBaseline(splits.train, splits.test) if splits.test is not None else None,
        places=splits.test_places,
    )


def load_tokenizer(settings: TextSettings, splits: TextSplits) -> PreTrainedTokenizerBase:
    """Loads the checkpoint's tokenizer, or learns a vocabulary from the train split.

    Raises:
        BadInput: If the checkpoint has no tokenizer that can be loaded.
    """
    if settings.model_type:
        learned = train_tokenizer(
            splits.train["text"],
            tokenizer_type=settings.tokenizer_type,
            vocab_size=settings.vocab_size,
            min_frequency=settings.min_frequency,
            max_length=settings.max_length,
            truncation_side=truncation_side(settings.truncation),
        )
        log.info("vocabulary: %s tokens, learned from the train split", f"{len(learned):,}")
        return learned
    name = settings.model_name_or_path
    if name is None:
        raise BadInput("no model: give --model_name_or_path NAME, or --model_type KIND to start from scratch")
    config = checkpoint_config(name, "texts")
    try:
        # Said here and not set later: only what a tokenizer is made with is saved with it.
        side = truncation_side(settings.truncation)
        made = AutoTokenizer.from_pretrained(
            name, truncation_side=side, trust_remote_code=False, **AS_WRITTEN
        )
        tokenizer = prepare_tokenizer(made, config, pooled=settings.pooling != "native")
    except (OSError, ValueError, KeyError) as error:
        reason = why_not_loaded(error)
        raise BadInput(f"--model_name_or_path {name}: no tokenizer could be loaded: {reason}") from None
    tokenizer.model_max_length = settings.max_length  # where `pipeline` cuts
    return tokenizer


def truncation_side(truncation: str) -> str:
    """Returns transformers' word for the end at which `pipeline` should cut.

    It has none for `head+tail`, which becomes the nearest thing, the tail: three quarters of what it keeps.
    """
    return "right" if truncation == "head" else "left"


def log_lengths(train: TokenRows, settings: TextSettings, unknown: float) -> None:
    """Tells how long the texts are, what `max_length` cut off, and a share of unknown tokens above 1 %."""
    report = truncation_report(train)
    log.info(
        "tokens: %s per text at the median; max_length %s (%s) cuts %s of %s train texts (%.1f %%), "
        "%.1f %% of all tokens%s",
        f"{int(sorted(train.tokens)[len(train) // 2]):,}",
        settings.max_length,
        settings.truncation,
        f"{report['truncated_rows']:,}",
        f"{len(train):,}",
        100 * report["truncated_rows_share"],
        100 * report["truncated_tokens_share"],
        f"; {100 * unknown:.1f} % are unknown to the tokenizer" if unknown > 0.01 else "",
    )


def _for_other_words(settings: TextSettings) -> str:
    """Returns what to do about words that the tokenizer does not know."""
    if not settings.model_type:
        return f"pass a model whose tokenizer knows the language, {settings.model_name_or_path} does not"
    whole = f"lower --min_frequency {settings.min_frequency} or raise --vocab_size {settings.vocab_size}"
    if settings.tokenizer_type == "character":
        return whole
    return f"pass --tokenizer_type character for a script without blanks between words, else {whole}"
