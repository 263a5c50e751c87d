"""Waiting for data is told when it matters, and not otherwise."""

import logging
from unittest.mock import patch

import pytest

from hftune.data.waiting import FIRST, MEASURED, watch_waiting


class Clock:
    """A clock that stands still unless something takes time."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("load", "train", "message"),
    [(1.0, 4.0, "20 % of the time goes into waiting for data"), (0.1, 4.0, ""), (1.0, 0.0, "100 %")],
)
def test_a_share_above_a_tenth_is_told_once(load, train, message, caplog):
    clock = Clock()

    def batches():
        clock.now += 60  # workers start: not counted
        for number in range(3 * MEASURED):
            clock.now += load
            yield number

    caplog.set_level(logging.WARNING, logger="hftune")
    seen = []
    with patch("hftune.data.waiting.time", clock):
        for batch in watch_waiting(batches(), workers=3):
            seen.append(batch)
            clock.now += train
    assert seen == list(range(3 * MEASURED))
    assert len(caplog.records) == bool(message)
    assert message in caplog.text
    if message:
        assert "--dataloader_num_workers 6 (now 3)" in caplog.text


def test_a_short_run_says_nothing(caplog):
    assert list(watch_waiting(iter(range(FIRST + MEASURED)), 0)) == list(range(FIRST + MEASURED))
    assert not caplog.records
