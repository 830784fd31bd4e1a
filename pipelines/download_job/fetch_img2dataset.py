"""Fetches a shard's rows with img2dataset 1.47 in place of our fetcher: the parity reference.

Goes in: the rows of a download item. Comes out: their images and outcomes in `Facts`, by our row
numbers. Its `Downloader` fetches, its `Resizer` resizes; our header check stands before the
resizer, our decoded rules after it. Nothing guards the addresses, hosts are not spared, and a
server that drips holds a thread beyond the deadline. Asked for with `--fetch_engine=img2dataset
--i_trust_these_urls`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.download_job.engine import DecodedRules, EngineConfig
from pipelines.download_job.engine_errors import outcome_of
from pipelines.download_job.shard_facts import Facts
from shards.identity import canonical_urls
from shards.image import ImageError, Stored, StoreSpec, decode, encode
from shards.image.pixels import inspect
from shards.outcomes import Outcome

VERSION = "1.47.0"
"""The one version whose internals this was written against; later ones call differently."""

OPT_OUT = ("noai", "noimageai", "noindex", "noimageindex", "none")

Resized = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]
"""img2dataset's: file, width, height, original width, original height, error."""

Resize = Callable[[io.BytesIO], Resized]

# Its resizer points the process's stdout and stderr elsewhere around every image. Two shards doing
# so at once would leave them pointing there for good.
_ONE_AT_A_TIME = threading.Lock()


class _OverError(BaseException):
    """Ends img2dataset's loop, which swallows every `Exception`."""


def fetch(
    config: EngineConfig, rows: Sequence[Mapping[str, Any]], facts: Facts, deadline_s: float
) -> Mapping[str, Any]:
    """Fetch all open rows, or as many as the deadline allows; the others stay open.

    Returns:
        Clock facts for the marker's `run` part.

    Raises:
        ValueError: img2dataset is absent or of another version, or cannot store as asked.
    """
    resize = _resizer(config.spec)
    urls = canonical_urls(pa.array([row["url"] for row in rows], pa.string())).to_pylist()
    wanted = {index: urls[index] for index in facts.open_rows()}
    for index in [index for index, url in wanted.items() if url is None]:
        facts.fail(index, Outcome.BAD_URL, None)
        del wanted[index]
    sink = _Sink(config, facts, DecodedRules(config.rules), resize, set(wanted))
    started_s = time.monotonic()
    if wanted:
        with tempfile.TemporaryDirectory(prefix="groundwork-img2dataset-") as folder:
            _download(config, wanted, sink, folder, deadline_s)
    outcomes = Counter(str(fact.outcome or Outcome.DEADLINE) for fact in facts.rows)
    return {
        "fetch": {
            "engine": f"img2dataset {VERSION}",
            "rows": len(rows),
            "outcomes": dict(sorted(outcomes.items())),
            "wall_s": time.monotonic() - started_s,
        }
    }


def check(spec: StoreSpec) -> None:
    """Raise `ValueError` where img2dataset is not installed or cannot store images like this."""
    if spec.resize_mode == "fixed":
        raise ValueError(
            "--resize_mode fixed: img2dataset has no such mode; use center_crop or border, or "
            "--fetch_engine groundwork"
        )
    try:
        version = importlib.metadata.version("img2dataset")
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            "--fetch_engine img2dataset: img2dataset is not installed; "
            "pip install 'groundwork-vl[img2dataset]'"
        ) from None
    if version != VERSION:
        raise ValueError(
            f"--fetch_engine img2dataset: version {version} is installed, {VERSION} is needed; "
            "pip install 'groundwork-vl[img2dataset]'"
        )


def _resizer(spec: StoreSpec) -> Resize:
    """Return img2dataset's resizer for a spec, with the limit on the long side it lacks."""
    check(spec)
    # Its image library asks the network for a newer version of itself when it is imported.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from img2dataset.resizer import Resizer

    quality = {"encode_quality": spec.quality, "encode_format": spec.encode_format}
    usual = Resizer(spec.image_size, spec.resize_mode, spec.only_if_bigger, **quality)
    limit = spec.max_long_side
    if limit is None:
        return lambda stream: usual(stream)
    by_long_side = Resizer(limit, "keep_ratio_largest", True, **quality)

    def resize(stream: io.BytesIO) -> Resized:
        resized: Resized = usual(stream)
        longest = max(resized[1] or 0, resized[2] or 0)
        again: Resized = by_long_side(stream) if longest > limit else resized
        return again

    return resize


