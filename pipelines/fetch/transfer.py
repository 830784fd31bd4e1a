"""One reusable libcurl handle: its options, its callbacks, and what it found.

In: a `Target`, the time it may take, and a look at the first bytes. Out: a `Result`.
Handles are pooled by the fetcher; options that never change are set once. libcurl
follows no redirect here: every hop comes back to the fetcher, so that scheme, port,
address, rate and deadline hold for each of them.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable

import pycurl

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.guard import Guard
from pipelines.fetch.headers import INFLATABLE, Head
from pipelines.fetch.results import (
    REDIRECTS,
    Facts,
    Result,
    code_outcome,
    status_outcome,
)
from pipelines.fetch.urls import Target, is_numeric
from shards.outcomes import Outcome

_ACCEPT = "Accept: image/jpeg, image/png, image/webp, image/gif;q=0.8, image/bmp;q=0.5, */*;q=0.1"
_SMALL_BYTES = 65_536
"""Error pages up to this size are read to their end, which keeps the connection usable."""

_RECEIVE_BUFFER_BYTES = 262_144
"""One callback, which needs the interpreter, per so many bytes at most."""

_ABORT = -1

HasRoom = Callable[["Transfer", int], bool]
"""Reserve memory for so many bytes; False asks the transfer to pause."""

Look = Callable[[bytes], str | None]


class Transfer:
    """A libcurl handle and the state of the hop it is on."""

    def __init__(self, config: FetchConfig, guard: Guard, ca_file: str, has_room: HasRoom) -> None:
        self._config = config
        self._has_room = has_room
        self._guard = guard
        self.curl = pycurl.Curl()
        self._set_once(ca_file)
        self._begin(Target("", "", 0), 0.0, None, head_only=False)

    def start(
        self,
        target: Target,
        timeout_s: float,
        look: Look | None,
        *,
        addresses: tuple[str, ...] = (),
        head_only: bool = False,
    ) -> None:
        """Make the handle ready for one hop; the caller adds it to the multi handle.

        Args:
            target: where to go.
            timeout_s: total time of this hop.
            look: called once with the first bytes; a reason it returns ends the transfer.
            addresses: of the host, where our own resolver has found them.
            head_only: a probe: give up the body.
        """
        self._begin(target, timeout_s, look, head_only=head_only)
        curl = self.curl
        curl.setopt(pycurl.URL, target.url)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(timeout_s * 1000)))
        pinned = [f"+{target.host}:{target.port}:{','.join(addresses)}"] if addresses else []
        curl.setopt(pycurl.RESOLVE, pinned)

    def finish(self, code: int) -> Result:
        """Judge the hop once libcurl is done with it.

        Raises:
            Exception: what a callback raised, which is a fault of this program.
        """
        if self._fault is not None:
            raise self._fault
        facts = self._facts(code)
        result = Result(Outcome.SUCCESS, "", self._head)
        result.received_bytes = self.received_bytes
        result.inspected = self._looked
        result.elapsed_s = self.curl.getinfo(pycurl.TOTAL_TIME)
        status = self._head.status
        if self._stop is not None:
            result.outcome, result.message = self._stop
        elif self._head.complete and not 200 <= status < 300:
            result.outcome, result.message = status_outcome(status), f"http {status}"
            result.location = self._head.location if status in REDIRECTS else None
        else:
            result.outcome, result.message = code_outcome(facts)
            if result.outcome == Outcome.SUCCESS:
                result.body = self._body
        self._note_health(result, facts)
        self._begin(Target("", "", 0), 0.0, None, head_only=False)
        return result

    def resume(self) -> bool:
        """Go on after a pause; the bytes that were refused come again before this returns.

        Returns:
            False where the transfer ended with that: libcurl does not report it a second time.
        """
        self.paused = False
        try:
            self.curl.pause(pycurl.PAUSE_CONT)
        except pycurl.error:
            return False
        return True

    def close(self) -> None:
        """Free the handle."""
        self.curl.close()

    def _begin(
        self, target: Target, timeout_s: float, look: Look | None, *, head_only: bool
    ) -> None:
        self._target, self._timeout_s, self._look = target, timeout_s, look
        self._head_only = head_only
        self._head = Head()
        self._body = io.BytesIO()
        self._discard = False
        self._looked = False
        self._stop: tuple[str, str] | None = None
        self._refused: Outcome | None = None
        self._opened = 0
        self.local_error: OSError | None = None  # this process is out of sockets
        self._fault: Exception | None = None  # of our own code, in a callback
        self.received_bytes = 0
        self.held_bytes = 0  # reserved, until the fetcher releases them
        self.paused = False

    def _set_once(self, ca_file: str) -> None:
        config, curl = self._config, self.curl
        web = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        options: dict[int, object] = {
            pycurl.NOSIGNAL: 1,  # signals and threads do not mix
            pycurl.PROXY: "",  # the environment's proxies would hide the real address
            pycurl.NOPROXY: "*",
            pycurl.PROTOCOLS: web,
            pycurl.REDIR_PROTOCOLS: web,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.NETRC: 0,
            pycurl.HTTP09_ALLOWED: 0,
            pycurl.HTTP_CONTENT_DECODING: 0,
            # A file, not a blob: libcurl keeps the parsed store of a file between connections.
            pycurl.CAINFO: ca_file,
            pycurl.USERAGENT: config.user_agent,
            pycurl.HTTPHEADER: [_ACCEPT],
            pycurl.CONNECTTIMEOUT_MS: max(1, round(config.connect_timeout_s * 1000)),
            pycurl.LOW_SPEED_LIMIT: config.low_speed_bytes_s,
            pycurl.LOW_SPEED_TIME: config.low_speed_s,
            pycurl.DNS_CACHE_TIMEOUT: config.dns_cache_s,
            pycurl.BUFFERSIZE: _RECEIVE_BUFFER_BYTES,
            pycurl.OPENSOCKETFUNCTION: self._guarded(self._on_socket, pycurl.SOCKET_BAD),
            pycurl.HEADERFUNCTION: self._guarded(self._on_header, _ABORT),
            pycurl.WRITEFUNCTION: self._guarded(self._on_body, _ABORT),
        }
        if config.max_mbps is not None:
            options[pycurl.MAX_RECV_SPEED_LARGE] = max(1, round(config.max_mbps * 125_000))
        for option, value in options.items():
            curl.setopt(option, value)

    def _guarded(self, callback: Callable[..., object], refusal: int) -> Callable[..., object]:
        """Return a callback that keeps an error for `finish`; pycurl would print and forget it."""

        def call(*arguments: object) -> object:
            try:
                return callback(*arguments)
            except Exception as error:  # noqa: BLE001  raised again by `finish`
                self._fault = self._fault or error
                return refusal

        return call

    def _on_socket(self, purpose: int, peer: tuple[int, int, int, tuple[object, ...]]) -> object:
        """Open a socket to the address libcurl has chosen, if the guard allows it."""
        family, kind, protocol, address = peer
        internet = family in (socket.AF_INET, socket.AF_INET6)
        verdict: Outcome | None = Outcome.PRIVATE_ADDRESS
        if purpose == pycurl.SOCKTYPE_IPCXN and internet:
            verdict = self._guard.check(str(address[0]), int(str(address[1])))
        if verdict is not None:
            self._refused = self._refused or verdict
            return pycurl.SOCKET_BAD
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError as error:
            self.local_error = error
            return pycurl.SOCKET_BAD
        self._opened += 1
        return opened

    def _on_header(self, line: bytes) -> int | None:
        if not self._head.feed(line):
            return None
        head = self._head
        if self._head_only:
            return self._give_up(Outcome.SUCCESS, f"http {head.status}")
        useful = 200 <= head.status < 300 or head.status in REDIRECTS
        if head.opt_out and useful and self._config.respect_opt_out:
            return self._give_up(Outcome.OPT_OUT, "opt-out header")
        if not 200 <= head.status < 300:
            self._discard = True
            small = head.content_length is not None and head.content_length <= _SMALL_BYTES
            return None if small else _ABORT
        limit = self._config.max_body_bytes
        if head.content_length is not None and head.content_length > limit:
            return self._give_up(Outcome.BODY_TOO_LARGE, f"announced {head.content_length} bytes")
        if len(head.codings) > 1 or not INFLATABLE.issuperset(head.codings):
            return self._give_up(Outcome.FORMAT_NOT_SUPPORTED, "content-encoding")
        return None

    def _on_body(self, data: bytes) -> int | None:
        if not self._discard and not self._has_room(self, len(data)):
            self.paused = True
            return int(pycurl.WRITEFUNC_PAUSE)
        self.held_bytes += 0 if self._discard else len(data)
        self.received_bytes += len(data)
        if self._discard:
            return None if self.received_bytes <= _SMALL_BYTES else _ABORT
        if self.received_bytes > self._config.max_body_bytes:
            limit = self._config.max_body_bytes
            return self._give_up(Outcome.BODY_TOO_LARGE, f"more than {limit} bytes")
        self._body.write(data)
        enough = self.received_bytes >= self._config.head_bytes
        if enough and not self._looked and self._look is not None and not self._head.codings:
            self._looked = True
            with self._body.getbuffer() as view:
                reason = self._look(bytes(view[: self._config.head_bytes]))
            if reason is not None:
                return self._give_up(reason, "first bytes")
        return None

    def _give_up(self, outcome: str, message: str) -> int:
        self._stop = (outcome, message)
        self._body = io.BytesIO()
        return _ABORT

    def _facts(self, code: int) -> Facts:
        total_s = self.curl.getinfo(pycurl.TOTAL_TIME)
        return Facts(
            code=code,
            opened=self._opened,
            addressed=self._opened > 0 or bool(self.curl.getinfo(pycurl.PRIMARY_IP)),
            refused=self._refused,
            named=not is_numeric(self._target.host),
            # Not by PRETRANSFER_TIME: libcurl 8.23 sets it when a look-up times out, too.
            reached=self.curl.getinfo(pycurl.REQUEST_SIZE) > 0 or self._head.status > 0,
            headed=self._head.complete,
            deadline_hit=total_s >= self._timeout_s - 0.01,
            received_bytes=self.received_bytes,
        )

    def _note_health(self, result: Result, facts: Facts) -> None:
        if facts.named and result.outcome == Outcome.DNS_ERROR:
            result.looked_up = False
        elif facts.named and (facts.opened or facts.refused):
            result.looked_up = True
        if facts.opened:
            result.connected = self.curl.getinfo(pycurl.CONNECT_TIME) > 0
