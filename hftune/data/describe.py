"""The lines of a run that say which data it has."""

import logging

log = logging.getLogger(__name__)


def log_splits(origin: str, sizes: dict[str, int], labels: tuple[str, ...]) -> None:
    """Tells where the rows came from, how many there are, and what they are sorted into.

    Args:
        origin: Where the data came from.
        sizes: Rows by split.
        labels: The class names; of very many the first are shown.
    """
    log.info("data: %s", origin)
    shown = ", ".join(labels[:20]) + (f", ... ({len(labels)} in all)" if len(labels) > 20 else "")
    log.info("rows: %s; labels %s", ", ".join(f"{count:,} {name}" for name, count in sizes.items()), shown)
