"""Object stores on this machine: `gs://` and `s3://` for tests, with nothing but 127.0.0.1.

Each context manager starts a server on a free port, points the usual environment variables
at it (so child processes find it too), makes one bucket and yields its URL. Requests are
served one after the other, which is what makes conditional writes have one winner, as the
real services promise. A server ends with its context, after `timeout_s` or after
`MAX_REQUESTS`, whichever is first.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer
from typing import Any
from unittest import mock

MAX_REQUESTS = 200_000
BUCKET = "groundwork-test"


@contextmanager
def gs_emulator(timeout_s: float = 300) -> Iterator[str]:
    """Serve Google Cloud Storage; yield `gs://BUCKET`. Conditional creation works."""
    from fsspec.config import conf
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.storage import Storage

    storage = Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    server = _Server(("127.0.0.1", 0), partial(_gs_handler(), storage))
    environment = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}",
        "NO_GCE_CHECK": "true",
        "GOOGLE_CLOUD_PROJECT": "groundwork-test",
        # Without it gcsfs looks for credentials for up to 20 s before it goes anonymous.
        "FSSPEC_GS_TOKEN": "anon",
    }
    with (
        _running(server, timeout_s),
        mock.patch.dict(os.environ, environment),
        mock.patch.dict(conf, {"gs": {"token": "anon"}}),
        _fresh_connections(),
    ):
        yield f"gs://{BUCKET}"


@contextmanager
def s3_emulator(timeout_s: float = 300) -> Iterator[str]:
    """Serve S3; yield `s3://BUCKET`."""
    from moto.backends import get_backend
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, request_handler=_quiet_handler())
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with (
        _running(server, timeout_s),
        mock.patch.dict(os.environ, environment),
        _fresh_connections(),
    ):
        _s3_filesystem().mkdir(BUCKET)
        try:
            yield f"s3://{BUCKET}"
        finally:
            # moto keeps its objects in the process, not in the server.
            for account in get_backend("s3").values():
                for backend in account.values():
                    backend.reset()


def _quiet_handler() -> Any:
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        def log_request(self, *_: Any) -> None:
            """Say nothing: a request log is noise in a test's output."""

    return Handler


def _s3_filesystem() -> Any:
    from s3fs import S3FileSystem

    return S3FileSystem(use_listings_cache=False)


class _Server(HTTPServer):
    request_queue_size = 128  # the standard 5 makes 64 reading threads wait a second each

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print as usual, but not that a client hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _gs_handler() -> type:
    """Return the emulator's request handler with the precondition it lacks."""
    from gcp_storage_emulator.server import RequestHandler

    class Handler(RequestHandler):  # type: ignore[misc]
        """Answers 412 to an upload with `ifGenerationMatch=0` onto an existing object."""

        def __init__(self, storage: Any, *args: Any) -> None:
            self.storage: Any = storage
            self.refused = False
            super().__init__(storage, *args)

        def parse_request(self) -> bool:
            parsed = bool(super().parse_request())
            if parsed and "ifGenerationMatch=0" in self.path:
                self.storage = _CreateOnly(self.storage, self)
            return parsed

        def send_response(self, code: int, message: str | None = None) -> None:
            super().send_response(412 if self.refused else code, message)

    return Handler


class _CreateOnly:
    """The emulator's storage where `create_file` refuses names that exist."""

    def __init__(self, storage: Any, handler: Any) -> None:
        self._storage = storage
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def create_file(self, bucket_name: str, file_name: str, *args: Any) -> Any:
        from gcp_storage_emulator.exceptions import Conflict, NotFound

        try:
            self._storage.get_file_obj(bucket_name, file_name)
        except NotFound:
            return self._storage.create_file(bucket_name, file_name, *args)
        self._handler.refused = True
        raise Conflict("conditionNotMet")


@contextmanager
def _fresh_connections() -> Iterator[None]:
    """Forget fsspec's connections before and after: they remember another emulator's port."""
    from gcsfs.core import GCSFileSystem
    from s3fs import S3FileSystem

    for kind in (GCSFileSystem, S3FileSystem):
        kind.clear_instance_cache()
    try:
        yield
    finally:
        for kind in (GCSFileSystem, S3FileSystem):
            kind.clear_instance_cache()


@contextmanager
def _running(server: Any, timeout_s: float) -> Iterator[None]:
    """Serve in a thread, one request at a time, until the context, time or count ends it."""
    stop = threading.Event()
    server.timeout = 0.1
    deadline = time.monotonic() + timeout_s

    def serve() -> None:
        for _ in range(MAX_REQUESTS):
            server.handle_request()
            if stop.is_set() or time.monotonic() > deadline:
                break
        server.server_close()

    thread = threading.Thread(target=serve, name="emulator", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
