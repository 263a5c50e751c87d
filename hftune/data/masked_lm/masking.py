"""Which tokens of a text are masked, and what stands in their place (BERT, Devlin et al. 2019, 3.1)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that is not masked, in torch and transformers
MASKED, CHANGED = 0.8, 0.1  # of the masked tokens: become the mask, another token; the rest stays


@dataclass(frozen=True, eq=False)
class Masking:
    """How tokens are masked.

    Args:
        probability: Share of the ordinary tokens of a text that are masked.
        mask_token_id: That of the mask.
        ordinary: Which of the V ids are no special tokens, bool (V,): only these are masked, and only these
            stand in the place of another.
    """

    probability: float
    mask_token_id: int
    ordinary: np.ndarray

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, probability: float) -> Self:
        """Returns the masking of a tokenizer's ids."""
        ordinary = np.ones(max(tokenizer.get_vocab().values()) + 1, bool)
        ordinary[tokenizer.all_special_ids] = False
        return cls(probability, int(tokenizer.mask_token_id), ordinary)

    def least(self, ids: np.ndarray, room: int) -> int:
        """Returns how many ordinary tokens every stretch of `room` tokens has at least."""
        sums = np.concatenate([[0], np.cumsum(self.ordinary[ids])])
        return int(sums[-1] if len(ids) <= room else (sums[room:] - sums[:-room]).min())

    def count(self, ordinary: np.ndarray) -> np.ndarray:
        """Returns how many of so many ordinary tokens are masked, int64 (N,).

        As in BERT's own code their number is fixed by the text's length, and one at least: then it is known
        before anything is drawn how many terms of the loss a row has.
        """
        share = np.floor(self.probability * ordinary + 0.5).astype(np.int64)
        return np.minimum(ordinary, np.maximum(1, share))

    def mask(self, ids: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Masks some tokens.

        Args:
            ids: Of a text, int32 (L,).
            count: How many of the ordinary ones.
            random: What they are drawn from.

        Returns:
            What the model reads, int32 (L,), and the labels, int64 (L,): ids of masked tokens, else -100.
        """
        chosen = random.choice(np.flatnonzero(self.ordinary[ids]), count, replace=False)
        labels = np.full(len(ids), IGNORED, np.int64)
        labels[chosen] = ids[chosen]
        fate = random.random(count)
        shown = ids.copy()
        shown[chosen[fate < MASKED]] = self.mask_token_id
        changed = chosen[fate >= 1 - CHANGED]
        shown[changed] = random.choice(np.flatnonzero(self.ordinary), len(changed))
        return shown, labels
