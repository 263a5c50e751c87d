"""Text classification data from settings: splits, tokenizer, token ids, and the floor to beat."""

import logging
from collections.abc import Callable

import datasets
import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hftune.data.bundle import Data
from hftune.data.describe import log_splits
from hftune.data.text import TextCollator, TokenRows, tokenize, truncation_report
from hftune.data.text_splits import TextSplits, load_splits
from hftune.data.vocabulary import train_tokenizer
from hftune.errors import BadInput, first_line
from hftune.text_settings import TextSettings

log = logging.getLogger(__name__)


def load_text(settings: TextSettings) -> Data:
    """Loads, splits, tokenizes and cuts a text data set.

    Raises:
        BadInput: If the data or the tokenizer cannot be used; the message names file and row.
    """
    splits = load_splits(settings)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    sets = {name: split for name, split in parts.items() if split is not None}
    sizes = {name: len(split) for name, split in sets.items()}
    log_splits(splits.origin, sizes, splits.labels, splits.warnings)
    tokenizer = load_tokenizer(settings, splits)
    rows = {
        name: tokenize(
            split,
            tokenizer,
            max_length=settings.max_length,
            truncation=settings.truncation,
            fingerprint=f"{splits.fingerprint}-{name}",
            description=f"tokenizing {name}",
        )
        for name, split in sets.items()
    }
    log_lengths(rows["train"], settings)
    return Data(
        train=rows["train"],
        validation=rows["validation"],
        test=rows.get("test"),
        collate=TextCollator(tokenizer.pad_token_id, "token_type_ids" in tokenizer.model_input_names),
        labels=splits.labels,
        processor=tokenizer,
        fingerprint=splits.fingerprint,
        origin=splits.origin,
        dataset_commit=splits.commit or None,
        facts={f"{name}_samples": size for name, size in sizes.items()}
        | {f"train_{name}": value for name, value in truncation_report(rows["train"]).items()},
        floor=_floor(splits.train, splits.test, len(splits.labels)) if splits.test is not None else None,
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
    try:
        # Said here and not set later: only what a tokenizer is made with is saved with it.
        side = truncation_side(settings.truncation)
        tokenizer = AutoTokenizer.from_pretrained(name, truncation_side=side, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"--model_name_or_path {name}: no tokenizer could be loaded: {first_line(error)}"
        ) from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes up without a file
        raise BadInput(f"--model_name_or_path {name}: no tokenizer could be loaded: it has no words")
    if tokenizer.pad_token_id is None:  # GPT-2 and its kin have none; the mask keeps it from being read
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = settings.max_length  # what whoever loads the model should cut at
    return tokenizer


def truncation_side(truncation: str) -> str:
    """Returns transformers' word for the end at which whoever loads the model should cut.

    It has none for `head+tail`, which becomes the nearest thing, the tail: three quarters of what it keeps.
    """
    return "right" if truncation == "head" else "left"


def log_lengths(train: TokenRows, settings: TextSettings) -> None:
    """Tells how long the texts are and what `max_length` cut off."""
    report = truncation_report(train)
    log.info(
        "tokens: %s per text at the median; max_length %s (%s) cuts %s of %s train texts (%.1f %%), "
        "%.1f %% of all tokens",
        f"{int(sorted(train.tokens)[len(train) // 2]):,}",
        settings.max_length,
        settings.truncation,
        f"{report['truncated_rows']:,}",
        f"{len(train):,}",
        100 * report["truncated_rows_share"],
        100 * report["truncated_tokens_share"],
    )


def _floor(train: datasets.Dataset, test: datasets.Dataset, num_labels: int) -> Callable[[], dict]:
    def floor() -> dict[str, np.ndarray]:
        from hftune.floor import predict_floor

        return predict_floor(train["text"], train["label"], test["text"], num_labels)

    return floor
