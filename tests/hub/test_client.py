"""The bounded client: what is said of a failure, and that nothing of it stays behind."""

import os
import time

import pytest
from huggingface_hub import constants, get_session, logging
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import are_progress_bars_disabled, httpx

from hftune.hub.client import Failed, careful_client, explain, retry, web_address
from hftune.hub.files import redact, secrets

TOKEN = "hf_" + "aB3" * 12


def answered(status, **headers):
    request = httpx.Request("PUT", f"https://store.example/x?signature={TOKEN}")
    return HfHubHTTPError(
        f"at {request.url}", response=httpx.Response(status, headers=headers, request=request)
    )


def upload_error(cause):
    error = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("status", [408, 412, 429, 500, 503, 599])
def test_passing_answers(status):
    assert explain(answered(status)).passing


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
def test_refusals(status):
    fault = explain(upload_error(answered(status)))
    assert not fault.passing
    assert fault.status == status


def test_an_answer_is_told_without_address_and_token():
    said = f"no {TOKEN} at https://ann:{TOKEN}@hub.example/a?sig={TOKEN} today"
    fault = explain(answered(503, **{"X-Error-Message": said, "Retry-After": "7"}))
    assert fault.reason == "answers 503 Service Unavailable: no hf_*** at https://hub.example/a today"
    assert fault.pause == 8


@pytest.mark.parametrize(
    ("error", "reason", "passing"),
    [
        (httpx.ReadTimeout("x"), "does not answer", True),
        (
            httpx.ConnectError("Name or service not known"),
            "cannot be reached: Name or service not known",
            True,
        ),
        (httpx.RemoteProtocolError("x"), "cut the connection", True),
        (
            httpx.LocalProtocolError(f"Illegal header value {TOKEN}"),
            "cannot be asked: LocalProtocolError",
            False,
        ),
        (ValueError("Invalid metadata in README.md.\n- no license"), "cannot take it", False),
        (
            FileNotFoundError(2, "No such file", "/home/ann/run/config.json"),
            "config.json: No such file",
            False,
        ),
    ],
)
def test_a_request_without_an_answer(error, reason, passing):
    fault = explain(upload_error(error))
    assert reason in fault.reason
    assert fault.passing is passing
    assert TOKEN not in fault.reason
    assert "/home/ann" not in fault.reason


def test_bugs_are_not_explained():
    def attempt():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        retry(attempt, 1.0)


def test_a_pause_beyond_the_deadline_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))

    def attempt():
        raise answered(429, **{"Retry-After": "3600"})

    with pytest.raises(Failed, match="answers 429"):
        retry(attempt, 60.0)


def test_an_attempt_that_never_ends_is_left_behind():
    began = time.monotonic()
    with pytest.raises(Failed, match=r"gave no complete answer within 0 s"):
        retry(lambda: time.sleep(20), 0.1, transfer=0.1)
    assert time.monotonic() - began < 10


def test_a_slow_attempt_does_not_use_up_the_time_for_others(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    tries = []

    def attempt():
        tries.append(None)
        if len(tries) == 1:
            now[0] += 50.0
            raise answered(503)
        return "done"

    assert retry(attempt, 10.0, transfer=60.0) == "done"


def test_every_request_has_a_bound_and_the_client_is_left_as_it_was():
    def state():
        bars = are_progress_bars_disabled()
        return get_session().timeout, constants.HF_HUB_DISABLE_XET, bars, logging.get_verbosity()

    before = state()
    with careful_client():
        assert constants.HF_HUB_DISABLE_XET
        assert retry(lambda: get_session().timeout, 5.0) == httpx.Timeout(30.0, connect=10.0)
    assert state() == before


def test_secrets_are_taken_out_by_value(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("SHORT_TOKEN", "word")
    assert redact("a word 0123456789abcdef") == "a word ***"
    assert "SHORT_TOKEN" not in secrets()


def test_a_password_of_an_address_is_taken_out():
    assert redact("http://ann:pass@proxy:80 refused") == "http://proxy:80 refused"
    assert redact("at https://ann@hub.example/a/b?signature=x, later") == "at https://hub.example/a/b later"


def test_a_secret_that_is_no_text_is_known_by_its_bytes(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", os.fsdecode(b"\xff0123456789abcdef"))
    assert secrets()["MY_TOKEN"] == b"\xff0123456789abcdef"
    assert redact("it is " + os.fsdecode(b"\xff0123456789abcdef")) == "it is ***"


def test_addresses_leave_a_password_out(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://ann:password@hub.example:80/")
    assert web_address("ann/model") == "http://hub.example:80/ann/model"
