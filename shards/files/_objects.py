"""Google Cloud Storage and S3 behind `shards.files.store`: URLs in, whole-object changes out.

Everything goes through gcsfs or s3fs with listing caches off and never through a glob.
Credentials, project and emulator addresses come from the environment as those libraries
read it (`GOOGLE_APPLICATION_CREDENTIALS`, `STORAGE_EMULATOR_HOST`, `AWS_ENDPOINT_URL`, …).
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SCHEMES = frozenset({"gs", "s3"})

_CONFLICT_TRIES = 8
_DELETE_THREADS = 32


class ObjectFiles:
    """Object operations on full URLs of one scheme, as `files.store.Store` documents them."""

    def __init__(self, scheme: str) -> None:
        assert scheme in SCHEMES
        self._scheme = scheme
        self._opened: AbstractFileSystem | None = None
        self._opened_by = 0
        self._foreign_errors: tuple[type[Exception], ...] = ()

    @property
    def _fs(self) -> AbstractFileSystem:
        """The connection of this process. A forked child must not use its parent's sockets."""
        if self._opened is None or self._opened_by != os.getpid():
            connect = _connect_gs if self._scheme == "gs" else _connect_s3
            self._opened, self._foreign_errors = connect()
            self._opened_by = os.getpid()
        return self._opened

    def stat(self, url: str) -> tuple[int, float] | None:
        with self._asking(url):
            try:
                info = self._fs_info(url)
            except FileNotFoundError:
                return None
            return _size_and_time(info) if info["type"] == "file" else None

    def _fs_info(self, url: str) -> dict[str, Any]:
        if self._scheme == "s3":
            return cast(dict[str, Any], self._fs.info(url))
        # gcsfs's own `info` also lists, in parallel, and drops the slower connection each time.
        bucket, _, key = url.removeprefix("gs://").partition("/")
        answer = self._fs.call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        modified = datetime.fromisoformat(answer["updated"])
        return {"type": "file", "size": answer["size"], "mtime": modified}

    def list(self, folder: str) -> Iterator[tuple[str, int, float]]:
        prefix = folder.partition("://")[2].rstrip("/") + "/"
        with self._asking(folder):
            try:
                entries = self._fs.ls(folder, detail=True)
            except FileNotFoundError:
                return
        for info in entries:
            name = info["name"].removeprefix(prefix)
            # An object named like the folder is listed beside its content; so are subfolders.
            if info["type"] == "file" and name != info["name"] and name and "/" not in name:
                yield name, *_size_and_time(info)

    def folders(self, folder: str) -> Iterator[str]:
        with self._asking(folder):
            try:
                entries = self._fs.ls(folder, detail=True)
            except FileNotFoundError:
                return
        for info in entries:
            if info["type"] == "directory":
                yield info["name"].rstrip("/").rpartition("/")[2]

    def read(self, url: str) -> bytes:
        with self._asking(url):
            return cast(bytes, self._fs.cat_file(url))

    def read_range(self, url: str, start: int, length: int) -> bytes:
        with self._asking(url):
            return cast(bytes, self._fs.cat_file(url, start=start, end=start + length))

    def open(self, url: str) -> BinaryIO:
        with self._asking(url):
            return cast(BinaryIO, self._fs.open(url, "rb"))

    def write(self, url: str, data: bytes) -> None:
        with self._writing(url):
            self._fs.pipe_file(url, data)

    def create(self, url: str, data: bytes) -> bool:
        with self._writing(url):
            for attempt in range(_CONFLICT_TRIES):
                try:
                    self._fs.pipe_file(url, data, mode="create")
                except FileExistsError:
                    return False
                except OSError as error:
                    status = _s3_status(error)
                    if status == 412:  # servers that leave out which condition failed
                        return False
                    # S3 answers 409 while another conditional write of the key is under way.
                    if status != 409 or attempt == _CONFLICT_TRIES - 1:
                        raise
                    time.sleep(random.uniform(0, 0.05 * 2**attempt))
                else:
                    return True
            raise AssertionError("the last attempt returns or raises")

    def put(self, local_file: str, url: str) -> None:
        if not os.path.isfile(local_file):
            raise FileNotFoundError(errno.ENOENT, "no such local file to upload", local_file)
        with self._writing(url):
            self._fs.put_file(local_file, url)
        os.unlink(local_file)

    def publish(self, source: str, url: str) -> None:
        if self.stat(source) is None:
            raise FileNotFoundError(errno.ENOENT, "nothing to publish under this name", source)
        with self._writing(url):
            self._fs.cp_file(source, url)

    def delete(self, url: str) -> None:
        with self._writing(url), suppress(FileNotFoundError):
            self._fs.rm_file(url)

    def delete_tree(self, folder: str) -> None:
        with self._asking(folder):
            names: list[str] = self._fs.find(folder)
        inside = folder + "/"
        urls = [url for url in (f"{self._scheme}://{name}" for name in names) if inside in url]
        with ThreadPoolExecutor(max_workers=_DELETE_THREADS) as pool:
            deque(pool.map(self.delete, urls), maxlen=0)

    def _failures(self) -> tuple[type[Exception], ...]:
        """What counts as a failed request; read after the connection has named its classes."""
        return (OSError, *self._foreign_errors)

    @contextmanager
    def _asking(self, url: str) -> Iterator[None]:
        """Name the URL in every error, as an OSError; the libraries' own mostly do neither."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object", url) from error
        except self._failures() as error:
            if _is_denied(error):
                hint = f"access denied ({error}); check the credentials of this environment"
                raise PermissionError(errno.EACCES, hint, url) from error
            raise OSError(f"{url}: {str(error) or type(error).__name__}") from error

    @contextmanager
    def _writing(self, url: str) -> Iterator[None]:
        """As `_asking`, where what the user can mend is a ValueError; absent is the bucket."""
        try:
            with self._asking(url):
                yield
        except FileNotFoundError as error:
            bucket = "/".join(url.split("/")[:3])
            raise ValueError(
                f"{url}: there is no bucket {bucket}, or these credentials cannot see it; "
                "create it or give another output directory"
            ) from error
        except PermissionError as error:
            raise ValueError(f"{url}: cannot be written: {error.strerror}") from error


def _connect_gs() -> tuple[AbstractFileSystem, tuple[type[Exception], ...]]:
    # Not `fsspec.filesystem("gs")`: that is gcsfs's extended client, which asks a second
    # (gRPC) service for the layout of the bucket, and retries for a minute where it is absent.
    from aiohttp import ClientError
    from gcsfs.core import GCSFileSystem
    from gcsfs.retry import HttpError
    from google.auth.exceptions import GoogleAuthError

    opened = GCSFileSystem(use_listings_cache=False)
    return opened, (HttpError, GoogleAuthError, ClientError)


def _connect_s3() -> tuple[AbstractFileSystem, tuple[type[Exception], ...]]:
    try:
        from botocore.exceptions import BotoCoreError
        from s3fs import S3FileSystem
    except ImportError as error:
        raise ValueError(
            "s3:// needs the package s3fs; type: pip install 'groundwork-vl[s3]'"
        ) from error
    return S3FileSystem(use_listings_cache=False), (BotoCoreError,)


def _size_and_time(info: dict[str, Any]) -> tuple[int, float]:
    modified: datetime = info["mtime"] if "mtime" in info else info["LastModified"]
    return int(info["size"]), modified.timestamp()


def _s3_status(error: OSError) -> int | None:
    """Return the HTTP status behind an error of s3fs, None for any other error."""
    response = getattr(error.__cause__, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _is_denied(error: Exception) -> bool:
    # gcsfs has no class for 403: the word begins its message. Its 401 is an HttpError.
    forbidden = isinstance(error, PermissionError) or str(error).startswith("Forbidden")
    return forbidden or getattr(error, "code", None) in (401, 403)
