"""The decode pool: finished rows wait here for threads that run the caller's code.

In: (run, request, result) from the fetch thread. Out: `inspect` where the body was too
short for an early look, then `handle`. The pool counts the bodies it holds, so that
the fetch thread starts nothing it would have no room for.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.faults import Faults
from pipelines.fetch.results import Result
from pipelines.fetch.runs import Request, Response, Run
from shards.outcomes import Outcome

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_MEMBERS = 1000
_PIECE_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row on its way to the caller."""

    run: Run
    request: Request
    result: Result

    @property
    def body_bytes(self) -> int:
        """Bytes this row keeps in memory. Not asked of the buffer: its view would copy it."""
        return self.result.received_bytes if self.result.outcome == Outcome.SUCCESS else 0


class DecodePool:
    """Threads that hand rows to `handle`; bodies undelivered are counted, failures are not."""

    def __init__(self, config: FetchConfig, on_room: Callable[[], None], faults: Faults) -> None:
        self._config = config
        self._faults = faults
        self._on_room = on_room
        self._queue: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.held_bytes = 0
        self.rows_done = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"fetch-decode-{n}", daemon=True)
            for n in range(config.decode_threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, delivery: Delivery) -> None:
        """Queue one row."""
        self._count(delivery, +1)
        self._queue.put(delivery)

    def close(self, timeout_s: float) -> None:
        """Let queued rows finish, then end the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _work(self) -> None:
        while (delivery := self._queue.get()) is not None:
            self._deliver(delivery)
            del delivery  # a waiting thread must not keep a body alive

    def _deliver(self, delivery: Delivery) -> None:
        run, request, result = delivery.run, delivery.request, delivery.result
        if run.cancelled:
            response = _failed(result, result.outcome, result.message)
        elif result.outcome == Outcome.SUCCESS and run.deadline_at <= time.monotonic():
            # Bodies that slow pictures kept waiting: the caller's time is over.
            response = _failed(result, Outcome.DEADLINE, "not decoded in time")
        else:
            response = self._respond(delivery)
        run.give(request, response)
        self._count(delivery, -1)

    def _respond(self, delivery: Delivery) -> Response:
        run, request, result = delivery.run, delivery.request, delivery.result
        response = self._faults.attempt(partial(respond, run, request, result, self._config))
        if isinstance(response, Result):
            return _failed(result, response.outcome, response.message)
        return response

    def _count(self, delivery: Delivery, sign: int) -> None:
        held = delivery.body_bytes
        with self._lock:
            self.rows_done += sign < 0
            self.held_bytes += sign * held
        if sign < 0 and (held or delivery.run.cancelled):
            self._on_room()


def respond(run: Run, request: Request, result: Result, config: FetchConfig) -> Response:
    """Return the row's response: inflate a compressed body, look at one not yet looked at."""
    if result.outcome != Outcome.SUCCESS:
        return _failed(result, result.outcome, result.message)
    body = result.body.getvalue()
    if result.head.codings:
        inflated = inflate(body, result.head.codings[0], config.max_body_bytes)
        if isinstance(inflated, Outcome):
            return _failed(result, inflated, "content-encoding")
        body = inflated
    if not result.inspected:
        reason = run.look(request, body[: config.head_bytes])
        if reason is not None:
            return _failed(result, reason, "first bytes")
    return Response(Outcome.SUCCESS, body, result.head.status, "")


def inflate(body: bytes, coding: str, max_bytes: int) -> bytes | Outcome:
    """Undo gzip or deflate, never producing more than `max_bytes`; a bomb costs that much.

    A gzip body may have several members one after the other (RFC 1952); together they are the
    body. Bytes behind the last that begin no member are padding, as gzip itself reads it.
    """
    window = -zlib.MAX_WBITS if coding == "deflate" and not _has_zlib_header(body) else 47
    inflated = bytearray()
    at = 0
    for _ in range(_MAX_MEMBERS):
        inflater = zlib.decompressobj(window)
        while not inflater.eof:
            # By pieces: what a member leaves unused is copied, which for thousands of small
            # members in a large body would cost the square of its size.
            piece = body[at : at + _PIECE_BYTES]
            if not piece:
                return Outcome.BODY_TRUNCATED
            try:
                inflated += inflater.decompress(piece, max_bytes + 1 - len(inflated))
            except zlib.error:
                return Outcome.DECODE_FAILED
            if len(inflated) > max_bytes:
                return Outcome.BODY_TOO_LARGE
            at += len(piece) - len(inflater.unused_data)
        if body[at : at + 2] != _GZIP_MAGIC:
            return bytes(inflated) or Outcome.BODY_EMPTY
    return Outcome.DECODE_FAILED


def _has_zlib_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _failed(result: Result, outcome: str, message: str) -> Response:
    return Response(outcome, b"", result.head.status, message)
