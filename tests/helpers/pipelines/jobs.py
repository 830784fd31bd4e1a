"""Runs whole jobs on a small web of this machine, for the tests that interrupt and compare them.

`World` is the web and the metadata about it: three sources, every kind of row, several
items in every stage. `run` runs a command in this process, `start` in a child forked from
a process that has imported Beam already (a tenth of a second instead of three), and
`covered` is what promise 2 covers: the sha256 of every file that must not differ.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from examples.web import Page, serve
from pipelines.harness import planfile
from shards.files.store import Store

TOKEN = "GROUNDWORK_TEST_JOB"  # environment variable that marks a job's processes
COVERED = ("kept", "tombstones", "rejects", "plan", "shards", "selections", "manifest.json")

MAX_REQUESTS = 20_000
ROWS_PER_ITEM, ROWS_PER_BUCKET, SHARD_SIZE = 12, 24, 6
_WORDS = ("river", "bridge", "harbour", "meadow", "castle", "orchard", "lantern", "glacier")


class Pages(dict[str, Page]):
    """Pages that count who was asked for, and answer as slowly as they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.delay_s = 0.0
        self._lock = threading.Lock()

    def get(self, path: str, default: Any = None) -> Any:
        """Answer a request; `examples.web` looks pages up with it."""
        with self._lock:
            self.asked[path] += 1
            assert self.asked.total() <= MAX_REQUESTS, "a test asks without end"
        time.sleep(self.delay_s)
        return super().get(path, default)


@dataclass
class World:
    """A web, the metadata about it, and the flags of a job over both."""

    base: str
    pages: Pages
    folder: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by source

    def add(self, source: str, path: str, caption: str, score: float | None = 0.1) -> None:
        """Add a row of metadata."""
        row = {"url": self.base + path, "caption": caption, "nsfw_score": score}
        self.rows.setdefault(source, []).append(row)

    def write(self) -> None:
        """Write the metadata, each source in its own column names, six rows to a row group."""
        for source, rows in self.rows.items():
            names = {"generic": None, "coyo700m": _COYO}.get(source, _LAION)
            table = pa.Table.from_pylist(rows)
            table = table if names is None else table.rename_columns(names)
            for part in range(2):
                half = table.slice(part * len(rows) // 2, (len(rows) + 1) // 2)
                pq.write_table(half, self.folder / f"{source}-{part}.parquet", row_group_size=6)

    def flags(self, output: Path, *more: str) -> list[str]:
        """Return the command line of the job."""
        inputs = [f"--input={s}={self.folder}/{s}-*.parquet" for s in sorted(self.rows)]
        return [
            *inputs,
            f"--output={output}",
            f"--shard_size={SHARD_SIZE}",
            "--store=stage1",
            "--allow_address=127.0.0.1/32",
            "--host_rate=127.0.0.1=2000",
            *more,
        ]


_LAION = ["URL", "TEXT", "punsafe"]
_COYO = ["url", "text", "nsfw_score_opennsfw2"]


@contextmanager
def world(folder: Path, pictures: int = 54) -> Iterator[World]:
    """Serve a small web and write metadata about it."""
    pages = Pages()
    with serve(pages) as base:
        made = World(base, pages, folder)
        folder.mkdir(parents=True, exist_ok=True)
        sources = ("laion2b_en_joined", "coyo700m", "generic")
        for number in range(pictures):
            path = f"/{number}.jpg"
            pages[path] = Page(picture(number)) if number % 9 else Page(b"gone", 404)
            made.add(sources[number % 3], path, _caption(number))
        for number in range(1, 7):  # the other source knows these too, two of them as unsafe
            score = 0.9 if number < 3 else 0.2
            made.add(sources[(number + 1) % 3], f"/{number}.jpg", _caption(number + 100), score)
        made.add("generic", "/1.jpg?spam", "buy now buy now buy now buy now buy now buy now")
        made.add("coyo700m", "/1.jpg?null", "a row that nobody has ever scored", None)
        made.write()
        yield made


def _caption(number: int) -> str:
    one, other = _WORDS[number % 8], _WORDS[(number // 8 + 3) % 8]
    return f"a photograph of the old {one} beside a {other} in the year {1800 + number}"


def picture(seed: int) -> bytes:
    """Return a small JPEG file."""
    values = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize((64, 48)).save(buffer, "JPEG")
    return buffer.getvalue()


def covered(root: Path, names: Sequence[str] = COVERED) -> dict[str, str]:
    """Return the sha256 of every file that promise 2 covers, by its name in the run.

    A name with a dot in front is a file that a killed process was writing; no reader sees it.
    """
    files = [path for name in names for path in (root / name, *(root / name).rglob("*"))]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and not path.name.startswith(".")
    }


def run(argv: Sequence[str], module: str = "pipelines.filter") -> tuple[int, str]:
    """Run a command in this process with small items; return its exit code and its errors."""
    with _small_items(), redirect_stderr(io.StringIO()) as errors:
        try:
            code: int = importlib.import_module(module).main(list(argv))
        except SystemExit as stop:  # argparse's way of saying 2
            code = int(stop.code or 0)
    return code, errors.getvalue()


@contextmanager
def _small_items() -> Iterator[None]:
    """Make plans of several items and buckets from a few rows: planning's constants, no option."""
    from pipelines.filter_job import items

    before = items.ROWS_PER_ITEM, items.ROWS_PER_BUCKET
    items.ROWS_PER_ITEM, items.ROWS_PER_BUCKET = ROWS_PER_ITEM, ROWS_PER_BUCKET
    try:
        yield
    finally:
        items.ROWS_PER_ITEM, items.ROWS_PER_BUCKET = before


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["apache_beam", "pipelines.filter", "pipelines.download", "pipelines.ground"]
)


@dataclass
class Child:
    """A launcher in a process of its own."""

    process: BaseProcess
    token: str
    log: Path

    def kill(self) -> None:
        """End the launcher as `kill -9` does; its workers are not told."""
        self.process.kill()
        self.process.join(10)

    def wait(self, timeout_s: float = 300.0) -> int | None:
        """Return the exit code; a launcher that does not end in time is killed (code -9)."""
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.kill()
        return self.process.exitcode

    def processes(self) -> set[int]:
        """Return the living processes of this job, the launcher's orphans included."""
        return {pid for pid in _pids() if f"{TOKEN}={self.token}".encode() in _environment(pid)}

    def workers(self) -> list[int]:
        """Return the living worker processes."""
        return sorted(
            pid for pid in self.processes() if b"pipelines.harness.local_worker" in _command(pid)
        )

    def errors(self) -> str:
        """Return what it wrote to standard error."""
        return self.log.read_text() if self.log.exists() else ""


@contextmanager
def start(
    argv: Sequence[str],
    log: Path,
    patch: Callable[..., None] | None = None,
    patch_args: tuple[Any, ...] = (),
    module: str = "pipelines.filter",
) -> Iterator[Child]:
    """Start a command, after `patch(*patch_args)` in its process; clean up at the end."""
    token = os.urandom(8).hex()
    process = _forks.Process(
        target=_child, args=(list(argv), token, str(log), patch, patch_args, module), daemon=False
    )
    process.start()
    child = Child(process, token, log)
    try:
        yield child
    finally:
        child.kill()
        for pid in child.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)


