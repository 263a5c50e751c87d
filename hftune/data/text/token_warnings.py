"""What a tokenizer does to texts that their writer would not expect, said before training."""

import logging
import re

import datasets
import numpy as np
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from hftune.data.text.tokenize import TokenRows, special_tokens_around
from hftune.data.text.tokenizer import obeyed

log = logging.getLogger(__name__)

MANY = 0.2  # share of unknown tokens from which on a model can learn little
MOST = 60  # characters of a text that are shown


def unknown_share(rows: TokenRows, tokenizer: PreTrainedTokenizerBase, pairs: bool = False) -> float:
    """Returns the share of a split's tokens, without those around the texts, that are the unknown token.

    Args:
        rows: The split's tokens.
        tokenizer: What made them.
        pairs: Whether a row is a pair of texts.
    """
    unknown = tokenizer.unk_token_id
    if not isinstance(unknown, int):  # of bytes all are known
        return 0.0
    before, after = special_tokens_around(tokenizer)
    around = before + after
    added = tokenizer.num_special_tokens_to_add(pair=True) if pairs else len(around)
    words = rows.lengths.sum() - added * len(rows)
    return float((rows.count(unknown).sum() - around.count(unknown) * len(rows)) / words)


def warn_of_unknown(
    name: str,
    split: datasets.Dataset,
    rows: TokenRows,
    tokenizer: PreTrainedTokenizerBase,
    advice: str,
) -> None:
    """Warns where the tokenizer does not know many words of a split, and shows the worst text.

    Args:
        name: Of the split.
        split: Its column `text`, and of pairs `text_pair`.
        rows: Their tokens.
        tokenizer: What made them.
        advice: What to do.
    """
    share = unknown_share(rows, tokenizer, "text_pair" in split.column_names)
    if share > MANY:
        worst = int((rows.count(tokenizer.unk_token_id) / rows.lengths).argmax())
        log.warning(
            "%.0f %% of the tokens of %s are unknown to the tokenizer, as in %s; %s",
            100 * share,
            name,
            " and ".join(shown(split[worst][column]) for column in columns_of_text(split)),
            advice,
        )


def warn_of_special_tokens(name: str, split: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> None:
    """Warns of texts in which a special token is written, where that has an effect or was meant to.

    * The few tokenizers that cannot take it as plain text obey it.
    * A special token of the user's own, such as `[E1]`, is taken as plain text like all others.
    """
    _warn(
        name,
        split,
        obeyed(tokenizer),
        "obeyed, as this tokenizer cannot read it as it is written; take it out of the text",
    )
    own = [str(token) for token in tokenizer.extra_special_tokens]
    _warn(
        name,
        split,
        own if tokenizer.split_special_tokens else [],
        "read as plain text, as special tokens in a text are; if it was meant as a token, add it to the "
        "tokenizer as an ordinary one (add_tokens)",
    )


def _warn(name: str, split: datasets.Dataset, tokens: list[str], what: str) -> None:
    if not tokens:
        return
    pattern = "|".join(map(re.escape, tokens))
    texts = split.select_columns(columns_of_text(split))
    found = [pc.match_substring_regex(column, pattern).to_numpy() for column in texts.data.columns]
    rows = np.flatnonzero(np.any(found, axis=0))
    if len(rows):
        text = next(text for text in texts[int(rows[0])].values() if re.search(pattern, text))
        token = next(token for token in tokens if token in text)
        said = "%s: %d texts hold a special token, such as %s, which is %s (first: %s)"
        log.warning(said, name, len(rows), token, what, shown(text))


def columns_of_text(split: datasets.Dataset) -> list[str]:
    """Returns the columns that hold texts: two of pairs."""
    return [name for name in ("text", "text_pair") if name in split.column_names]


def shown(text: str) -> str:
    """Returns the beginning of a text as it may stand in a message."""
    return repr(text if len(text) <= MOST else f"{text[:MOST]}...")
