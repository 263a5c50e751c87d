"""Every way a run can end, as an exception that carries its exit code.

Code that finds a problem raises one of these where it finds it; `launch` alone turns it into
one `error:` line, an exit code and `exit.json`. Anything else that escapes is a bug (code 1).
"""

import re
import signal
from collections.abc import Iterable

PASSWORD = re.compile(r"(?<=://)[^\s/@]+@")  # of an address: a message goes to the screen and to exit.json
LONGEST = 600  # characters of a line of a message: some lines of a screen


class HftuneError(Exception):
    """An ending that hftune explains to the user.

    Args:
        message: One line: what is wrong, where (file, row, column, flag) and what to do.
        details: Further places with the same problem; the first five are shown as bullets.
    """

    exit_code = 1
    printed = False  # whether `launch` has printed it

    def __init__(self, message: str, details: list[str] | None = None):
        self.message = _cut(message)
        self.details = [_cut(line) for line in details or []]
        super().__init__(PASSWORD.sub("", message))  # whole: torch puts a worker's traceback before it

    def __str__(self) -> str:
        bullets = [f"  - {line}" for line in self.details[:5]]
        if len(self.details) > 5:
            bullets[4:] = [f"  - and {len(self.details) - 4:,} more"]
        return "\n".join([self.message, *bullets])


def _cut(line: str) -> str:
    """Returns a line to print, without passwords; a very long one without its middle."""
    line = printable(PASSWORD.sub("", line))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 205]} ... {line[-200:]}"


class BadInput(HftuneError):
    """The user's data, flags, files or ids cannot be used as they are."""

    exit_code = 2


class NonFiniteError(HftuneError):
    """A loss or gradient became NaN or infinite."""

    exit_code = 3


class ResourceError(HftuneError):
    """No disk or memory left."""

    exit_code = 4


class PushFailed(HftuneError):
    """The model is trained and saved, but the Hub did not take it."""

    exit_code = 5


class PeerFailed(HftuneError):
    """Another process of the same run failed or stalled."""

    exit_code = 6


class StoppedBySignal(HftuneError):
    """SIGINT or SIGTERM arrived; a checkpoint was written.

    Args:
        signum: The signal's number (2 or 15).
        message: What was saved and how to go on.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(f"stopped by {signal.Signals(signum).name}: {message}")
        self.exit_code = 128 + signum  # the shell's convention: 130, 143


def printable(text: str) -> str:
    """Returns a name or a text as a screen may show it: one line, escapes for what cannot be seen."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else ascii(letter)[1:-1]


def first_line(error: Exception) -> str:
    """Returns the first line of what another library's error says, or its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shown(text: str, most: int = 60) -> str:
    """Returns a name or a value as a message shows it: one line of at most `most` characters."""
    return printable(text if len(text) <= most else text[: most - 3] + "...")


def listed(names: Iterable[str]) -> str:
    """Returns names as a message lists them: the first five, and how many more there are."""
    every = [shown(name) or "(no name)" for name in names]
    more = f" and {len(every) - 5:,} more" if len(every) > 6 else ""
    return ", ".join(every[:5] if more else every) + more
