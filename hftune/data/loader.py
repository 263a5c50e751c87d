"""From row ids to batches on the device: the DataLoader, its workers, and how long training waits."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import TypeVar

import torch

from hftune.data.dataset import Rows
from hftune.errors import BadInput
from hftune.seed import key

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
SILENCE = 600  # seconds; CPython 3.11 may lock a worker up for ever as it is forked, which nothing else tells
WARM_UP = 2  # batches that are not measured: workers start, and the model warms up
MEASURED = 20  # batches
WARN_ABOVE = 0.1  # share of the time


def worker_count(asked: int | None, device: torch.device, processes: int) -> int:
    """Decides how many processes prepare batches: as asked, else by the cores.

    Without a GPU the model itself uses all cores, and workers would only take them away.

    Args:
        asked: `--dataloader_num_workers`.
        device: Where the model trains.
        processes: Training processes, which share the machine.
    """
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if device.type == "cpu" else min(8, max(1, cores // processes - 1))


def batch_loader(
    dataset: Rows,
    batches: Iterable[list[int]],
    collate: Callable,
    *,
    workers: int,
    device: torch.device,
    on_host: Collection[str] = (),
) -> Iterator[dict[str, torch.Tensor]]:
    """Yields one batch on the device for each list of row ids, in that order.

    Its own generator keeps the loader from drawing on the global one, which belongs to dropout.

    Args:
        dataset: The rows.
        batches: Their ids.
        collate: Makes a batch of rows.
        workers: Processes that prepare batches.
        device: Where they are sent.
        on_host: Names of a batch's tensors that stay on the CPU.

    Raises:
        BadInput: A row can no longer be read; re-raised from the worker.
    """
    loader: torch.utils.data.DataLoader = torch.utils.data.DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        timeout=SILENCE if workers else 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(key("loader")),
        worker_init_fn=_leave_signals_to_main if workers and hasattr(signal, "sigwaitinfo") else None,
    )
    try:
        for batch in loader:
            yield {
                name: tensor if name in on_host else tensor.to(device, non_blocking=True)
                for name, tensor in batch.items()
            }
    except BadInput as error:
        # torch puts a worker's traceback into the message; the error itself is its last line.
        raise BadInput(str(error.args[0]).rpartition("BadInput: ")[2].strip()) from None


def _leave_signals_to_main(_worker: int) -> None:
    """Lets a worker go on when a whole group gets a signal: the training asks it for a few rows yet."""
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    threading.Thread(target=_end_when_main_says, args=(os.getppid(), signals), daemon=True).start()


def _end_when_main_says(main: int, signals: set[signal.Signals]) -> None:
    """Waits for a signal of the training process itself, which ends its workers when it exits."""
    while signal.sigwaitinfo(signals).si_pid != main:
        pass
    os._exit(128 + signal.SIGTERM)


def log_data_wait(batches: Iterator[Batch], workers: int) -> Generator[Batch, None, None]:
    """Passes batches on; after some of them warns if more than a tenth of the time went into waiting.

    Args:
        batches: What the loop trains on.
        workers: Processes that prepare them, for the advice.
    """
    waited = 0.0
    began = asked = time.monotonic()
    for number, batch in enumerate(batches):
        now = time.monotonic()
        waited += now - asked
        if number == WARM_UP:
            waited, began = 0.0, now
        elif number == WARM_UP + MEASURED and waited > WARN_ABOVE * (now - began):
            log.warning(
                "%.0f %% of the time goes into waiting for data: try --dataloader_num_workers %d (now %d)",
                100 * waited / (now - began),
                2 * workers or 2,
                workers,
            )
        yield batch
        asked = time.monotonic()
