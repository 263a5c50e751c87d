"""Errors: one line, at most five bullets, and an exit code each."""

import signal

import pytest

from hftune.errors import (
    BadInput,
    HftuneError,
    NonFiniteError,
    PushFailed,
    ResourceError,
    StoppedBySignal,
    first_line,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("x"), 2),
        (NonFiniteError("x"), 3),
        (ResourceError("x"), 4),
        (PushFailed("x"), 5),
        (StoppedBySignal(signal.SIGINT, "x"), 130),
        (StoppedBySignal(signal.SIGTERM, "x"), 143),
    ],
)
def test_exit_codes(error, code):
    assert isinstance(error, HftuneError)
    assert error.exit_code == code


def test_a_message_alone_is_one_line():
    assert str(BadInput("x.csv line 3: no text")) == "x.csv line 3: no text"


@pytest.mark.parametrize(
    ("count", "last", "lines"),
    [(1, "place 0", 2), (5, "place 4", 6), (6, "and 2 more", 6), (2004, "and 2,000 more", 6)],
)
def test_five_bullets_at_most_and_none_forgotten(count, last, lines):
    error = BadInput("bad rows", [f"place {number}" for number in range(count)])
    shown = str(error).splitlines()
    assert shown[0] == "bad rows"
    assert shown[1] == "  - place 0"
    assert shown[-1] == f"  - {last}"
    assert len(shown) == lines
    assert len(error.details) == count


def test_a_signal_is_called_by_its_name():
    message = str(StoppedBySignal(15, "step 7 is saved"))
    assert message == "stopped by SIGTERM: step 7 is saved"


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\n one\ntwo"), "one"), (OSError(), "OSError"), (KeyError("name"), "'name'")],
)
def test_first_line_of_an_error(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize("length", [599, 600, 601, 300_000])
def test_a_message_is_never_longer_than_some_lines(length):
    """Cells, lists of columns and what libraries say can be of any length."""
    error = BadInput("x" * (length - 9) + "; do this", ["y" * length])
    assert len(error.message) == len(error.details[0]) == min(length, 600)
    assert error.message.endswith("; do this")
