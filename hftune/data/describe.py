"""The lines of a run that say which data it has."""

import logging

from hftune.errors import shown

log = logging.getLogger(__name__)


def log_splits(origin: str, sizes: dict[str, int], labels: tuple[str, ...], warnings: list[str]) -> None:
    """Tells where the rows came from, how many there are, what they are sorted into, and what looks odd.

    Args:
        origin: Where the data came from.
        sizes: Rows by split.
        labels: The class names; of very many the first are shown.
        warnings: Lines to show to the user.
    """
    log.info("data: %s", origin)
    names = ", ".join(map(shown, labels[:20])) + (f", ... ({len(labels)} in all)" if len(labels) > 20 else "")
    log.info("rows: %s; labels %s", ", ".join(f"{count:,} {name}" for name, count in sizes.items()), names)
    for warning in warnings:
        log.warning("%s", warning)
