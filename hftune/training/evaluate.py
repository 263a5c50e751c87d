"""A model's answers on a data set: as counts that become scores, or row by row in the data's order."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object

from hftune.data.batches import by_length
from hftune.data.dataset import Rows
from hftune.data.loader import batch_loader
from hftune.tasks.metrics import METRICS, ClassificationCounts


def _answers(
    model: torch.nn.Module,
    rows: Rows,
    collate: Callable,
    accelerator: Accelerator,
    rows_per_batch: int,
    workers: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (row ids, logits float32 (B, C), labels) of this process's share of the batches.

    The batches are cut before they are shared out, so a row meets the same neighbours, and gets the
    same bits, on any number of processes.
    """
    batches = by_length(rows.lengths, rows_per_batch)[accelerator.process_index :: accelerator.num_processes]
    # Bare: DistributedDataParallel's forward waits for all processes, which have unequal shares here.
    model = accelerator.unwrap_model(model)
    _take_buffers_of_main(model)
    model.eval()
    row_ids = (ids.tolist() for ids in batches)
    loader = batch_loader(rows, row_ids, collate, workers=workers, device=accelerator.device)
    for ids, batch in zip(batches, loader, strict=True):
        with torch.inference_mode():
            labels = batch.pop("labels")
            yield ids, model(**batch).logits.float().cpu().numpy(), labels.cpu().numpy()


def _take_buffers_of_main(model: torch.nn.Module) -> None:
    """Gives every process the buffers that the main one saves.

    Each has updated BatchNorm's statistics with rows of its own since DistributedDataParallel last
    shared them, and the mean of `--model_ema` is made of those.
    """
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer.contiguous()))


def score(
    model: torch.nn.Module,
    rows: Rows,
    collate: Callable,
    accelerator: Accelerator,
    *,
    num_labels: int,
    rows_per_batch: int,
    workers: int = 0,
    names: Iterable[str] = METRICS,
    positive: int = 1,
) -> ClassificationCounts:
    """Counts a model's hits and misses on a labelled set.

    Memory does not grow with the set, and the counts are the same on every process and for every
    number of processes: each row is counted once, and integers add up in any order.

    Args:
        model: Anything whose forward returns `.logits`, float of shape (B, C).
        rows: The set.
        collate: Makes a batch of rows.
        accelerator: Says which share is this process's, and where the model lives.
        num_labels: C.
        rows_per_batch: Rows in a batch.
        workers: Processes that load data.
        names: The scores that will be asked for; a ranking is only kept where one needs it.
        positive: Of two classes, the one that precision, recall and F1 are of.
    """
    names = tuple(names)
    counts = ClassificationCounts(num_labels, names, positive)
    for _, logits, labels in _answers(model, rows, collate, accelerator, rows_per_batch, workers):
        counts.update(logits, labels)
    if accelerator.num_processes == 1:
        return counts
    total = ClassificationCounts(num_labels, names, positive)
    for state in gather_object([counts.state()]):
        total.merge_state(state)
    return total


def predict(
    model: torch.nn.Module,
    rows: Rows,
    collate: Callable,
    accelerator: Accelerator,
    *,
    num_labels: int,
    rows_per_batch: int,
    workers: int = 0,
    tick: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Returns the logits of every row, float32 of shape (N, C), in the data's order.

    Args:
        model: Anything whose forward returns `.logits`, float of shape (B, C).
        rows: The set.
        collate: Makes a batch of rows.
        accelerator: Says which share is this process's, and where the model lives.
        num_labels: C.
        rows_per_batch: Rows in a batch.
        workers: Processes that load data.
        tick: Called with the number of rows that this process has just answered.
    """
    parts = []
    for ids, logits, _ in _answers(model, rows, collate, accelerator, rows_per_batch, workers):
        parts.append((ids, logits))
        if tick:
            tick(len(ids))
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    logits = np.full((len(rows), num_labels), np.nan, np.float32)
    for ids, values in parts:
        logits[ids] = values
    return logits


def result_key(prefix: str, metric: str) -> str:
    """Returns the name of a score in `all_results.json`; the log loss is the loss there."""
    return f"{prefix}_{'loss' if metric == 'log_loss' else metric}"


def named(prefix: str, scores: dict[str, float]) -> dict[str, float]:
    """Returns scores under the names of `all_results.json`."""
    return {result_key(prefix, name): value for name, value in scores.items()}


def with_intervals(
    prefix: str, logits: np.ndarray, labels: np.ndarray, names: Iterable[str], positive: int = 1
) -> dict[str, float]:
    """Scores answers, each score also with `_low` and `_high`, its 95 % interval.

    Args:
        prefix: The split's name in `all_results.json`, such as "test".
        logits: float (N, C); log-probabilities do as well.
        labels: Class numbers, int64 (N,).
        names: Scores of `hftune.tasks.metrics`.
        positive: Of two classes, the one that precision, recall and F1 are of.
    """
    names = tuple(names)
    counts = ClassificationCounts(logits.shape[1], names, positive)
    counts.update(logits, labels)
    results = named(prefix, counts.compute(names))
    for name, (low, high) in counts.intervals(names).items():
        key = result_key(prefix, name)
        results |= {f"{key}_low": low, f"{key}_high": high}
    return results
