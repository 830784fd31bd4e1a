"""Look-ups at chosen resolvers, because libcurl's wheel has no c-ares to set them on.

In: a host name. Out: its addresses, through a callback, from a cache or from UDP
queries on the fetch loop's own selector: all look-ups are in flight at once and none
takes a thread. IPv4 is asked for first, IPv6 only where there is none, which halves
the load on the resolver. Addresses are not trusted: the guard judges each at connect.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipelines.fetch import dns
from pipelines.fetch.config import FetchConfig, parse_server
from pipelines.fetch.loop import Loop

TRIES = 3
"""Queries per record type, each at the next resolver, within the connect timeout."""

_CACHE_HOSTS = 50_000
_MISSING_S = 300
"""How long a name that does not exist is remembered; a failed look-up never is."""

OnAnswer = Callable[[tuple[str, ...]], None]


@dataclass(slots=True, eq=False)
class _Query:
    host: str
    kind: int
    asked: bytes
    callbacks: list[OnAnswer]
    tries: int = 0
    number: int = -1
    due_at: float = 0.0  # when the present try is given up


class Resolver:
    """A caching stub resolver on a `Loop`; belongs to the fetch thread."""

    def __init__(self, loop: Loop, config: FetchConfig) -> None:
        self._try_s = config.connect_timeout_s / TRIES
        self._cache_s = config.dns_cache_s
        self._cache: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._open: dict[str, _Query] = {}  # by host
        self._numbers: dict[int, _Query] = {}
        self._sockets = [_connect(*parse_server(text)) for text in config.dns_servers]
        for sock in self._sockets:
            loop.watch(sock, partial(self._read, sock))

    def ask(self, host: str, on_answer: OnAnswer) -> None:
        """Call `on_answer` with the addresses of `host`, at once or later; () if there are none."""
        known = self._cache.get(host)
        if known is not None and known[0] > time.monotonic():
            on_answer(known[1])
        elif host in self._open:
            self._open[host].callbacks.append(on_answer)
        else:
            try:
                asked = dns.question(host, dns.A)
            except ValueError:
                on_answer(())
                return
            self._open[host] = _Query(host, dns.A, asked, [on_answer])
            self._send(self._open[host])

    def tick(self, now: float) -> None:
        """Send again, or give up, what has waited too long."""
        for query in [q for q in self._open.values() if q.due_at <= now]:
            self._next_try(query)

    def next_wake(self) -> float | None:
        """Return when `tick` next has something to do."""
        return min((query.due_at for query in self._open.values()), default=None)

    def close(self) -> None:
        """Close the sockets; open questions are forgotten."""
        for sock in self._sockets:
            sock.close()

    def _next_try(self, query: _Query) -> None:
        if query.tries < TRIES:
            self._send(query)
        else:
            self._answer(query, (), 0.0)

    def _send(self, query: _Query) -> None:
        self._numbers.pop(query.number, None)
        query.number = secrets.randbelow(65536)
        while query.number in self._numbers:
            query.number = secrets.randbelow(65536)
        self._numbers[query.number] = query
        sock = self._sockets[query.tries % len(self._sockets)]
        query.tries += 1
        query.due_at = time.monotonic() + self._try_s
        try:
            sock.send(dns.query(query.number, query.asked))
        except OSError:
            query.due_at = time.monotonic()  # no route to this resolver: the next one's turn

    def _read(self, sock: socket.socket) -> None:
        try:
            reply = sock.recv(4096)
            query = self._numbers.get(dns.number_of(reply))
            if query is None:
                return  # late, or not for us
            answer = dns.parse(reply, query.asked)
        except (OSError, ValueError):
            return  # no resolver there, or garbage: the try's timer decides
        if answer.failed:
            query.due_at = 0.0
        elif answer.addresses:
            self._answer(query, answer.addresses, min(answer.ttl_s, self._cache_s))
        elif answer.missing or query.kind == dns.AAAA:
            self._answer(query, (), min(_MISSING_S, self._cache_s))
        else:
            query.kind, query.tries = dns.AAAA, 0
            query.asked = dns.question(query.host, dns.AAAA)
            self._send(query)

    def _answer(self, query: _Query, addresses: tuple[str, ...], keep_s: float) -> None:
        self._numbers.pop(query.number, None)
        del self._open[query.host]
        if keep_s > 0:
            if len(self._cache) >= _CACHE_HOSTS:
                self._cache.pop(next(iter(self._cache)))  # the oldest
            self._cache[query.host] = (time.monotonic() + keep_s, addresses)
        for callback in query.callbacks:
            callback(addresses)


def _connect(address: str, port: int) -> socket.socket:
    """Return a UDP socket that hears from this resolver only."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((address, port))
    return sock
