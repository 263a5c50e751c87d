"""Data of texts, or pairs of them, from settings: splits, tokenizer, token ids, and a baseline."""

import logging
from collections.abc import Callable, Mapping
from functools import partial, reduce
from itertools import chain
from typing import Any

import datasets
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hftune.data.base_model import checkpoint_config, why_not_loaded
from hftune.data.baselines import TextBaseline
from hftune.data.dataset import Data, Rows, Transfer
from hftune.data.splits import log_splits
from hftune.data.text.augment import Augment, AugmentedTexts
from hftune.data.text.pair_baselines import PairBaseline, part_baselines
from hftune.data.text.pairs import SWAPPED, Texts, parts_of, refuse_words_of_pairs, truncation_of_pairs
from hftune.data.text.splits import TextSplits, load_splits
from hftune.data.text.stream import StreamedRows, StreamedTexts, stream_splits
from hftune.data.text.token_warnings import unknown_share, warn_of_special_tokens, warn_of_unknown
from hftune.data.text.tokenize import (
    TextCollator,
    TokenRows,
    contents_of,
    encoder,
    tokenize,
    truncation_report,
)
from hftune.data.text.tokenizer import AS_WRITTEN, prepare_tokenizer
from hftune.data.text.vocabulary import train_tokenizer
from hftune.data.text.windows import SCORED, TrainingWindows, Windows, window_report
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks import name_of
from hftune.tasks.base import Task

log = logging.getLogger(__name__)

WITHOUT = (  # of `--streaming`
    "texts are tokenized as batches are made of them, so rows are not sorted by length; left out: simple "
    "models to compare with, and the search for texts that stand twice; hftune validate does not know the "
    "longest rows"
)
LEARNED = ("train", "unlabeled")  # splits that the loop trains on


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
    if settings.streaming:
        return _load_streamed(settings, augment, task)
    splits = load_splits(settings, task)
    splits.task.check_loss_flags(settings.replace(task=name_of(splits.task)))
    truncation = choose_truncation(settings, splits.pairs)
    parts = {
        "train": splits.train,
        "validation": splits.validation,
        "test": splits.test,
        "unlabeled": splits.unlabeled,
    }
    sets = {name: split for name, split in parts.items() if split is not None}
    sizes = {name: len(split) for name, split in sets.items()}
    log_splits(splits.origin, sizes, splits.task, splits.warnings)
    tokenizer = load_tokenizer(settings, splits)
    windows = Windows.of(settings, tokenizer)
    cut: dict[str, Any] = {"max_length": settings.max_length, "truncation": truncation}
    if windows:
        tokenizer.model_max_length = windows.longest(SCORED)
        cut = {"max_length": windows.longest(SCORED), "truncation": "head"}
    rows = _tokenized(splits, sets, tokenizer, cut)
    unknown = unknown_share(rows["train"], tokenizer, splits.pairs)
    if windows:
        facts = log_windows(rows, windows, settings.max_windows, unknown)
    else:
        noun = "pair" if splits.pairs else "text"
        log_lengths(rows["train"], settings.max_length, truncation, unknown, noun)
        facts = {f"train_{name}": value for name, value in truncation_report(rows["train"]).items()}
    _warn_of_tokens(settings, sets, rows, tokenizer)
    if augment:
        log.info("training texts: changed in every epoch by %s", getattr(augment, "__name__", "augment"))

    def learned(*names: str) -> Rows:
        """Returns the rows of some splits, one behind the other, as the loop visits them."""
        tokens = reduce(TokenRows.followed_by, (rows[name] for name in names))
        found: Rows = tokens
        if augment:
            texts, encode = _contents(sets, *names), encoder(tokenizer, **cut)
            found = AugmentedTexts(tokens, texts, encode, augment, settings.seed)
        return TrainingWindows(found, windows, settings.max_windows, settings.seed) if windows else found

    return Data(
        train=learned("train"),
        **_scored(settings, splits, rows, tokenizer),
        facts={f"{name}_samples": size for name, size in sizes.items()} | facts,
        **_baselines(splits),
        transfer=_transfer(sets, learned) if settings.teacher else None,
    )


