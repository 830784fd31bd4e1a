"""Hostile and well-behaved servers on 127.0.0.1 for tests, benchmarks and the demo.

`WebServer` answers the routes below, over HTTP or HTTPS, and records what it was asked.
`NameServer` answers DNS queries from a table. Both listen on loopback only, run in
daemon threads, and stop by themselves after `max_s` seconds or `max_requests` requests.
"""

from __future__ import annotations

import gzip
import socket
import socketserver
import ssl
import struct
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Seen:
    """One request as the server saw it."""

    at: float  # monotonic
    path: str
    headers: dict[str, str]  # names in lower case


@dataclass
class Log:
    """What a server was asked, and how many requests it worked on at once."""

    seen: list[Seen] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    connections: int = 0
    times: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def body_of(size: int) -> bytes:
    """Return the body of `/good/SIZE`."""
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    log: Log
    stop_at: float
    max_requests: int
    tls: ssl.SSLContext | None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of these tests hang up on purpose."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 30

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.log.lock:
            self.server.log.connections += 1

    def handle(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        line = self.rfile.readline(65537).decode("latin-1")
        if not line.strip():
            return False
        path = line.split(" ")[1]
        headers: dict[str, str] = {}
        while (text := self.rfile.readline(65537).decode("latin-1").strip()) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        log = self.server.log
        with log.lock:
            log.seen.append(Seen(time.monotonic(), path, headers))
            log.busy += 1
            log.busiest = max(log.busiest, log.busy)
            over = len(log.seen) > self.server.max_requests
        try:
            return not over and self._route(path)
        finally:
            with log.lock:
                log.busy -= 1

    def _route(self, path: str) -> bool:
        parts = urllib.parse.urlsplit(path)
        name, _, argument = parts.path.lstrip("/").partition("/")
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        answer = getattr(self, "do_" + name.replace("-", "_"), None)
        if answer is None:
            return self.reply(404, b"no such route")
        return bool(answer(argument, query))

    def reply(self, status: int, body: bytes, **headers: str) -> bool:
        """Send a complete response and keep the connection."""
        self.head(status, {"Content-Length": str(len(body)), **headers})
        self.wfile.write(body)
        return True

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send a status line and headers; underscores in names become dashes."""
        lines = [f"HTTP/1.1 {status} X"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def pour(self, piece: bytes, times: int, pause_s: float) -> None:
        """Send a piece again and again, until the client or the server's time is gone."""
        for _ in range(times):
            if time.monotonic() > self.server.stop_at:
                return
            self.wfile.write(piece)
            time.sleep(pause_s)

    def do_good(self, size: str, query: dict[str, str]) -> bool:
        time.sleep(float(query.get("wait", "0")))
        if "close" in query:
            self.reply(200, body_of(int(size)), Connection="close")
            return False
        return self.reply(200, body_of(int(size or "1000")), Content_Type="image/jpeg")

    def do_html(self, _: str, __: dict[str, str]) -> bool:
        return self.reply(200, b"<html>parked</html>" * 50, Content_Type="text/html")

    def do_drip(self, _: str, __: dict[str, str]) -> bool:
        self.head(200, {"Content-Length": "100000"})
        self.pour(b"x", 600, 0.05)
        return False

    def do_steady(self, _: str, __: dict[str, str]) -> bool:
        """Fast enough for a low-speed limit, too long for a deadline."""
        self.head(200, {"Content-Length": "1900000"})
        self.pour(b"x" * 4000, 600, 0.05)
        return False

    def do_huge(self, kind: str, query: dict[str, str]) -> bool:
        pieces = int(query.get("mb", "30"))
        if kind == "announced":
            self.head(200, {"Content-Length": str(pieces << 20)})
            self.pour(b"x" * (1 << 20), pieces, 0)
        elif kind == "chunked":
            self.head(200, {"Transfer-Encoding": "chunked"})
            self.pour(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n", pieces, 0)
        else:
            self.head(200, {"Connection": "close"})
            self.pour(b"x" * (1 << 20), pieces, 0)
        return False

    def do_lying(self, _: str, __: dict[str, str]) -> bool:
        self.head(200, {"Content-Length": "1000"})
        self.wfile.write(b"x" * 100)
        return False

    def do_cut_chunks(self, _: str, __: dict[str, str]) -> bool:
        self.head(200, {"Transfer-Encoding": "chunked"})
        self.wfile.write(b"64\r\n" + b"x" * 100 + b"\r\n")
        return False

    def do_redirect(self, hops: str, _: dict[str, str]) -> bool:
        left = int(hops)
        return self.reply(302, b"", Location=f"/redirect/{left - 1}" if left else "/good/1000")

    def do_loop(self, _: str, __: dict[str, str]) -> bool:
        return self.reply(301, b"", Location="/loop")

    def do_to(self, _: str, query: dict[str, str]) -> bool:
        """Redirect to `url`, after `wait` seconds, with the rest of the query as headers."""
        time.sleep(float(query.pop("wait", "0")))
        return self.reply(302, b"", Location=query.pop("url"), **query)

    def do_status(self, code: str, _: dict[str, str]) -> bool:
        return self.reply(int(code), b"" if code == "304" else b"an error page")

    def do_busy(self, times: str, query: dict[str, str]) -> bool:
        """429 or `status` with Retry-After for the first `times` requests, then good."""
        if self._earlier(query.get("name", "busy")) < int(times):
            after = {"Retry_After": query["after"]} if "after" in query else {}
            return self.reply(int(query.get("status", "429")), b"", **after)
        return self.reply(200, body_of(1000))

    def do_flaky(self, times: str, query: dict[str, str]) -> bool:
        if self._earlier(query.get("name", "flaky")) < int(times):
            return self.reply(500, b"")
        return self.reply(200, body_of(1000))

    def do_header(self, _: str, query: dict[str, str]) -> bool:
        """A good response with the query as extra headers."""
        return self.reply(200, body_of(1000), **query)

    def do_raw(self, _: str, query: dict[str, str]) -> bool:
        """Send the query's `text` as it is, with its escapes read, and hang up."""
        self.wfile.write(query["text"].encode("latin-1").decode("unicode_escape").encode("latin-1"))
        return False

    def do_announce(self, digits: str, _: dict[str, str]) -> bool:
        """A Content-Length of so many digits."""
        self.head(200, {"Content-Length": "9" * int(digits)})
        return False

    def do_empty(self, _: str, __: dict[str, str]) -> bool:
        return self.reply(200, b"")

    def do_nothing(self, _: str, __: dict[str, str]) -> bool:
        self.head(204, {})
        return True

    def do_gzip(self, kind: str, _: dict[str, str]) -> bool:
        body = gzip.compress(bytes(64 << 20) if kind == "bomb" else body_of(1000), 1)
        return self.reply(200, body[:-20] if kind == "cut" else body, Content_Encoding="gzip")

    def do_never(self, _: str, __: dict[str, str]) -> bool:
        while time.monotonic() < self.server.stop_at:
            self.request.settimeout(0.2)
            try:
                if not self.request.recv(1):
                    return False
            except TimeoutError:
                continue
        return False

    def do_hangup(self, _: str, __: dict[str, str]) -> bool:
        return False

    def do_garbage(self, _: str, __: dict[str, str]) -> bool:
        self.wfile.write(b"220 ready\r\n" * 20)
        return False

    def do_hints(self, _: str, __: dict[str, str]) -> bool:
        self.head(103, {"X-Robots-Tag": "noai"})
        return self.reply(200, body_of(1000))

    def do_endless_head(self, _: str, __: dict[str, str]) -> bool:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.pour(b"X-Filler: " + b"y" * 8000 + b"\r\n", 2000, 0)
        return False

    def _earlier(self, name: str) -> int:
        with self.server.log.lock:
            self.server.log.times[name] += 1
            return self.server.log.times[name] - 1


class WebServer:
    """A context manager: a web server on a free loopback port."""

    def __init__(
        self,
        *,
        max_requests: int = 20_000,
        max_s: float = 60.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.log = Log()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.log = self.log
        self._server.stop_at = time.monotonic() + max_s
        self._server.max_requests = max_requests
        self._server.tls = tls
        self.port = int(self._server.server_address[1])
        self._scheme = "http" if tls is None else "https"
        self._timer = threading.Timer(max_s, self._server.shutdown)
        self._timer.daemon = True

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the URL of a route, such as `/good/1000`."""
        return f"{self._scheme}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._server.stop_at = 0.0
        self._server.shutdown()
        self._server.server_close()


class NameServer:
    """A DNS server on a free loopback UDP port.

    `table` maps a name to its addresses; `()` is a name without any, "servfail" and
    "silent" are ways to fail, and a name that is not in the table does not exist.
    """

    def __init__(
        self, table: dict[str, tuple[str, ...] | str], *, max_s: float = 60.0, default: str = "nx"
    ) -> None:
        self._table = table
        self._default = default
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._stop_at = time.monotonic() + max_s
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_at = 0.0
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while time.monotonic() < self._stop_at:
            try:
                message, peer = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            reply = self._answer(message)
            if reply:
                self._socket.sendto(reply, peer)

    def _answer(self, message: bytes) -> bytes:
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1 : at + 1 + message[at]].decode("latin-1"))
            at += 1 + message[at]
        kind = struct.unpack("!H", message[at + 1 : at + 3])[0]
        name, question = ".".join(labels), message[12 : at + 5]
        self.asked.append(name)
        entry = self._table.get(name, self._default)
        if entry == "silent":
            return b""
        code = {"nx": 3, "servfail": 2}.get(entry, 0) if isinstance(entry, str) else 0
        found = () if isinstance(entry, str) else entry
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        data = [socket.inet_pton(family, text) for text in found if (":" in text) == (kind == 28)]
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(d)) + d for d in data
        )
        head = message[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(data), 0, 0)
        return head + question + records
