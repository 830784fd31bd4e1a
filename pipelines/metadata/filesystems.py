"""Where metadata lies: the one way to find and open input files, on disk or by URL.

In: a path or URL as a user gave it. Out: fsspec's file system and its path, or an open
file. A run's own files go through `shards.files.store` instead.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import fsspec

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_GS = ("gs://", "gcs://")
_S3 = ("s3://", "s3a://")


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a path, URL or glob, and what that file system calls it.

    Raises:
        ValueError: There is no such protocol.
        ImportError: Its package is not installed.
    """
    if not url.startswith(_GS):
        return cast("tuple[AbstractFileSystem, str]", fsspec.core.url_to_fs(url))
    # fsspec's own choice is gcsfs's extended client: it asks a second (gRPC) service for the
    # bucket's layout, retries for minutes where that is out of reach, and needs one more right.
    from gcsfs.core import GCSFileSystem

    filesystem = GCSFileSystem()
    return filesystem, filesystem._strip_protocol(url)


def failures_of(url: str) -> tuple[type[Exception], ...]:
    """Return what a failed request for this URL raises: not every library says OSError."""
    if url.startswith(_GS):
        from aiohttp import ClientError
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError

        return OSError, ClientError, HttpError, GoogleAuthError
    if url.startswith(_S3):
        from botocore.exceptions import BotoCoreError

        return OSError, BotoCoreError
    return (OSError,)


def open_input(url: str, **options: Any) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading; `options` as fsspec's `open` takes them (`cache_type`, …)."""
    filesystem, path = filesystem_of(url)
    return cast(AbstractContextManager[BinaryIO], filesystem.open(path, "rb", **options))


def open_unpacked(url: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading from its start, decompressed as its name's ending says."""
    filesystem, path = filesystem_of(url)
    opened = fsspec.core.OpenFile(filesystem, path, "rb", compression="infer")
    return cast(AbstractContextManager[BinaryIO], opened)
