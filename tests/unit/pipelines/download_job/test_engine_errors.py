"""Every text of img2dataset that is known has its outcome; others stay visible and short."""

import pytest

from pipelines.download_job.engine_errors import MAX_MESSAGE, outcome_of
from shards.outcomes import Outcome

KNOWN = (
    ("HTTP Error 404: Not Found", Outcome.HTTP_NOT_FOUND),
    ("HTTP Error 410: Gone", Outcome.HTTP_NOT_FOUND),
    ("HTTP Error 403: Forbidden", Outcome.HTTP_FORBIDDEN),
    ("HTTP Error 429: Too Many Requests", Outcome.HTTP_TOO_MANY_REQUESTS),
    ("HTTP Error 503: Service Unavailable", Outcome.HTTP_SERVER_ERROR),
    (
        "HTTP Error 302: The HTTP server returned a redirect error that would lead to an "
        "infinite loop.\nThe last 30x error message was:\nFound",
        Outcome.TOO_MANY_REDIRECTS,
    ),
    ("HTTP Error 302: Found - Redirection to url 'ftp://a/' is not allowed",
     Outcome.SCHEME_NOT_ALLOWED),
    ("Use of image disallowed by X-Robots-Tag directive", Outcome.OPT_OUT),
    ("<urlopen error [Errno -2] Name or service not known>", Outcome.DNS_ERROR),
    ("<urlopen error [Errno -3] Temporary failure in name resolution>", Outcome.DNS_ERROR),
    ("<urlopen error [Errno 111] Connection refused>", Outcome.CONNECT_ERROR),
    ("<urlopen error [Errno 101] Network is unreachable>", Outcome.CONNECT_ERROR),
    ("[Errno 104] Connection reset by peer", Outcome.NETWORK_ERROR),
    ("Remote end closed connection without response", Outcome.NETWORK_ERROR),
    ("<urlopen error timed out>", Outcome.TIMEOUT),
    ("The read operation timed out", Outcome.TIMEOUT),
    (
        "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "self-signed certificate (_ssl.c:1006)>",
        Outcome.TLS_ERROR,
    ),
    ("IncompleteRead(10 bytes read, 90 more expected)", Outcome.BODY_TRUNCATED),
    ("<urlopen error unknown url type: gopher>", Outcome.SCHEME_NOT_ALLOWED),
    ("URL can't contain control characters. '/a b' (found at least ' ')", Outcome.BAD_URL),
    ("nonnumeric port: 'x'", Outcome.BAD_URL),
    ("Image decoding error", Outcome.DECODE_FAILED),
)  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), KNOWN)
def test_known_texts(text, expected):
    actual, _ = outcome_of(text)
    assert actual == expected


def test_unknown_text_is_kept_in_one_short_line():
    outcome, message = outcome_of("something\nnew " + "x" * 500)
    assert outcome == Outcome.ENGINE_ERROR
    assert message.startswith("something new x")
    assert len(message) == MAX_MESSAGE


def test_no_text():
    assert outcome_of(None) == (Outcome.ENGINE_ERROR, "no message")
