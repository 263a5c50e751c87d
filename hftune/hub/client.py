"""Asks the Hub with bounded patience: tries again what may pass, and says in one line what went wrong.

The client (huggingface_hub 2.4) waits forever by default and repeats some requests, but not the commit; its
errors and warnings hold signed addresses. The reasons given here hold no address and no token.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import constants, get_session
from huggingface_hub import logging as client_logging
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    httpx,
)

from hftune.errors import first_line
from hftune.hub.files import redact
from hftune.runtime.offline import endpoint

log = logging.getLogger(__name__)

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 30.0  # to reach the Hub; without a byte from or to it
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries

T = TypeVar("T")


class Failed(Exception):
    """The Hub did not do what it was asked for.

    Args:
        reason: One line that goes on after "the Hub ...".
        passing: Whether another try may help.
        status: The HTTP status, if the Hub answered.
        pause: Seconds that the Hub asks to wait.
    """

    def __init__(
        self, reason: str, *, passing: bool = False, status: int | None = None, pause: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason, self.passing, self.status, self.pause = reason, passing, status, pause


def retry(attempt: Callable[[], T], seconds: float, transfer: float = 0.0) -> T:
    """Tries until it works, the Hub refuses or the time is over; use it inside `careful_client`.

    Args:
        attempt: Asks the Hub; may be repeated after any failure.
        seconds: How long to go on trying after the first failure.
        transfer: How much longer one try may take, because it sends files.

    Returns:
        What the attempt returns.

    Raises:
        Failed: The Hub refuses, or the time is over.
    """
    until, pause = None, FIRST_PAUSE
    while True:
        try:
            return _within(seconds + transfer, attempt)
        except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
            failed = explain(error)
            if failed is None:
                raise  # a bug of ours
        until = until or time.monotonic() + seconds
        wait, left = max(pause, failed.pause), until - time.monotonic()
        if not failed.passing or wait >= left:
            raise failed
        log.warning("the Hub %s; trying again in %.0f s, for %.0f s more at most", failed.reason, wait, left)
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def _within(seconds: float, attempt: Callable[[], T]) -> T:
    """Runs an attempt in a thread that is left behind if late: the client's own pauses take no bound.

    Raises:
        Failed: The attempt is late.
    """
    done: Future[T] = Future()

    def work() -> None:
        try:
            get_session().timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
            done.set_result(attempt())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError:
        if done.done():  # the attempt raised it
            raise
        raise Failed(f"gave no complete answer within {seconds:.0f} s") from None


@contextlib.contextmanager
def careful_client() -> Iterator[None]:
    """Keeps the client to its own: no signed addresses in its warnings, no bars where nobody looks.

    Uploads go over HTTP: Xet's own network code has no timeout, and its errors are no errors of HTTP.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(client_logging.set_verbosity, client_logging.get_verbosity())
        client_logging.set_verbosity(logging.CRITICAL)
        undo.callback(setattr, constants, "HF_HUB_DISABLE_XET", constants.HF_HUB_DISABLE_XET)
        constants.HF_HUB_DISABLE_XET = True
        if not sys.stderr.isatty() and not are_progress_bars_disabled():
            undo.callback(enable_progress_bars)
            disable_progress_bars()
        timeout = get_session().timeout
        undo.callback(lambda: setattr(get_session(), "timeout", timeout))
        yield


def explain(error: BaseException) -> Failed | None:
    """Says why a request failed, without addresses and tokens; None if it is no failure of a request."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # an upload that fails is a RuntimeError without it
    if isinstance(error, HfHubHTTPError):
        return _answered(error)
    if isinstance(error, OfflineModeIsEnabled):
        return Failed("may not be asked: HF_HUB_OFFLINE is set")
    if isinstance(error, httpx.HTTPError):
        return _unanswered(error)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return Failed("answers with something that is not JSON", passing=True)
    if isinstance(error, OSError) and error.filename:
        return Failed(f"got nothing: {os.path.basename(error.filename)}: {error.strerror}")
    if isinstance(error, ValueError):
        lines = (line.strip(" -") for line in str(error).splitlines())
        return Failed(f"cannot take it: {redact(' '.join(filter(None, lines)))}")
    return None


def _answered(error: HfHubHTTPError) -> Failed:
    """Explains an answer that is an error."""
    response = error.response
    status, headers = response.status_code, response.headers
    reason = f"answers {status} {response.reason_phrase}".rstrip()
    if message := (headers.get("X-Error-Message") or error.server_message or "").strip():
        reason += f": {redact(first_line(ValueError(message)))}"
    if status not in (408, 412, 425, 429) and status < 500:  # 412: another commit came first
        return Failed(reason, status=status)
    seconds = headers.get("Retry-After", "").strip()
    # One more, because both clocks count whole seconds.
    pause = float(seconds) + 1 if seconds.isascii() and seconds.isdigit() else 0.0
    return Failed(reason, passing=True, status=status, pause=pause)


def _unanswered(error: httpx.HTTPError) -> Failed:
    """Explains a request without an answer."""
    if isinstance(error, httpx.ConnectTimeout):
        return Failed("cannot be reached: no connection in time", passing=True)
    if isinstance(error, httpx.TimeoutException):
        return Failed("does not answer", passing=True)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return Failed(f"cannot be reached: {redact(first_line(error))}", passing=True)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return Failed("cut the connection", passing=True)
    return Failed(f"cannot be asked: {type(error).__name__}")


def web_address(path: str) -> str:
    """Returns an address on the Hub, without a user and password that HF_ENDPOINT may hold."""
    parts: Any = urlsplit(endpoint())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/") + f"/{path}"