def _child(
    argv: list[str],
    token: str,
    log: str,
    patch: Callable[..., None] | None,
    patch_args: tuple[Any, ...],
    module: str,
) -> None:
    os.environ[TOKEN] = token
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    if patch is not None:
        patch(*patch_args)
    with _small_items():
        sys.exit(importlib.import_module(module).main(argv))


def until(what: Callable[[], object], timeout_s: float = 120.0) -> bool:
    """Wait until something is true; tell whether it came true in time."""
    end = time.monotonic() + timeout_s
    while not (found := bool(what())) and time.monotonic() < end:
        time.sleep(0.005)
    return found


def counts(root: Path) -> Mapping[str, Any]:
    """Return the manifest's accounting lines."""
    found: Mapping[str, Any] = json.loads((root / "manifest.json").read_text())["counts"]
    return found


def markers(root: Path, stage: str = "*") -> list[Path]:
    """Return the done-markers of a stage, or of all."""
    return sorted(root.glob(f"stats/{stage}/[!.]*.json"))


def items(root: Path, stage: str) -> list[str]:
    """Return the names of a stage's planned items."""
    return [record["name"] for record in planfile.read_all(Store(root), stage)]


def paths_of(root: Path, shard: str) -> list[str]:
    """Return the paths on the web that a shard's planned rows lead to."""
    records = {each["name"]: each for each in planfile.read_all(Store(root), "download")}
    record = records[shard]
    plan = pq.ParquetFile(root / record["plan"]).read_row_group(record["row_group"])
    return ["/" + url.split("/", 3)[3] for url in plan.column("url").to_pylist()]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _environment(pid: int) -> bytes:
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return b""
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