def _download(
    config: EngineConfig,
    urls: Mapping[int, str],
    sink: _Sink,
    folder: str,
    deadline_s: float,
) -> None:
    """Run one shard in a thread that can be left behind: a dripping server ends no `read`."""
    from img2dataset.downloader import Downloader

    # A copy, because it removes its input.
    table = pa.table({"url": list(urls.values()), "row": list(urls)})
    path = os.path.join(folder, "0.feather")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    downloader = Downloader(
        sample_writer_class=functools.partial(_Writer, sink),
        resizer=sink.resize,
        thread_count=config.fetch.connections,
        save_caption=False,
        extract_exif=False,
        output_folder=folder,
        column_list=["url", "row"],
        timeout=config.fetch.deadline_s,
        number_sample_per_shard=len(urls),
        oom_shard_count=5,
        compute_hash=None,
        verify_hash_type=None,
        encode_format=config.spec.encode_format,
        retries=config.fetch.retries,
        user_agent_token="groundwork",
        disallowed_header_directives=OPT_OUT if config.fetch.respect_opt_out else None,
    )
    shard = functools.partial(downloader.download_shard, (0, path))
    threading.Thread(target=sink.watch, args=(shard,), daemon=True).start()
    finished = sink.ended.wait(deadline_s)
    sink.close(finished=finished)


class _Writer:
    """img2dataset's writer protocol; it makes one for every shard."""

    def __init__(self, sink: _Sink, *_: Any) -> None:
        self._sink = sink

    def write(self, img: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        """Take one row; called for each, in the order of arrival."""
        self._sink.write(img, meta)

    def close(self) -> None:
        """Do nothing: the sink outlives the writer."""


class _Sink:
    """Judges what img2dataset fetched and resized, and fills `Facts` until it is closed.

    `resize` and then `write` are called for one row at a time, in img2dataset's own thread.
    """

    def __init__(
        self,
        config: EngineConfig,
        facts: Facts,
        rules: DecodedRules,
        resize: Resize,
        rows: set[int],
    ) -> None:
        self._config = config
        self._facts = facts
        self._rules = rules
        self._resize = resize
        self._left = rows  # not written yet
        self.ended = threading.Event()  # nothing will be written any more
        self._lock = threading.Lock()
        self._over = False
        self._error: BaseException | None = None
        self._body = b""  # of the row between `resize` and `write`
        self._verdict: ImageError | str | None = None

    def watch(self, work: Callable[[], None]) -> None:
        """Do the work and keep what it raises for `close`."""
        try:
            work()
        except _OverError:
            return
        except BaseException as error:
            self._keep(error)
            raise
        finally:
            self.ended.set()

    def resize(self, stream: io.BytesIO, _: object = None) -> Resized:
        """Check a body, then let img2dataset resize it."""
        self._verdict, self._body = None, stream.getvalue()
        try:
            readable = io.BytesIO(self._readable(self._body))
        except ImageError as error:
            self._verdict = error
            return None, None, None, None, None, str(error)
        except Exception as error:
            self._keep(error)  # img2dataset would print it and go on
            raise
        with _ONE_AT_A_TIME:
            return self._resize(readable)

    def write(self, img: bytes | None, meta: Mapping[str, Any]) -> None:
        """Record one row; raises once the shard is over or something broke."""
        with self._lock:
            if self._over or self._error is not None:
                raise _OverError
            try:
                self._record(img, meta)
            except Exception as error:
                self._error = error
                self.ended.set()  # ending its thread pool may take as long as its slowest host
                raise _OverError from error

    def close(self, *, finished: bool) -> None:
        """Let nothing in any more; raise what broke, and count rows that never came."""
        with self._lock:
            self._over = True
        if self._error is not None:
            raise self._error
        for index in sorted(self._left) if finished else ():
            self._facts.fail(index, Outcome.ENGINE_ERROR, "img2dataset gave no answer")

    def _keep(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error

    def _readable(self, body: bytes) -> bytes:
        """Return a body that its decoder reads as ours does, which ignores turns and depth."""
        if not body:
            raise ImageError(Outcome.BODY_EMPTY, "0 bytes")
        limit = self._config.fetch.max_body_bytes
        if len(body) > limit:
            raise ImageError(Outcome.BODY_TOO_LARGE, f"{len(body)} bytes, the cap is {limit}")
        head = inspect(body, self._config.spec.max_pixels)
        if head.orientation == 1 and head.bits == 8:
            return body
        pixels = decode(body, max_pixels=self._config.spec.max_pixels)
        return encode(pixels, StoreSpec(encode_format="png", quality=1))

    def _record(self, img: bytes | None, meta: Mapping[str, Any]) -> None:
        index = meta["row"]
        self._left.discard(index)
        if meta["status"] == "failed_to_download":
            self._facts.fail(index, *outcome_of(meta["error_message"]))
        elif isinstance(self._verdict, ImageError):
            self._facts.fail(index, self._verdict.outcome, self._verdict.detail, self._body)
        elif img is None:
            self._facts.fail(index, *outcome_of(meta["error_message"]), self._body)
        else:
            self._keep_or_reject(index, img, meta)

    def _keep_or_reject(self, index: int, img: bytes, meta: Mapping[str, Any]) -> None:
        width, height = meta["original_width"], meta["original_height"]
        reason = self._rules.reason(width, height)
        if reason is not None:
            self._facts.fail(index, reason, f"{width} x {height}", self._body)
            return
        stored = Stored(
            data=img,
            width=meta["width"],
            height=meta["height"],
            original_width=width,
            original_height=height,
            passed_through=False,
        )
        self._facts.succeed(index, hashlib.sha256(self._body).hexdigest(), stored)
