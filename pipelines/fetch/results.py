"""How a transfer ended, in one value, and the rules that turn libcurl's codes into outcomes."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pycurl

from pipelines.fetch.headers import Head
from shards.outcomes import Outcome

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_TLS_CODES = frozenset({35, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91, 98})
_CUT_CODES = frozenset({16, 18, 52, 55, 56, 92})
"""The connection or stream ended early: HTTP/2 errors, partial file, nothing, send, receive."""


@dataclass(slots=True)
class Result:
    """One finished hop. `location` is set when it is a redirect that may be followed."""

    outcome: str
    message: str
    head: Head
    body: io.BytesIO = field(default_factory=io.BytesIO)
    location: bytes | None = None
    received_bytes: int = 0
    elapsed_s: float = 0.0
    inspected: bool = False  # `inspect` has seen the head
    looked_up: bool | None = None  # None: no name had to be looked up
    connected: bool | None = None  # None: no connection was tried


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a finished transfer when libcurl's code is judged."""

    code: int  # CURLcode
    opened: int  # sockets the guard let through
    addressed: bool  # libcurl had an address of the host, looked up or of a kept connection
    refused: Outcome | None  # the guard's first refusal
    named: bool  # the host is a name, not an address
    reached: bool  # a request could be sent
    headed: bool  # the head of a final response is complete
    deadline_hit: bool  # the total time was used up
    received_bytes: int


def status_outcome(status: int) -> Outcome:
    """Return the outcome of a final response that is not a success."""
    if status in (404, 410):
        return Outcome.HTTP_NOT_FOUND
    if status in (401, 403, 451):
        return Outcome.HTTP_FORBIDDEN
    if status == 429:
        return Outcome.HTTP_TOO_MANY_REQUESTS
    if 400 <= status < 500:
        return Outcome.HTTP_CLIENT_ERROR
    return Outcome.HTTP_SERVER_ERROR if 500 <= status < 600 else Outcome.HTTP_OTHER


def code_outcome(facts: Facts) -> tuple[Outcome, str]:
    """Return (outcome, message) of a transfer that had no verdict of ours and no final status.

    libcurl reports a socket the guard refused as "could not connect": only the guard's
    own record tells it from a closed port. Where another address of the same name was
    tried, the failure is that address's. A body without a complete head of its own is no
    success, whatever libcurl makes of it.
    """
    if facts.refused is not None and facts.opened == 0:
        return facts.refused, "refused before connecting"
    message = f"curl {facts.code}"
    if facts.code == pycurl.E_OK and not facts.headed:
        return Outcome.NETWORK_ERROR, "no complete response head"
    if facts.code == pycurl.E_OK:
        empty = facts.received_bytes == 0
        return (Outcome.BODY_EMPTY, "0 bytes") if empty else (Outcome.SUCCESS, "")
    if facts.code == pycurl.E_OPERATION_TIMEDOUT:
        return _timeout(facts)
    if facts.code in _CUT_CODES:
        cut = facts.received_bytes > 0
        return (Outcome.BODY_TRUNCATED if cut else Outcome.NETWORK_ERROR), message
    if facts.code in _TLS_CODES:
        return Outcome.TLS_ERROR, message
    return _BY_CODE.get(facts.code, Outcome.NETWORK_ERROR), message


_BY_CODE = {
    pycurl.E_URL_MALFORMAT: Outcome.BAD_URL,
    pycurl.E_COULDNT_RESOLVE_HOST: Outcome.DNS_ERROR,
    pycurl.E_COULDNT_CONNECT: Outcome.CONNECT_ERROR,
    pycurl.E_WRITE_ERROR: Outcome.INTERNAL_ERROR,  # a callback of ours, without giving a reason
}


def _timeout(facts: Facts) -> tuple[Outcome, str]:
    """Tell the four clocks apart, which libcurl reports with one code."""
    if facts.named and not facts.addressed:
        return Outcome.DNS_ERROR, "look-up timed out"
    if facts.deadline_hit:
        return Outcome.TIMEOUT, "deadline of the attempt"
    if facts.reached:
        return Outcome.TOO_SLOW, "below the low-speed limit"
    return Outcome.TIMEOUT, "connect timed out"
