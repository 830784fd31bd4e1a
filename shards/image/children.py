"""Pictures from strangers are decoded in child processes: what kills or stalls one costs a row.

A decoder that crashes, loops or takes all memory cannot be stopped from within its process, and
several hold the interpreter's lock while they work. Each calling thread therefore talks to a child
of its own, which stores one picture after another and is replaced when it dies or is too slow. The
bytes of all pictures under way are bounded by what their heads say they need.

The two sides talk through pipes. A message is two lengths, a JSON object, and raw bytes.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, BinaryIO

from shards.image.cost import MAX_DECODE_BYTES, decode_bytes, decode_limit_s
from shards.image.pixels import inspect
from shards.image.recode import Stored, store
from shards.image.spec import StoreSpec
from shards.image.types import ImageError
from shards.outcomes import Outcome

_LENGTHS = struct.Struct(">II")
_STARVED = 10.0
"""On a busy machine a decoder may take so many times its CPU limit by the clock."""

_DATA_LIMIT_BYTES = 4 << 30  # of a child: a last resort, behind what heads tell


def store_in_child(data: bytes, spec: StoreSpec) -> Stored:
    """Do what `shards.image.store` does, in a child of this process.

    Raises:
        ImageError: As `store` does, and DECODER_CRASH where the decoder died or took longer than
            `decode_limit_s` of CPU time.
        ValueError: As `store` does.
        RuntimeError: A fault of ours, with the child's traceback.
    """
    return _decoders.store(data, spec)


class Decoders:
    """As many children as threads ask for at once, and one budget of memory for all of them."""

    def __init__(self, budget_bytes: int = MAX_DECODE_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._used_bytes = 0
        self._changed = threading.Condition()
        self._idle: list[_Child] = []

    def store(self, data: bytes, spec: StoreSpec, *, limit_s: float | None = None) -> Stored:
        """Do what `store_in_child` does; `limit_s` replaces the limit that the head gives."""
        head = inspect(data, spec.max_pixels)
        with self._memory(decode_bytes(head)), self._child() as child:
            return child.store(data, spec, limit_s or decode_limit_s(head))

    def close(self) -> None:
        """End the children that have nothing to do."""
        while self._idle:
            self._idle.pop().end()

    @contextmanager
    def _memory(self, needed: int) -> Iterator[None]:
        """Wait until this much fits; what is more than the whole budget goes alone."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._used_bytes or self._used_bytes + needed <= self._budget_bytes
            )
            self._used_bytes += needed
        try:
            yield
        finally:
            with self._changed:
                self._used_bytes -= needed
                self._changed.notify_all()

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        try:
            child = self._idle.pop()  # one step: needs no lock
        except IndexError:
            child = _Child()
        try:
            yield child
        finally:
            if child.alive:
                self._idle.append(child)


class _DeadError(Exception):
    """The child died, or was ended because it took too long; the text says which."""


class _Child:
    def __init__(self) -> None:
        # The child must find this package wherever the parent found it, staged or installed.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        self.alive = True

    def store(self, data: bytes, spec: StoreSpec, limit_s: float) -> Stored:
        try:
            _send(self._to, asdict(spec), data)
            answer, body = self._answer(limit_s)
        except BaseException as error:
            # Also after an interrupt: an answer that was not read would be the next picture's.
            self.end()
            if not isinstance(error, _DeadError | OSError):
                raise
            raise ImageError(Outcome.DECODER_CRASH, self._cause(error)) from error
        if "outcome" in answer:
            raise ImageError(Outcome(answer["outcome"]), answer["detail"])
        if "error" in answer:
            raise ValueError(answer["error"])
        if "fault" in answer:
            raise RuntimeError(f"in a decoder process:\n{answer['fault']}")
        return Stored(data=body, **answer)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _cause(self, error: Exception) -> str:
        if isinstance(error, _DeadError) and str(error):
            return str(error)
        return f"the decoder ended with {self._process.returncode}"

    def _answer(self, limit_s: float) -> tuple[dict[str, Any], bytes]:
        clock = _Clock(self._process.pid, limit_s)
        json_size, body_size = _LENGTHS.unpack(self._read(_LENGTHS.size, clock))
        answer = json.loads(self._read(json_size, clock))
        return answer, self._read(body_size, clock)

    def _read(self, size: int, clock: _Clock) -> bytes:
        pipe = select.poll()
        pipe.register(self._from, select.POLLIN)
        parts = bytearray()
        while len(parts) < size:
            if not pipe.poll(max(1, round(1000 * clock.left_s()))):
                if clock.left_s() <= 0:
                    raise _DeadError(f"no picture within {clock.limit_s:.1f} s of CPU time")
                continue
            piece = os.read(self._from, size - len(parts))
            if not piece:
                self._process.wait()
                raise _DeadError
            parts += piece
        return bytes(parts)


class _Clock:
    """CPU time of a process since now: what a busy machine does not count against a decoder."""

    def __init__(self, pid: int, limit_s: float) -> None:
        self.limit_s = limit_s
        self._pid = pid
        self._began_s = time.monotonic()
        self._began_cpu_s = _cpu_s(pid)

    def left_s(self) -> float:
        """Return how long to wait before looking again; 0 or less when time is up."""
        passed_s = time.monotonic() - self._began_s
        if self._began_cpu_s is None or (cpu_s := _cpu_s(self._pid)) is None:
            return self.limit_s - passed_s
        by_cpu = self.limit_s - (cpu_s - self._began_cpu_s)
        return min(by_cpu, _STARVED * self.limit_s - passed_s)


def _cpu_s(pid: int) -> float | None:
    """Return the CPU time a process has used, None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _send(pipe: int, header: Mapping[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    for part in (_LENGTHS.pack(len(text), len(body)) + text, body):
        left = memoryview(part)
        while left:
            left = left[os.write(pipe, left) :]


def _receive(pipe: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None  # the parent has ended, or needs this child no more
    text_size, body_size = _LENGTHS.unpack(lengths)
    return json.loads(pipe.read(text_size)), pipe.read(body_size)


def _reply(spec: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    import traceback

    try:
        stored = store(data, StoreSpec(**spec))
    except ImageError as error:
        return {"outcome": error.outcome, "detail": error.detail}, b""
    except ValueError as error:
        return {"error": str(error)}, b""
    except Exception:  # noqa: BLE001  raised again in the parent
        return {"fault": traceback.format_exc()}, b""
    fields = {name: value for name, value in vars(stored).items() if name != "data"}
    return fields, stored.data


def main() -> None:
    """Answer requests from standard input on standard output until that ends."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_DATA_LIMIT_BYTES, _DATA_LIMIT_BYTES))
    # Libraries may print; only this descriptor leads to the parent.
    replies = os.dup(1)
    os.dup2(2, 1)
    while (request := _receive(sys.stdin.buffer)) is not None:
        _send(replies, *_reply(*request))


_decoders = Decoders()


def _forget() -> None:
    """In a forked child: the parent's decoders answer the parent."""
    global _decoders
    _decoders = Decoders()


atexit.register(lambda: _decoders.close())
os.register_at_fork(after_in_child=_forget)

if __name__ == "__main__":
    main()
