"""Linear probing before fine-tuning: a new last layer starts as a linear model of the pretrained features.

One of random numbers sends random gradients through the backbone, which loses some of what it knows before
the last layer makes use of it; and of few rows and many classes it learns little in a few epochs.
Paper: Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution.
"""

import logging
import time

import numpy as np
import torch
from transformers import PreTrainedModel

from hftune.data.dataset import Data, Rows
from hftune.errors import BadInput
from hftune.models.heads import has_new_head
from hftune.seed import permutation
from hftune.training.cached_features import as_scored, extract_features, linear_head
from hftune.training.excerpt import Excerpt

log = logging.getLogger(__name__)

TOKENS = 1_000_000  # of the rows that are read; images count 1 each


def probe(model: PreTrainedModel, data: Data, seed: int) -> None:
    """Fits the last layer to features of training rows, with everything below as it is.

    A model that has no such layer, or whose layer is a checkpoint's own, stays as it is, and a line says so.

    Args:
        model: Has been through `prepare_model`.
        data: The run's.
        seed: Draws the rows where there are more than `TOKENS`.
    """
    began = time.monotonic()
    try:
        rows = rows_to_probe(model, data, seed)
    except BadInput as reason:
        log.info("linear probing: not here: %s", reason)
        return
    head = linear_head(model)
    weights, biases = data.task.linear_layer(
        extract_features(model, rows, data.collate).numpy(), rows.targets
    )
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(biases))
    log.info(
        "linear probing: the classifier starts as a linear model of the features of %s rows, %d s",
        f"{len(rows):,}",
        time.monotonic() - began,
    )


def rows_to_probe(model: PreTrainedModel, data: Data, seed: int) -> Rows:
    """Returns the training rows whose features the last layer is fitted to.

    Args:
        model: As for `probe`.
        data: The run's.
        seed: As for `probe`.

    Raises:
        BadInput: The layer stays as it is, for the reason that this says.
    """
    if not has_new_head(model):
        raise BadInput("the classifier is not new")
    linear_head(model)  # refuses a model without one
    if not data.task.has_linear_layer:
        raise BadInput("a row of this task has more than one answer")
    rows = some_rows(as_scored(data.train, data), seed)
    if alike := data.task.too_alike(rows.targets):  # drawn from many rows of one class
        raise BadInput(f"of those that are read, {alike}")
    return rows


def some_rows(rows: Rows, seed: int) -> Rows:
    """Returns all rows, or as many drawn ones as have `TOKENS` together."""
    drawn = permutation(len(rows), "probe", seed)
    kept = max(1, int((np.cumsum(rows.lengths[drawn]) <= TOKENS).sum()))
    return rows if kept == len(rows) else Excerpt(rows, np.sort(drawn[:kept]))
