"""What became of a planned row: the closed list of download outcomes.

Every planned row gets exactly one outcome, written to the sidecar parquet of its
shard and summed in the done-marker. Rows that a metadata rule rejects on decoded
facts (an aspect ratio known only after decoding, say) carry the rule's own reason
instead; those names are closed too, by the declarations in `filters`.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """One value per way a planned row can end. The values are part of the contract."""

    SUCCESS = "success"

    # The URL or where it leads is not allowed.
    BAD_URL = "bad_url"
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"
    PORT_NOT_ALLOWED = "port_not_allowed"
    PRIVATE_ADDRESS = "private_address"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    OPT_OUT = "opt_out"

    # The network or the server failed.
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    TLS_ERROR = "tls_error"
    TIMEOUT = "timeout"
    TOO_SLOW = "too_slow"
    NETWORK_ERROR = "network_error"
    HTTP_NOT_FOUND = "http_not_found"
    HTTP_FORBIDDEN = "http_forbidden"
    HTTP_TOO_MANY_REQUESTS = "http_too_many_requests"
    HTTP_CLIENT_ERROR = "http_client_error"
    HTTP_SERVER_ERROR = "http_server_error"
    HTTP_OTHER = "http_other"
    DEADLINE = "deadline"

    # The body is not what we can use.
    BODY_TOO_LARGE = "body_too_large"
    BODY_TRUNCATED = "body_truncated"
    BODY_EMPTY = "body_empty"
    NOT_AN_IMAGE = "not_an_image"
    FORMAT_NOT_SUPPORTED = "format_not_supported"
    TOO_MANY_PIXELS = "too_many_pixels"
    DECODE_FAILED = "decode_failed"
    DECODER_CRASH = "decoder_crash"
    ENCODE_FAILED = "encode_failed"

    # A fault of this program; the run counts it, and fails at its end.
    INTERNAL_ERROR = "internal_error"

    # Only from `--fetch_engine=img2dataset`, which reports free text.
    ENGINE_ERROR = "engine_error"


TRANSIENT = frozenset(
    {
        Outcome.DNS_ERROR,
        Outcome.CONNECT_ERROR,
        Outcome.TIMEOUT,
        Outcome.TOO_SLOW,
        Outcome.NETWORK_ERROR,
        Outcome.BODY_TRUNCATED,
        Outcome.HTTP_TOO_MANY_REQUESTS,
        Outcome.HTTP_SERVER_ERROR,
        Outcome.DEADLINE,
        Outcome.INTERNAL_ERROR,  # another version of this program may do better
    }
)
"""Outcomes that another attempt may change: retried in the item, and by `--retry_failed`."""

_RESIZE = frozenset(
    {
        Outcome.NOT_AN_IMAGE,
        Outcome.FORMAT_NOT_SUPPORTED,
        Outcome.TOO_MANY_PIXELS,
        Outcome.DECODE_FAILED,
        Outcome.DECODER_CRASH,
        Outcome.ENCODE_FAILED,
    }
)


def img2dataset_status(outcome: str) -> str:
    """Return img2dataset's `status` for an outcome, so that its users' tools keep working.

    A reason of a metadata rule counts as `failed_to_resize`: the body had arrived.
    """
    if outcome == Outcome.SUCCESS:
        return "success"
    known = outcome in Outcome.__members__.values()
    return "failed_to_download" if known and outcome not in _RESIZE else "failed_to_resize"
