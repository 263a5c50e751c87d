"""Data of tagged words from settings: splits, tokenizer, windows, and a baseline."""

import logging
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hftune.data.base_model import checkpoint_config, why_not_loaded
from hftune.data.dataset import Data, Places
from hftune.data.duplicates import CheckedSplit
from hftune.data.sources import find_source
from hftune.data.splits import Splits, UsableContent, log_splits, make_splits
from hftune.data.tables.table import Table
from hftune.data.text.tokenize import TextCollator
from hftune.data.text.tokenizer import AS_WRITTEN, prepare_tokenizer
from hftune.data.text.word_vectors import read_words
from hftune.data.tokens.baseline import TokenBaseline
from hftune.data.tokens.prefix_space import with_prefix_space
from hftune.data.tokens.read import TAGS, TEXT, refuse_without_tags, tagged_source
from hftune.data.tokens.sample import load_sample
from hftune.data.tokens.vocabulary import train_pieces
from hftune.data.tokens.windows import TaggedRows, TokenCollator, Windows
from hftune.errors import BadInput
from hftune.settings.tokens import TokenSettings
from hftune.tasks.base import Task

log = logging.getLogger(__name__)


def load_tokens(settings: TokenSettings, task: Task | None = None) -> Data:
    """Loads, splits and tokenizes a data set of tagged words.

    A training row is a window, so that a batch has the size that was asked for; a validation or test row is a
    sentence with all its windows.

    Args:
        settings: Where the words are, and how they are read.
        task: What is asked of a row, where it is the recipe's own; None for the one that `--task` names.

    Raises:
        BadInput: The data or the tokenizer cannot be used; the message names file and row.
    """
    splits = load_splits(settings, task)
    sizes = {name: len(part.rows) for name, part in splits.parts.items()}
    log_splits(splits.origin, sizes, splits.task, splits.warnings)
    targets = {name: part.targets for name, part in splits.parts.items()}
    tokenizer = load_tokenizer(settings, targets["train"])
    windows = Windows(tokenizer, settings.max_length, settings.window_stride)
    rows = {name: _rows(windows, splits, name) for name in splits.parts}
    train = rows["train"].as_windows()
    facts: dict[str, float] = {f"{name}_samples": size for name, size in sizes.items()}
    facts["train_windows"] = len(train)
    _log_lengths(rows["train"], settings)
    test = splits.parts.get("test")
    baseline: Any = TokenBaseline(targets["train"], test.targets) if test else None  # read by the task alone
    return Data(
        train=train,
        validation=rows["validation"],
        test=rows.get("test"),
        collate=TokenCollator(TextCollator.of(tokenizer)),
        task=splits.task,
        processor=tokenizer,
        fingerprint=splits.fingerprint,
        origin=splits.origin,
        dataset_commit=splits.commit or None,
        facts=facts,
        baseline=baseline,
        places=_places(test) if test else None,
    )


def load_splits(settings: TokenSettings, task: Task | None = None) -> Splits:
    """Loads, checks and splits the rows that the settings name; the targets hold words and class ids.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    found = find_source(settings, load_sample, task)
    source = tagged_source(found, settings.text_column_name, settings.label_column_name)
    refuse_without_tags(source)

    def check(split: str, table: Table) -> UsableContent:
        return UsableContent(table.columns[TEXT], None, [])

    return make_splits(source, settings, content=(TEXT,), label=TAGS, check=check, noun="text", task=task)


def _places(part: CheckedSplit) -> Places:
    rows = part.table.of_user(part.rows)
    return Places(rows, part.place, {"text": lambda row: part.content[row].as_py()})


def _rows(windows: Windows, splits: Splits, name: str) -> TaggedRows:
    part = splits.parts[name]
    cut, gaps = windows.of_words([text.words for text in part.targets])
    if gaps:
        log.warning(
            "%s: %d rows have a word that the tokenizer makes nothing of; it counts as one unknown token "
            "(first: %s)",
            name,
            len(gaps),
            part.place(gaps[0]),
        )
    return TaggedRows(cut, part.targets)


def load_tokenizer(settings: TokenSettings, train: np.ndarray) -> PreTrainedTokenizerBase:
    """Loads the checkpoint's tokenizer, or learns a vocabulary from the train split.

    Args:
        settings: Which one.
        train: The training rows, objects `TaggedText`, (N,).

    Raises:
        BadInput: The checkpoint has no tokenizer that can be loaded.
    """
    if settings.model_type:
        learned = train_pieces(
            (text.words for text in train),
            vocab_size=settings.vocab_size,
            min_frequency=settings.min_frequency,
            max_length=settings.max_length,
            known=read_words(settings.embeddings) if settings.embeddings else (),
        )
        also = " and words that have a vector" if settings.embeddings else ""
        log.info("vocabulary: %s pieces of words, from the train split%s", f"{len(learned):,}", also)
        return learned
    name = settings.model_name_or_path
    if name is None:
        raise BadInput("no model: give --model_name_or_path NAME, or --model_type KIND to start from scratch")
    config = checkpoint_config(name, "texts")
    try:
        made = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **AS_WRITTEN)
        tokenizer = prepare_tokenizer(with_prefix_space(made), config)
    except (OSError, ValueError, KeyError) as error:
        reason = why_not_loaded(error)
        raise BadInput(f"--model_name_or_path {name}: no tokenizer could be loaded: {reason}") from None
    tokenizer.model_max_length = settings.max_length  # where `pipeline` cuts
    return tokenizer


def _log_lengths(train: TaggedRows, settings: TokenSettings) -> None:
    """Tells how long the sentences are, and how many are cut into windows."""
    cut = int(np.count_nonzero(train.lengths > settings.max_length))
    log.info(
        "tokens: %s per text at the median; max_length %s cuts %s of %s train texts into windows (%s in all)",
        f"{int(np.median(train.lengths)):,}",
        settings.max_length,
        f"{cut:,}",
        f"{len(train):,}",
        f"{train.windows:,}",
    )
