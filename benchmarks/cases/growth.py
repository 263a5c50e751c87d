"""How hftune's cost grows with the number of training rows, 1, 4 and 16 times as many; no peer."""

from dataclasses import replace

from case import Job, Side
from cases import textcnn


def rows(count: int) -> Job:
    """Returns what is told to train on so many rows of the file."""
    return {"rows": count, "flags": textcnn.CASE.job["flags"] | {"max_train_samples": count}}


CASE = replace(
    textcnn.CASE,
    name="growth",
    title="TextCNN on IMDb, rows x 1, 4 and 16",
    job=textcnn.CASE.job | {"rows": 3072, "epochs": 1},
    gpu={"epochs": 2},
    sample={"data": "sample", "scored": 32, "max_length": 64},
    sides={f"hftune, {count:,} rows": Side("hftune_recipe", rows(count)) for count in (192, 768, 3072)},
    pairs=(),
)
