"""How long training waits for its data: measured over the first batches, told when it matters."""

import logging
import time
from collections.abc import Generator, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
FIRST = 2  # batches that are not measured: workers start, and the model warms up
MEASURED = 20
WORTH_TELLING = 0.1


def watch_waiting(batches: Iterator[Batch], workers: int) -> Generator[Batch, None, None]:
    """Passes batches on; after some of them tells if more than a tenth of the time went into waiting.

    Args:
        batches: What the loop trains on.
        workers: Processes that prepare them, for the advice.
    """
    waited = 0.0
    began = asked = time.monotonic()
    for number, batch in enumerate(batches):
        now = time.monotonic()
        waited += now - asked
        if number == FIRST:
            waited, began = 0.0, now
        elif number == FIRST + MEASURED and waited > WORTH_TELLING * (now - began):
            log.warning(
                "%.0f %% of the time goes into waiting for data: try --dataloader_num_workers %d (now %d)",
                100 * waited / (now - began),
                2 * workers or 2,
                workers,
            )
        yield batch
        asked = time.monotonic()
