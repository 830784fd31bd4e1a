"""A runner's words become one line: what the user can mend, or what failed and what is kept."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import redirect_stderr

import pytest

from pipelines import commandline
from pipelines.fetch import NetworkUnhealthy
from pipelines.harness.failures import (
    JobFailedError,
    MendableError,
    handed_on,
    leave_out_reports,
    mendable,
    quiet_stderr,
)
from pipelines.metadata.reader import UnreadableError
from shards.files.commit import ClaimVoidError

_TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    raise error\n'
_WHERE = " [while running 'DoItems/Do-ptransform-12']"


_NAME = "pipelines.harness.failures.MendableError"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{_TRACE}{_NAME}: --set: no such rule", "--set: no such rule"),
        (f"{_TRACE}RuntimeError: {_NAME}: give --x{_WHERE}\n\npassed through:\n==>", "give --x"),
        (
            f"{_NAME}: the first\n{_NAME}: the last, which Beam raised again",
            "the last, which Beam raised again",
        ),
        (f"{_TRACE}ValueError: of a worker of ours that nobody handed on", None),
        (f"{_TRACE}KeyError: 'url'", None),
        ("", None),
    ],
)
def test_what_the_user_can_mend(text: str, expected: str | None) -> None:
    assert mendable(text) == expected


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (f"{_TRACE}RuntimeError: {_NAME}: give --x{_WHERE}", 2, "error: give --x\n"),
        (f"{_TRACE}KeyError: 'url'{_WHERE}\n\npassed through:\n==>\n  dist.cc:1", 1,
         "error: the mix job failed: KeyError: 'url'; "),
        ("Workflow failed. Causes: quota", 1,
         "error: the mix job failed: Workflow failed. Causes: quota; "),
        ("", 1, "error: the mix job failed: no reason given; "),
    ],
)  # fmt: skip
def test_a_failed_job_is_one_line(
    text: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> None:
        raise JobFailedError("mix", text)

    assert commandline.report_errors(job) == code
    written = capsys.readouterr().err
    assert written.startswith(told) and written.count("\n") == 1
    assert code == 2 or "run the same command again" in written


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def job() -> None:
        raise RuntimeError(f"{_TRACE}KeyError: 'url'")

    with pytest.raises(RuntimeError, match="KeyError"):
        commandline.report_errors(job)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines"),
        NetworkUnhealthy("two\nlines"),
        ClaimVoidError("two\nlines"),
    ],
)
def test_a_worker_hands_on_one_line_of_what_the_user_can_mend(error: Exception) -> None:
    handed = handed_on(error)
    assert isinstance(handed, MendableError) and str(handed) == "two lines"


def test_a_corrupt_file_is_for_the_user_to_mend() -> None:
    assert isinstance(handed_on(UnreadableError("a.parquet", 3, "cut short")), MendableError)


@pytest.mark.parametrize(
    "error", [KeyError("a"), TypeError("b"), AssertionError(), UnicodeError("c")]
)
def test_a_worker_raises_a_fault_of_ours_as_it_is(error: Exception) -> None:
    assert handed_on(error) is error


def test_printed_tracebacks_of_mendable_errors_are_left_out() -> None:
    with redirect_stderr(io.StringIO()) as terminal, quiet_stderr():
        sys.stderr.write(f"{_TRACE}{_NAME}: give --x\n"), sys.stderr.write("\n")  # as print does
        sys.stderr.write("a line\n")
        sys.stderr.write(f"{_TRACE}KeyError: 'url'\n")
    assert terminal.getvalue() == f"a line\n{_TRACE}KeyError: 'url'\n"


def test_logged_mendable_errors_are_left_out() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    leave_out_reports(handler)
    logger = logging.getLogger("test_failures")
    logger.addHandler(handler)
    logger.propagate = False
    logger.error("Error processing instruction. %s", f"{_TRACE}{_NAME}: give --x")
    for error in (MendableError("give --x"), KeyError("url")):
        try:
            raise error
        except (MendableError, KeyError):
            logger.exception("it failed: %s", error)
    logger.error("a line")
    assert stream.getvalue().count("Traceback") == 1
    assert "KeyError" in stream.getvalue() and "give --x" not in stream.getvalue()
    assert stream.getvalue().endswith("a line\n")
