"""What stands twice in train, or in two splits, is counted and named."""

import numpy as np
import pyarrow as pa

from hftune.data.duplicates import CheckedSplit, find_duplicates
from hftune.data.tables.read import Table


def part(texts: list[str], labels: list[int], name: str) -> CheckedSplit:
    rows = np.arange(len(texts)) + 10  # as if ten rows before had been left out
    origin = Table(name, {}, list(range(2, 100)))
    return CheckedSplit(pa.chunked_array([texts[:2], texts[2:]], pa.string()), np.array(labels), origin, rows)


def test_duplicates_are_counted_and_the_first_is_named():
    parts = {
        "train": part(["a", "b", "a", "c", "b", "a"], [0, 1, 0, 1, 0, 0], "train.csv"),
        "validation": part(["x", "A"], [0, 1], "dev.csv"),
        "test": part(["x", "c", "a", "a"], [0, 1, 1, 1], "test.csv"),
    }
    assert find_duplicates(parts, "text") == [
        "3 train rows repeat an earlier text, 1 of them with another label "
        "(first: train.csv line 14 = train.csv line 12)",
        "3 test texts also stand in train (first: test.csv line 13 = train.csv line 15)",
    ]