def _load_streamed(settings: TextSettings, augment: Augment | None, task: Task | None) -> Data:
    """Loads a text data set of which the training texts stay on the disk: see `hftune.data.text.stream`."""
    if augment:
        raise BadInput("--streaming: this recipe changes its training texts (augment); leave --streaming out")
    splits, texts = stream_splits(settings, task)
    splits.task.check_loss_flags(settings.replace(task=name_of(splits.task)))
    truncation = choose_truncation(settings, splits.pairs)
    parts = {"sample": splits.train, "validation": splits.validation, "test": splits.test}
    sets = {name: split for name, split in parts.items() if split is not None}
    sizes = {name: len(texts if name == "sample" else split) for name, split in sets.items()}
    sizes = {"train": sizes.pop("sample"), **sizes}
    log_splits(splits.origin, sizes, splits.task, splits.warnings)
    log.info("order: %s", texts.about())
    log.info("streaming: %s", WITHOUT)
    tokenizer = load_tokenizer(settings, splits, texts)
    cut: dict[str, Any] = {"max_length": settings.max_length, "truncation": truncation}
    rows = _tokenized(splits, sets, tokenizer, cut)
    unknown = unknown_share(rows["sample"], tokenizer, splits.pairs)
    noun = "pair" if splits.pairs else "text"
    log.info("%s of the train %ss, drawn, tell how long they are:", f"{len(rows['sample']):,}", noun)
    log_lengths(rows["sample"], settings.max_length, truncation, unknown, noun)
    _warn_of_tokens(settings, sets, rows, tokenizer)
    return Data(
        train=StreamedRows(texts, encoder(tokenizer, **cut), splits.targets["train"], settings.max_length),
        **_scored(settings, splits, rows, tokenizer),
        facts={f"{name}_samples": size for name, size in sizes.items()},
        order=texts.order,
    )


def _tokenized(
    splits: TextSplits,
    sets: Mapping[str, datasets.Dataset],
    tokenizer: PreTrainedTokenizerBase,
    cut: Mapping[str, Any],
) -> dict[str, TokenRows]:
    """Returns the tokens of some of the splits, by their names."""
    return {
        name: tokenize(
            split,
            tokenizer,
            targets=splits.targets.get(name),
            **cut,
            fingerprint=f"{splits.fingerprint}-{name}",
            description=f"tokenizing {name}",
            place=splits.place[name],
        )
        for name, split in sets.items()
    }


