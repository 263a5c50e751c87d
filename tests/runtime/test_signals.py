"""SIGINT and SIGTERM, sent to this process: at once outside of training, later inside."""

import contextlib
import os
import signal

import pytest
import torch

from hftune.errors import StoppedBySignal
from hftune.runtime.signals import Stop

SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@SIGNALS
def test_outside_of_training_it_is_raised_at_once(signum):
    with Stop(), pytest.raises(StoppedBySignal) as caught:
        send(signum)
    assert caught.value.exit_code == 128 + signum


@SIGNALS
def test_in_training_it_is_remembered(signum):
    with Stop() as stop:
        stop.deferred = True
        assert stop.signum == 0
        assert stop.flags(torch.device("cpu")).tolist() == [0, 0]
        send(signum)
        assert stop.signum == signum
        flags = stop.flags(torch.device("cpu"))
    assert flags.dtype == torch.float32
    assert flags.tolist() == [signum == signal.SIGINT, signum == signal.SIGTERM]


@SIGNALS
def test_further_signals_change_nothing(signum):
    """The checkpoint that is being written after the first must not be broken, nor the first forgotten."""
    other = signal.SIGTERM if signum == signal.SIGINT else signal.SIGINT
    with Stop() as stop:
        stop.deferred = True
        send(signum)
        stop.deferred = False
        send(signum)
        send(other)
        assert stop.signum == signum


def test_after_one_was_raised_the_next_does_not_break_the_clearing_up():
    with Stop():
        with pytest.raises(StoppedBySignal):
            send(signal.SIGTERM)
        send(signal.SIGTERM)
        send(signal.SIGINT)


def test_the_handlers_from_before_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with contextlib.suppress(KeyError), Stop():
        assert signal.getsignal(signal.SIGTERM) not in before
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
