"""A random choice of rows that have several labels each, which keeps the share of every label.

The iterative stratification of Sechidis, Tsoumakas & Vlahavas 2011, On the Stratification of Multi-label
Data: the rarest label is dealt out first, as long as there are rows to choose among. A choice by sets of
labels, or by one label of each row, leaves many a rare label on one side alone.
"""

import numpy as np

from hftune.seed import permutation


def sample_of_labels(labels: np.ndarray, count: int, leave: int, *address: int | str) -> np.ndarray:
    """Chooses rows at random, each label in proportion and with one row at least where possible.

    Args:
        labels: Which labels each row has, bool (N, C).
        count: How many rows to choose; fewer are chosen where `leave` asks for it.
        leave: How many rows of each label must stay behind.
        *address: What the choice is for (see `hftune.seed`).

    Returns:
        The chosen rows, int64, ascending.
    """
    order = permutation(len(labels), *address)
    labels = labels[order]
    totals = labels.sum(0)
    wanted = np.maximum(
        totals * count / max(len(labels), 1), np.minimum(totals, 1)
    )  # of each label, to choose
    unwanted = totals - wanted
    spare = totals - leave  # rows of each label that may be chosen at all
    waiting, remaining = np.ones(len(labels), bool), totals.copy()
    chosen: list[int] = []
    left: list[int] = []
    while remaining.any():
        rarest = int(np.where(remaining, remaining, len(labels) + 1).argmin())
        for row in np.flatnonzero(waiting & labels[:, rarest]).tolist():
            own = labels[row]
            takes = wanted[rarest] >= unwanted[rarest] and len(chosen) < count and (spare[own] > 0).all()
            (chosen if takes else left).append(row)
            (wanted if takes else unwanted)[own] -= 1
            spare[own] -= takes
            remaining[own] -= 1
            waiting[row] = False
    for row in [*np.flatnonzero(waiting).tolist(), *left]:  # those without labels first
        if len(chosen) >= count:
            break
        if (spare[labels[row]] > 0).all():
            chosen.append(row)
            spare[labels[row]] -= 1
    return np.sort(order[chosen]).astype(np.int64)
