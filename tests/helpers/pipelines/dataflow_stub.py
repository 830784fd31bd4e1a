"""A local stand-in for the Dataflow service, for the unmodified DataflowRunner.

Takes staged files and jobs over HTTP, runs each job's recorded graph in a worker
environment that has the staged package and nothing else of ours, and answers DONE or
FAILED. Only staging lives in the stub's bucket (in memory); job data belongs in a local
directory, never under `emulators.gs_emulator`, which wants the same variable. Listens on
127.0.0.1 and ends with its context or after `timeout_s`.

    with DataflowStub(worker_python()) as stub:
        job.run([*stub.options(), "--setup_file=./setup.py", "--output=..."])
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from unittest import mock

from helpers.pipelines.graph_run import GraphRun

PROJECT = "groundwork-test"
REGION = "us-central1"
BUCKET = "groundwork-staging"

_JOBS = re.compile(r"/v1b3/projects/[^/]+/locations/[^/]+/jobs(?:/(?P<id>[^/]+)(?P<rest>/.*)?)?")
_OBJECT = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)(?:/o/(?P<name>.+))?")
_UPLOAD = re.compile(r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o")


class DataflowStub:
    """The service.

    Args:
        worker_python: Interpreter that runs the graphs; None records jobs, answers DONE.
        graph_timeout_s: A graph that runs longer is killed, and its job FAILED.
        timeout_s: The server ends after that in any case.
    """

    def __init__(
        self,
        worker_python: str | None = None,
        graph_timeout_s: float = 240,
        timeout_s: float = 900,
    ) -> None:
        self.jobs: list[dict[str, Any]] = []  # bodies as posted, in order
        self.runs: list[GraphRun] = []  # one per job
        self.staged: dict[str, bytes] = {}  # "bucket/name" -> content
        self._worker_python = worker_python
        self._graph_timeout_s = graph_timeout_s
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._end = threading.Timer(timeout_s, self._server.shutdown)
        self._end.daemon = True
        self._environment = mock.patch.dict(os.environ, self.environment())

    @property
    def endpoint(self) -> str:
        """The service's address. The client insists on the word localhost."""
        return f"http://localhost:{self._server.server_port}"

    def environment(self) -> dict[str, str]:
        """Return what a launching process needs in its environment."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def options(self) -> list[str]:
        """Return the pipeline options that send a job here; add `--setup_file` to stage."""
        return [
            "--runner=DataflowRunner",
            f"--project={PROJECT}",
            f"--region={REGION}",
            f"--temp_location=gs://{BUCKET}/temp",
            f"--staging_location=gs://{BUCKET}/staging",
            f"--dataflow_endpoint={self.endpoint}",
            "--no_auth",
            # The real service would default to a saved main session, this endpoint would not.
            "--no_save_main_session",
        ]

    def __enter__(self) -> DataflowStub:
        self._environment.start()
        self._end.start()
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for run in self.runs:
            run.cancel()
            run.wait()
        self._end.cancel()
        self._server.shutdown()
        self._server.server_close()
        self._environment.stop()

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        """Record a job and start its graph; return the job as the API shows it."""
        folder = self._staging_folder(body)
        files = {
            name.removeprefix(folder): data
            for name, data in self.staged.items()
            if name.startswith(folder)
        }
        self.jobs.append(body)
        self.runs.append(GraphRun(self._worker_python, files, self._graph_timeout_s))
        return self.job(str(len(self.jobs) - 1))

    def _staging_folder(self, body: dict[str, Any]) -> str:
        options = body["environment"]["sdkPipelineOptions"]["options"]
        return str(options["pipelineUrl"]).removeprefix("gs://").rpartition("/")[0] + "/"

    def job(self, number: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        state = f"JOB_STATE_{self.runs[int(number)].state}"
        return {
            "id": number,
            "projectId": PROJECT,
            "location": REGION,
            "name": self.jobs[int(number)]["name"],
            "currentState": state,
        }

    def messages(self, number: str) -> dict[str, Any]:
        """Return a job's messages: the tail of the worker's log once it has failed."""
        run = self.runs[int(number)]
        if run.state != "FAILED":
            return {}
        text = {"messageText": run.log_tail(), "messageImportance": "JOB_MESSAGE_ERROR"}
        return {"jobMessages": [{"id": "1", "time": "2000-01-01T00:00:00Z", **text}]}


def _crc32c(data: bytes) -> str:
    """Return the checksum without which the client takes an upload for lost."""
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def _handler(stub: DataflowStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """The few requests that a launcher makes."""

        def do_GET(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            if match := _JOBS.fullmatch(path):
                self._answer(self._about_job(match["id"], match["rest"]))
            elif match := _OBJECT.fullmatch(path):
                self._answer(self._about_object(match["bucket"], match["name"]))
            else:
                self._answer(None)

        def _about_job(self, number: str, rest: str | None) -> dict[str, Any]:
            if rest == "/messages":
                return stub.messages(number)
            return {} if rest == "/metrics" else stub.job(number)

        def _about_object(self, bucket: str, name: str | None) -> dict[str, Any] | None:
            if name is None:
                return {"kind": "storage#bucket", "name": bucket, "location": "US-CENTRAL1"}
            data = stub.staged.get(f"{bucket}/{urllib.parse.unquote(name)}")
            if data is None:
                return None
            return {"bucket": bucket, "name": urllib.parse.unquote(name), "size": str(len(data))}

        def do_POST(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            body = json.loads(self._body() or b"{}")
            if _JOBS.fullmatch(url.path):
                self._answer(stub.submit(body))
            elif match := _UPLOAD.fullmatch(url.path):
                name = urllib.parse.quote(f"{match['bucket']}/{body['name']}", safe="")
                self._answer({}, {"Location": f"{stub.endpoint}/session/{name}"})
            else:
                self._answer(None)

        def do_PUT(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            if match := _JOBS.fullmatch(path):
                self._body()
                stub.runs[int(match["id"])].cancel()
                self._answer(stub.job(match["id"]))
                return
            name = urllib.parse.unquote(path.removeprefix("/session/"))
            stub.staged[name] = self._body()  # one chunk: Beam stages less than its 40 MB
            self._answer({"name": name, "crc32c": _crc32c(stub.staged[name])})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                return b"".join(iter(self._chunk, b""))
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _chunk(self) -> bytes:
            data = self.rfile.read(int(self.rfile.readline(), 16))
            self.rfile.readline()
            return data

        def _answer(
            self, body: dict[str, Any] | None, headers: dict[str, str] | None = None
        ) -> None:
            data = json.dumps(body or {}).encode()
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a request log is noise in a test's output."""

    return Handler
