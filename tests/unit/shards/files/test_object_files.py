"""What a refused or failing request becomes, and how conditional writes read odd answers."""

from __future__ import annotations

import os
from typing import Any

import pytest
from gcsfs.retry import HttpError

from shards.files._objects import ObjectFiles

URL = "gs://bucket/run/a.json"


class Refusing:
    """A file system whose every call raises the next of some errors, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> bytes:
            self.calls += 1
            if self.errors:
                raise self.errors.pop(0)
            return b"read"

        return call


def files_over(refusing: Refusing) -> ObjectFiles:
    files = ObjectFiles("gs")
    files._opened, files._opened_by = refusing, os.getpid()
    files._foreign_errors = (HttpError,)
    return files


def s3_error(status: int) -> OSError:
    """Return an error as s3fs makes them: the service's answer is on the cause."""
    cause = RuntimeError()
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    error = OSError(f"status {status}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (FileNotFoundError("o"), FileNotFoundError, "no such object"),
        (PermissionError("no"), PermissionError, "credentials"),
        (OSError("Forbidden: o"), PermissionError, "credentials"),
        (HttpError({"code": 401, "message": "anonymous"}), PermissionError, "credentials"),
        (HttpError({"code": 500, "message": "backend"}), OSError, "backend"),
        (TimeoutError(), OSError, "TimeoutError"),
    ],
)
def test_failed_reads(raised: Exception, expected: type[Exception], words: str) -> None:
    with pytest.raises(expected, match=words) as caught:
        files_over(Refusing(raised)).read(URL)
    assert type(caught.value) is expected
    assert URL in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (FileNotFoundError("o"), ValueError, "no bucket gs://bucket,"),
        (PermissionError("no"), ValueError, "credentials"),
        (HttpError({"code": 403, "message": "no"}), ValueError, "credentials"),
        (HttpError({"code": 503, "message": "busy"}), OSError, "busy"),
    ],
)
@pytest.mark.parametrize("operation", ["write", "create"])
def test_failed_writes(
    raised: Exception, expected: type[Exception], words: str, operation: str
) -> None:
    with pytest.raises(expected, match=words) as caught:
        getattr(files_over(Refusing(raised)), operation)(URL, b"")
    assert URL in str(caught.value)


@pytest.mark.parametrize(
    ("errors", "won", "calls"),
    [
        ([], True, 1),
        ([FileExistsError()], False, 1),
        ([s3_error(412)], False, 1),  # a server that does not name the condition
        ([s3_error(409)], True, 2),  # another conditional write was under way
        ([s3_error(409), s3_error(409), FileExistsError()], False, 3),
    ],
)
def test_create(errors: list[Exception], won: bool, calls: int) -> None:
    refusing = Refusing(*errors)
    assert files_over(refusing).create(URL, b"") is won
    assert refusing.calls == calls


def test_create_gives_up_on_endless_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.files._objects.time.sleep", lambda _: None)
    with pytest.raises(OSError, match="status 409"):
        files_over(Refusing(*[s3_error(409)] * 20)).create(URL, b"")


def test_deleting_what_is_absent_is_fine_and_what_is_forbidden_is_not() -> None:
    files_over(Refusing(FileNotFoundError())).delete(URL)
    with pytest.raises(ValueError, match="credentials"):
        files_over(Refusing(PermissionError("no"))).delete(URL)


def test_a_failed_upload_keeps_the_local_file(tmp_path: Any) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"1")
    with pytest.raises(OSError, match="broken"):
        files_over(Refusing(OSError("broken"))).put(str(spool), URL)
    assert spool.exists()
