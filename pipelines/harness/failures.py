"""What a runner's failure means to the person who started the job.

A worker's error reaches the launcher as text: of a RuntimeError, or of a service's message
that tells it inside a traceback. So a worker turns what the user can mend into a `MendableError`
of one line, which the launcher reads out of that text; other errors keep their traceback.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from logging import Handler, LogRecord
from typing import Any, TextIO, cast

from shards.commandline import is_mendable

_MENDABLE = re.compile(r"\bMendableError: (.*?)(?: \[while running '.*)?$", re.MULTILINE)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*: .+$", re.MULTILINE)


class MendableError(RuntimeError):
    """What the user can mend, in one line, as a runner can hand it on."""


def handed_on(error: Exception) -> Exception:
    """Return an error as a worker raises it: one line where the user can mend it."""
    return MendableError(" ".join(str(error).split())) if is_mendable(error) else error


def mendable(text: str) -> str | None:
    """Return the one line of a `MendableError` that a text tells; None where it tells none."""
    lines = _MENDABLE.findall(text)
    return lines[-1] if lines else None


class JobFailedError(RuntimeError):
    """A remote runner gave up on a stage's job.

    Args:
        stage: The stage.
        text: What the runner says about it: a sentence, or the end of a worker's traceback.
    """

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(
            f"the {stage} job failed: {_gist(text)}; the runner's messages say more. What is done "
            "is kept: run the same command again to resume"
        )
        self.text = text


def _gist(text: str) -> str:
    """Return the last exception of a text; services add lines about themselves below it."""
    lines = _EXCEPTION.findall(text) or text.strip().splitlines() or ["no reason given"]
    return str(lines[-1]).split(" [while running")[0]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Leave the tracebacks of mendable errors out of what is written to standard error.

    Beam's worker prints each one there, beside logging it and handing it to the launcher.
    """
    with redirect_stderr(cast(TextIO, _Quiet(sys.stderr))):
        yield


class _Quiet:
    """Standard error without texts, each written in one piece, that tell a mendable error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left_out = False  # the text before

    def write(self, text: str) -> int:
        """Write a text unless it is such a traceback, or the line end that `print` adds to it."""
        self._left_out = mendable(text) is not None or (self._left_out and text == "\n")
        return len(text) if self._left_out else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def leave_out_reports(handler: Handler) -> None:
    """Keep a handler from logging errors that reach the launcher anyway, and so the terminal."""
    handler.addFilter(_is_news)


def _is_news(record: LogRecord) -> bool:
    message = record.getMessage()
    error = record.exc_info[1] if record.exc_info else None
    relayed = message.startswith("Worker: ")  # by Beam, from a worker process
    return not relayed and mendable(message) is None and mendable(as_text(error)) is None


def as_text(error: BaseException | None) -> str:
    """Return an error as the last line of its traceback."""
    return f"{type(error).__name__}: {error}"
