"""libcurl's multi handle driven by one selector: who is ready is told, never searched for.

In: transfers to add, sockets to watch, wake-ups from other threads. Out: the handles
that have ended, with libcurl's code. Everything but `wake` belongs to one thread.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable

import pycurl

_IN, _OUT = selectors.EVENT_READ, selectors.EVENT_WRITE
_EVENTS = {pycurl.POLL_IN: _IN, pycurl.POLL_OUT: _OUT, pycurl.POLL_INOUT: _IN | _OUT}


class Loop:
    """One multi handle: one connection cache, one DNS cache, one TLS store and session cache."""

    def __init__(self, max_idle_connections: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._timer_at: float | None = None
        self._awake = threading.Event()
        self._bell, self._ear = socket.socketpair()
        for end in (self._bell, self._ear):
            end.setblocking(False)
        self._selector.register(self._ear, _IN, self._hear)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_idle_connections)

    def add(self, curl: pycurl.Curl) -> None:
        """Start a prepared handle."""
        self._multi.add_handle(curl)

    def remove(self, curl: pycurl.Curl) -> None:
        """Take a handle out, ended or not."""
        self._multi.remove_handle(curl)

    def watch(self, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` in `poll` whenever `sock` has something."""
        self._selector.register(sock, _IN, on_readable)

    def wake(self) -> None:
        """Make the present or next `poll` return. May be called from any thread."""
        if not self._awake.is_set():
            self._awake.set()
            self._bell.send(b"\0")

    def poll(self, timeout_s: float) -> list[tuple[pycurl.Curl, int]]:
        """Wait for something to happen, at most `timeout_s`; return ended handles with codes."""
        wait = timeout_s
        if self._timer_at is not None:
            wait = min(wait, self._timer_at - time.monotonic())
        for key, events in self._selector.select(max(0.0, wait)):
            if key.data is not None:
                key.data()
                continue
            mask = (pycurl.CSELECT_IN if events & _IN else 0) | (
                pycurl.CSELECT_OUT if events & _OUT else 0
            )
            self._multi.socket_action(key.fd, mask)
        if self._timer_at is not None and self._timer_at <= time.monotonic():
            self._timer_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._ended()

    def close(self) -> None:
        """Close the multi handle, its connections and the wake-up pair."""
        self._multi.close()
        self._selector.close()
        self._bell.close()
        self._ear.close()

    def _ended(self) -> list[tuple[pycurl.Curl, int]]:
        ended: list[tuple[pycurl.Curl, int]] = []
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            ended += [(curl, pycurl.E_OK) for curl in good]
            ended += [(curl, code) for curl, code, _ in bad]
        return ended

    def _hear(self) -> None:
        self._ear.recv(64)
        self._awake.clear()  # after the read: a wake in between rings again

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        known = fd in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, _EVENTS[what])
        else:
            self._selector.register(fd, _EVENTS[what])

    def _on_timer(self, timeout_ms: int) -> None:
        self._timer_at = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000
