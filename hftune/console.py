"""Standard output and error: they take any text, and may be closed by their reader."""

import io
import os
import sys


def print_any_text() -> None:
    """Lets standard output and error take any text: what their encoding lacks is escaped.

    A pipe on Windows and the C locale have encodings of a few hundred characters. Where a stream was closed
    before the start, Python has none, and what is printed goes nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, for the whole process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def close_output() -> None:
    """Lets what is still printed go nowhere: its reader, such as `head`, has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