def _warn_of_tokens(
    settings: TextSettings,
    sets: Mapping[str, datasets.Dataset],
    rows: Mapping[str, TokenRows],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    for name, split in sets.items():
        warn_of_unknown(name, split, rows[name], tokenizer, _for_other_words(settings))
        warn_of_special_tokens(name, split, tokenizer)


def _scored(
    settings: TextSettings,
    splits: TextSplits,
    rows: Mapping[str, TokenRows],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """Returns the fields of `Data` that do not depend on how the training rows are read."""
    truncation = choose_truncation(settings, splits.pairs)
    return {
        "validation": rows["validation"],
        "test": rows.get("test"),
        "collate": TextCollator.of(tokenizer),
        "task": splits.task,
        "processor": tokenizer,
        "fingerprint": splits.fingerprint,
        "origin": splits.origin,
        "dataset_commit": splits.commit or None,
        "places": splits.test_places,
        "input_config": {"text_pair": True, "truncation": truncation} if splits.pairs else {},
        "swapped": _swapped(splits, tokenizer, settings.max_length, truncation) if splits.pairs else None,
    }


def _transfer(sets: Mapping[str, datasets.Dataset], learned: Callable[..., Rows]) -> Transfer:
    """Returns what a teacher answers, given the rows of some splits by their names."""
    names = [name for name in LEARNED if name in sets]
    tested = partial(_contents, sets, "test") if "test" in sets else None
    return Transfer(learned(*names), partial(_contents, sets, *names), tested)


def _contents(sets: Mapping[str, datasets.Dataset], *names: str) -> list[Texts]:
    """Returns the texts of some splits, or the pairs, one behind the other."""
    return [content for name in names for content in contents_of(sets[name][:])]


def _baselines(splits: TextSplits) -> dict[str, Any]:
    """Returns the simple models of `Data`."""
    if splits.test is None:
        return {}
    rows = splits.train, splits.test, splits.validation
    if not splits.pairs:
        return {"baseline": TextBaseline(*rows)}
    return {"baseline": PairBaseline(*rows), "part_baselines": part_baselines(*rows)}


def choose_truncation(settings: TextSettings, pairs: bool) -> str:
    """Returns how long texts are cut, or `pairs` of them.

    Raises:
        BadInput: The setting is a word for the other of the two.
    """
    if pairs:
        return truncation_of_pairs(settings.truncation)
    refuse_words_of_pairs(settings.truncation)
    return settings.truncation


def _swapped(
    splits: TextSplits, tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str
) -> TokenRows | None:
    """Returns the test pairs with their texts in changed places; the same text of each is cut as before."""
    if splits.test is None:
        return None
    names = {"text": "text_pair", "text_pair": "text"}
    return tokenize(
        splits.test.rename_columns(names),
        tokenizer,
        targets=splits.targets["test"],
        max_length=max_length,
        truncation=SWAPPED.get(truncation, truncation),
        fingerprint=f"{splits.fingerprint}-test-swapped",
        description="tokenizing test, texts swapped",
        place=splits.place["test"],
    )


def load_tokenizer(
    settings: TextSettings, splits: TextSplits, streamed: StreamedTexts | None = None
) -> PreTrainedTokenizerBase:
    """Loads the checkpoint's tokenizer, or learns a vocabulary from all texts that are trained on.

    Args:
        settings: Name the one, or say what the other is.
        splits: Have the texts.
        streamed: The training texts, where `splits` has only some of them.

    Raises:
        BadInput: If the checkpoint has no tokenizer that can be loaded.
    """
    if settings.model_type:
        sets = [split for split in (splits.train, splits.unlabeled) if split is not None]
        texts = chain.from_iterable(split[column] for split in sets for column in split.column_names)
        learned = train_tokenizer(
            texts if streamed is None else chain.from_iterable(map(parts_of, streamed)),
            tokenizer_type=settings.tokenizer_type,
            vocab_size=settings.vocab_size,
            min_frequency=settings.min_frequency,
            max_length=settings.max_length,
            truncation_side=truncation_side(settings.truncation),
            pairs=splits.pairs,
        )
        more = " and the texts without labels" if splits.unlabeled is not None else ""
        log.info("vocabulary: %s tokens, learned from the train split%s", f"{len(learned):,}", more)
        return learned
    return pretrained_tokenizer(settings)


def pretrained_tokenizer(settings: TextSettings) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of `--model_name_or_path`.

    Raises:
        BadInput: None is named, or it cannot be loaded.
    """
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
        tokenizer = prepare_tokenizer(made, config, pooled=settings.own_pooling is not None)
    except (OSError, ValueError, KeyError) as error:
        reason = why_not_loaded(error)
        raise BadInput(f"--model_name_or_path {name}: no tokenizer could be loaded: {reason}") from None
    tokenizer.model_max_length = settings.max_length  # where `pipeline` cuts
    return tokenizer


def truncation_side(truncation: str) -> str:
    """Returns transformers' word for the end at which `pipeline` should cut.

    It has none for `head+tail`, which becomes the nearest thing, the tail: three quarters of what it keeps.
    """
    return "left" if truncation in ("tail", "head+tail") else "right"


def log_lengths(train: TokenRows, max_length: int, truncation: str, unknown: float, noun: str) -> None:
    """Tells how long the texts are, what `max_length` cut off, and a share of unknown tokens above 1 %."""
    report = truncation_report(train)
    log.info(
        "tokens: %s per %s at the median; max_length %s (%s) cuts %s of %s train %ss (%.1f %%), "
        "%.1f %% of all tokens%s",
        f"{int(sorted(train.tokens)[len(train) // 2]):,}",
        noun,
        max_length,
        truncation,
        f"{report['truncated_rows']:,}",
        f"{len(train):,}",
        noun,
        100 * report["truncated_rows_share"],
        100 * report["truncated_tokens_share"],
        _unknown_words(unknown),
    )


def log_windows(
    rows: Mapping[str, TokenRows], windows: Windows, most: int, unknown: float
) -> dict[str, float]:
    """Tells how many windows the texts have and what share of their tokens is read.

    Args:
        rows: The splits by name, "train" among them.
        windows: How texts are cut.
        most: Windows of a text in training.
        unknown: Share of the tokens of train that the tokenizer does not know.

    Returns:
        The same as facts for `all_results.json`.
    """
    facts = {
        f"{name}_{key}": value
        for name, split in rows.items()
        for key, value in window_report(split, windows, most if name in LEARNED else SCORED).items()
    }
    shares = [f"{100 * facts[f'{name}_tokens_read_share']:.1f} % of {name}" for name in rows]
    log.info(
        "windows: of %s tokens, %s shared with the one before; %s per train text at the median, %s at most; "
        "an epoch of training reads up to %s, scoring %s; of all tokens are read: %s%s",
        windows.size,
        windows.stride,
        f"{facts['train_windows_median']:g}",
        f"{facts['train_windows_max']:,.0f}",
        most,
        SCORED,
        ", ".join(shares),
        _unknown_words(unknown),
    )
    return facts


def _unknown_words(share: float) -> str:
    return f"; {100 * share:.1f} % are unknown to the tokenizer" if share > 0.01 else ""


def _for_other_words(settings: TextSettings) -> str:
    """Returns what to do about words that the tokenizer does not know."""
    if not settings.model_type:
        return f"pass a model whose tokenizer knows the language, {settings.model_name_or_path} does not"
    whole = f"lower --min_frequency {settings.min_frequency} or raise --vocab_size {settings.vocab_size}"
    if settings.tokenizer_type == "character":
        return whole
    return f"pass --tokenizer_type character for a script without blanks between words, else {whole}"
