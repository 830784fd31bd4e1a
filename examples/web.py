"""A small web server for the examples: on the loopback interface only, with pages in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from examples.corpus import say

PORT = 28_642
"""Port of the examples' web. Keys are hashes of URLs, so another port gives another order."""


@dataclass(frozen=True)
class Page:
    """The response of one path."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    claimed_length: int | None = None  # sent as Content-Length instead of the true one


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # With the default of 5, most of 64 connections at once are refused and retried seconds later.
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a client hangs up when it has seen enough of a body."""


@contextmanager
def serve(pages: Mapping[str, Page], port: int = 0) -> Iterator[str]:
    """Serve pages on a loopback port (any free one if it is 0 or taken); yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            page = pages.get(self.path, Page(b"nothing here", 404))
            length = len(page.body) if page.claimed_length is None else page.claimed_length
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(page.body)
            self.close_connection = length != len(page.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _listening(port, Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listening(port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        return _Server(("127.0.0.1", port), handler)
    except OSError as error:
        say(f"port {port} cannot be used ({error}); numbers will differ from those of other runs")
        return _Server(("127.0.0.1", 0), handler)
