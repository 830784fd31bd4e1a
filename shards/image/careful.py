"""Storing one image in a process of its own, for items whose process has died before.

A decoder that crashes or hangs takes a child with it and not the worker. A child costs about a
tenth of a second, so this is for second and third attempts only.

The two sides talk through pipes: a line of JSON, then raw bytes, in both directions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from shards.image import ImageError, Stored, StoreSpec, store
from shards.outcomes import Outcome


def store_in_child(data: bytes, spec: StoreSpec, *, timeout_s: float = 60.0) -> Stored:
    """Do what `shards.image.store` does, in a child process.

    Raises:
        ImageError: As `store` does, and DECODER_CRASH where the child died or took longer than
            `timeout_s` seconds.
        ValueError: As `store` does.
    """
    request = json.dumps(asdict(spec)).encode() + b"\n" + data
    # The child must find this package wherever the parent found it, staged or installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "shards.image.careful"],
            input=request,
            capture_output=True,
            env=environment,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        detail = f"no result within {timeout_s:g} s"
        raise ImageError(Outcome.DECODER_CRASH, detail) from error
    if child.returncode != 0:
        raise ImageError(Outcome.DECODER_CRASH, f"the child ended with {child.returncode}")
    return _read_answer(child.stdout)


def _read_answer(answer: bytes) -> Stored:
    line, _, body = answer.partition(b"\n")
    fields = json.loads(line)
    if "outcome" in fields:
        raise ImageError(Outcome(fields["outcome"]), fields["detail"])
    if "error" in fields:
        raise ValueError(fields["error"])
    return Stored(data=body, **fields)


def _answer(request: bytes) -> bytes:
    line, _, data = request.partition(b"\n")
    try:
        stored = store(data, StoreSpec(**json.loads(line)))
    except ImageError as error:
        return json.dumps({"outcome": error.outcome, "detail": error.detail}).encode() + b"\n"
    except ValueError as error:
        return json.dumps({"error": str(error)}).encode() + b"\n"
    fields = {name: value for name, value in vars(stored).items() if name != "data"}
    return json.dumps(fields).encode() + b"\n" + stored.data


def main() -> None:
    """Answer one request from standard input on standard output."""
    sys.stdout.buffer.write(_answer(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
