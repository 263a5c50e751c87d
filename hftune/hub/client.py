"""Bounds what the Hub's client may take: every wait, every retry and every word of an error.

The client (huggingface_hub 2.4) waits for ever by default, retries some requests and not others, and its
errors hold signed addresses. Inside `Patience` nothing waits longer than it is told to, and what went
wrong becomes a reason of one line that holds no address and no token.
"""

import contextlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import (
    _http,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    httpx,
)
from huggingface_hub.utils import logging as client_logging

from hftune.errors import first_line
from hftune.hub.files import redact
from hftune.runtime.offline import endpoint

log = logging.getLogger(__name__)

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 30.0  # to reach the Hub; without a byte from or to it
LONGEST_PAUSE = 30.0  # seconds between two tries

T = TypeVar("T")


class Fault(NamedTuple):
    """Why a request failed.

    Args:
        reason: One line that goes on after "the Hub ...".
        passing: Whether another try may help.
        status: The HTTP status, if the Hub answered.
        pause: Seconds that the Hub asks to wait.
    """

    reason: str
    passing: bool
    status: int | None = None
    pause: float = 0.0


class Failed(Exception):
    """Nothing more to try; `fault` says why."""

    def __init__(self, fault: Fault):
        super().__init__(fault.reason)
        self.fault = fault


class OutOfTime(Exception):
    """The next request, or the pause that the Hub asks for, lies behind the deadline."""


class Patience:
    """A Hub client that gives up in time; use it with `with`.

    Args:
        seconds: How long to go on trying. A file or commit that has arrived starts the time anew, so
            a slow connection that moves does not run out of it, and what was sent is compared.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self._last: Fault | None = None
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._undo.enter_context(_quiet())
        before = _http._GLOBAL_CLIENT_FACTORY
        self._undo.callback(huggingface_hub.set_client_factory, before)
        huggingface_hub.set_client_factory(lambda: self._bounded(before()))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def left(self) -> float:
        """Returns the seconds until the deadline."""
        return self._until - time.monotonic()

    def insist(self, attempt: Callable[[], T]) -> T:
        """Tries until it works, the Hub refuses or the time is over.

        Args:
            attempt: Asks the Hub; may be repeated after any failure.

        Returns:
            What the attempt returns.

        Raises:
            Failed: The Hub refuses, or the time is over.
        """
        pause = 1.0
        while True:
            try:
                return attempt()
            except (httpx.HTTPError, OSError, RuntimeError, ValueError, OutOfTime) as error:
                fault = self._fault(error)
            wait = max(pause, fault.pause)
            if not fault.passing or wait >= self.left():
                raise Failed(fault)
            left = self.left()
            log.warning(
                "the Hub %s; trying again in %.0f s, for %s more at most",
                fault.reason,
                wait,
                f"{left / 60:.0f} minutes" if left >= 120 else f"{left:.0f} s",
            )
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _fault(self, error: BaseException) -> Fault:
        fault = explain(error)
        if fault is None:
            raise error  # a bug of ours, not the Hub's
        if isinstance(root(error), OutOfTime):
            return self._last or fault
        self._last = fault
        return fault

    def _bounded(self, client: httpx.Client) -> httpx.Client:
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], self._before],
            "response": [*hooks["response"], self._after],
        }
        return client

    def _before(self, request: httpx.Request) -> None:
        left = self.left()
        if left <= 0:
            raise OutOfTime("does not answer")
        silent, connect = min(left, SILENT_SECONDS), min(left, CONNECT_SECONDS)
        bounds = {"connect": connect, "read": silent, "write": silent, "pool": silent}
        request.extensions["timeout"] = bounds

    def _after(self, response: httpx.Response) -> None:
        request = response.request
        if response.is_success and (request.method == "PUT" or "/commit/" in request.url.path):
            self._until = time.monotonic() + self.seconds
        pause = _pause(response)
        if response.status_code >= 400:
            response.read()
            self._last = _answered(response, None)
        if pause and pause >= self.left():
            raise OutOfTime(f"asks to wait {pause:.0f} s")  # the client would sleep that long


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the client to its own: no signed addresses in warnings, no bars where nobody looks.

    Uploads go over HTTP: Xet's own network code has no timeout that could be set from here.
    """
    verbosity, xet = client_logging.get_verbosity(), constants.HF_HUB_DISABLE_XET
    bars = not sys.stderr.isatty() and not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client_logging.set_verbosity(logging.CRITICAL)
        constants.HF_HUB_DISABLE_XET = True
        if bars:
            disable_progress_bars()
        try:
            yield
        finally:
            client_logging.set_verbosity(verbosity)
            constants.HF_HUB_DISABLE_XET = xet
            if bars:
                enable_progress_bars()


def root(error: BaseException) -> BaseException:
    """Returns what an error of the client was raised from: an upload that fails is a bare RuntimeError."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def explain(error: BaseException) -> Fault | None:
    """Says why a request failed, without addresses and tokens; None if it is no failure of a request."""
    error = root(error)
    if isinstance(error, HfHubHTTPError):
        return _answered(error.response, error.server_message)
    if isinstance(error, OutOfTime):
        return Fault(str(error), passing=False)
    if isinstance(error, OfflineModeIsEnabled):
        return Fault("may not be asked: HF_HUB_OFFLINE is set", passing=False)
    if isinstance(error, httpx.HTTPError):
        return _unanswered(error)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return Fault("answers with something that is not JSON", passing=True)
    if isinstance(error, OSError) and error.filename:
        return Fault(f"got nothing: {os.path.basename(error.filename)}: {error.strerror}", passing=False)
    if isinstance(error, ValueError):
        words = " ".join(line.strip(" -") for line in str(error).splitlines() if line.strip())
        return Fault(f"cannot take it: {redact(words)}", passing=False)
    return None


def _answered(response: httpx.Response, message: str | None) -> Fault:
    """Explains an answer that is an error."""
    status = response.status_code
    said = response.headers.get("X-Error-Message") or message or ""
    words = f"answers {status} {response.reason_phrase}".rstrip()
    if said.strip():
        words += f": {redact(first_line(ValueError(said)))}"
    passing = status in (408, 412, 425, 429) or status >= 500  # 412: another commit came first
    return Fault(words, passing, status, _pause(response) if passing else 0.0)


def _unanswered(error: httpx.HTTPError) -> Fault:
    """Explains a request without an answer."""
    if isinstance(error, httpx.ConnectTimeout):
        return Fault("cannot be reached: no connection in time", passing=True)
    if isinstance(error, httpx.TimeoutException):
        return Fault("does not answer", passing=True)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return Fault(f"cannot be reached: {redact(first_line(error))}", passing=True)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return Fault("cut the connection", passing=True)
    return Fault(f"cannot be asked: {type(error).__name__}", passing=False)


def _pause(response: httpx.Response) -> float:
    """Returns the seconds that an answer asks to wait, one more because both clocks count whole ones."""
    text = response.headers.get("Retry-After", "").strip()
    failed = response.status_code >= 400
    return float(text) + 1 if failed and text.isascii() and text.isdigit() else 0.0


def web_address(path: str) -> str:
    """Returns an address on the Hub, without a user and password that HF_ENDPOINT may hold."""
    parts: Any = urlsplit(endpoint())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/") + f"/{path}"
