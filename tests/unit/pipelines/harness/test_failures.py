"""A runner's words become one line: what the user can mend, or what failed and what is kept."""

from __future__ import annotations

import pytest

from pipelines import commandline
from pipelines.harness.failures import JobFailedError, mendable

_TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    raise error\n'
_WHERE = " [while running 'DoItems/Do-ptransform-12']"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{_TRACE}ValueError: --set: no such rule", "--set: no such rule"),
        (f"{_TRACE}RuntimeError: ValueError: give --x{_WHERE}\n\npassed through:\n==>", "give --x"),
        (
            f"{_TRACE}RuntimeError: pipelines.metadata.reader.UnreadableError: a: bad{_WHERE}\n",
            "a: bad",
        ),
        (f"shards.files.commit.ClaimVoidError: both names{_WHERE}", "both names"),
        ("ValueError: the first\nValueError: the last, which is the cause Beam re-raised",
         "the last, which is the cause Beam re-raised"),
        (f"{_TRACE}KeyError: 'url'", None),
        (f"{_TRACE}pyarrow.lib.ArrowInvalid: ValueError: not at the start", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_the_user_can_mend(text: str, expected: str | None) -> None:
    assert mendable(text) == expected


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (f"{_TRACE}RuntimeError: ValueError: give --x{_WHERE}", 2, "error: give --x\n"),
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
