"""Texts with masked tokens, from settings: splits, tokenizer, rows, and a baseline."""

import logging
from collections.abc import Mapping

import datasets
import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from hftune.data.dataset import Data, Places
from hftune.data.duplicates import CheckedSplit
from hftune.data.masked_lm.masking import Masking
from hftune.data.masked_lm.read import load_splits
from hftune.data.masked_lm.rows import MaskedCollator, MaskedTexts, UnigramBaseline
from hftune.data.masked_lm.tokenizer import load_tokenizers
from hftune.data.splits import Splits, log_splits
from hftune.data.text.token_warnings import warn_of_special_tokens, warn_of_unknown
from hftune.data.text.tokenize import TextCollator, TokenRows, special_tokens_around, tokenize
from hftune.settings.masked_lm import MaskedLMSettings

log = logging.getLogger(__name__)

WHOLE = 2**31 - 1  # tokens: a text is tokenized whole
OTHER_WORDS = "pass a model whose tokenizer knows the language"


def load_masked_lm(settings: MaskedLMSettings) -> Data:
    """Loads, splits and tokenizes texts without labels, and decides which of their tokens are masked.

    A row is a text, never two of them; of one that is longer than `max_length`, training reads another
    stretch in every epoch. The test rows, where there are any, are those of the set's test split.

    Raises:
        BadInput: The data or the tokenizer cannot be used; the message names file and row.
    """
    splits = load_splits(settings)
    sizes = {name: len(part.rows) for name, part in splits.parts.items()}
    log_splits(splits.origin, sizes, splits.task, splits.warnings)
    sets = {name: _dataset(part, f"{splits.fingerprint[:32]}-{name}") for name, part in splits.parts.items()}
    reads, saved = load_tokenizers(settings, sets["train"]["text"])
    if settings.model_type:
        log.info("vocabulary: %s pieces of words, from the train split", f"{len(saved):,}")
    masking, around = Masking.of(saved, settings.mlm_probability), special_tokens_around(reads)
    whole = {name: _whole(name, split, reads, splits) for name, split in sets.items()}
    rows = {
        name: MaskedTexts(
            of,
            masking,
            around,
            settings.max_length,
            ("mask", settings.seed if name == "train" else name),
            training=name == "train",
        )
        for name, of in whole.items()
    }
    _warn_of_left_out(rows, splits)
    train, test = rows["train"], splits.parts.get("test")
    scored = rows["test" if test else "validation"]
    return Data(
        train=train,
        validation=rows["validation"],
        test=rows.get("test"),
        collate=MaskedCollator(TextCollator.of(reads)),
        task=splits.task.with_mask(saved.mask_token),  # type: ignore[attr-defined]
        processor=saved,
        fingerprint=splits.fingerprint,
        origin=splits.origin,
        dataset_commit=splits.commit or None,
        facts={f"{name}_samples": len(of) for name, of in rows.items()} | _lengths(whole["train"], train),
        baseline=UnigramBaseline(train, scored, masking),  # type: ignore[arg-type]  # the task alone reads it
        places=_places(test).take(rows["test"].kept) if test else None,
    )


def _dataset(part: CheckedSplit, fingerprint: str) -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string")})
    return datasets.Dataset(pa.table({"text": part.content}, features.arrow_schema), fingerprint=fingerprint)


def _whole(
    name: str, split: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, splits: Splits
) -> TokenRows:
    """Returns the tokens of whole texts, and warns of what their writer would not expect."""
    rows = tokenize(
        split,
        tokenizer,
        max_length=WHOLE,
        truncation="head",
        fingerprint=f"{splits.fingerprint}-{name}",
        description=f"tokenizing {name}",
    )
    warn_of_unknown(name, split, rows, tokenizer, OTHER_WORDS)
    warn_of_special_tokens(name, split, tokenizer)
    return rows


def _warn_of_left_out(rows: Mapping[str, MaskedTexts], splits: Splits) -> None:
    """Tells of texts that hold nothing to be predicted."""
    for name, of in rows.items():
        part = splits.parts[name]
        gone = np.setdiff1d(np.arange(len(part.rows)), of.kept)
        if len(gone):
            log.warning(
                "%s: %s texts hold no token that could be masked, and are left out (first: %s)",
                *(name, f"{len(gone):,}", part.place(int(gone[0]))),
            )


def _lengths(whole: TokenRows, train: MaskedTexts) -> dict[str, float]:
    """Tells how long the training texts are and how much of them is read and masked; returns the same."""
    tokens = whole.tokens[train.kept]
    longer, read, masked = (
        float((tokens > train.lengths).mean()),
        float(train.lengths.sum() / tokens.sum()),
        float(train.weights.sum() / train.lengths.sum()),
    )
    log.info(
        "tokens: %s per text at the median; of %.1f %% of the texts, which are longer than --max_length, an "
        "epoch reads a stretch, another each time; of all tokens %.1f %% are read, of these %.1f %% masked",
        *(f"{int(np.sort(tokens)[len(tokens) // 2]):,}", 100 * longer, 100 * read, 100 * masked),
    )
    return {"train_longer_texts_share": longer, "train_tokens_read_share": read, "train_masked_share": masked}


def _places(part: CheckedSplit) -> Places:
    rows = part.table.of_user(part.rows)
    return Places(rows, part.place, {"text": lambda row: part.content[row].as_py()})
