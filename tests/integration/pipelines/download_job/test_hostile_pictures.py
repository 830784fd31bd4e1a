"""A download whose servers send what is slow or large to decode: the good rows are all kept."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.web import Page, serve
from filters import build_chain
from pipelines.download_job import guarded_fetch
from pipelines.download_job.engine import EngineConfig
from pipelines.download_job.shard_facts import Facts
from pipelines.fetch import FetchConfig, close_shared_fetcher
from pipelines.filter_job.rules import decoded_rules
from pipelines.harness.leases import Running
from shards.files.commit import ItemId
from shards.image import StoreSpec
from shards.outcomes import Outcome

FETCH = FetchConfig(
    allow_addresses=("127.0.0.0/8",),
    host_connections=64,
    host_rate_per_s=10_000.0,
    decode_threads=2,
    retries=0,
)
GOOD, HOSTILE = 64, 16


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def run_length_bmp(side: int) -> bytes:
    """Return a BMP in which every row is one run after the other of two pixels."""
    row = b"\2\7" * (side // 2) + b"\0\0"
    body = row * side + b"\0\1"
    palette = bytes(4 * 256)
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body


def hostile() -> list[tuple[bytes, str]]:
    """Return pictures with the outcome that each must get."""
    plain = Image.new("RGB", (5000, 5000), "teal")
    webp_bomb = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    packed = (16_383 - 1) | (4_000 - 1) << 14
    webp_bomb = webp_bomb[:21] + struct.pack("<I", packed) + webp_bomb[25:]
    return [
        (encoded(plain, "PNG"), Outcome.SUCCESS),
        (encoded(plain, "JPEG", progressive=True), Outcome.SUCCESS),
        (encoded(plain.resize((4500, 4500)), "WEBP"), Outcome.SUCCESS),
        (run_length_bmp(1800), Outcome.SUCCESS),
        (run_length_bmp(3000), Outcome.TOO_MANY_PIXELS),
        (webp_bomb, Outcome.TOO_MANY_PIXELS),
        (encoded(plain, "JPEG")[:-9000], Outcome.DECODE_FAILED),
        (b"\x89PNG\r\n\x1a\n" + bytes(500_000), Outcome.DECODE_FAILED),
    ]


class Peak:
    """The most memory of this process and its children, in bytes beyond what it began with."""

    def __enter__(self) -> Peak:
        self._ended = threading.Event()
        self._began, self.highest = rss(os.getpid()), 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            total = rss(os.getpid()) + sum(map(rss, children(os.getpid()))) - self._began
            self.highest = max(self.highest, total)


def rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.mark.slow
def test_slow_and_large_pictures_cost_no_other_row(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pages: dict[str, Page] = {}
    expected: list[str] = []
    bad = hostile()
    for number in range(GOOD + HOSTILE):
        if number % 5 == 0:
            body, outcome = bad[number // 5 % len(bad)]
        else:
            values = random.integers(0, 255, (12, 16, 3), np.uint8)
            body = encoded(Image.fromarray(values).resize((640, 480)), "JPEG")
            outcome = Outcome.SUCCESS
        pages[f"/{number}.jpg"] = Page(body)
        expected.append(outcome)
    rules = decoded_rules({"generic": build_chain("none", {})})
    config = EngineConfig(fetch=FETCH, spec=StoreSpec(image_size=256), rules=rules)
    facts = Facts(len(pages), str(tmp_path / "spool"), Running(ItemId("download", "0")))
    with serve(pages) as base, Peak() as peak:
        guarded_fetch.fetch(config, [{"url": base + path} for path in pages], facts, 300.0)
    close_shared_fetcher()
    facts.close()
    actual = [fact.outcome for fact in facts.rows]
    wrong = Counter(pair for pair in zip(expected, actual, strict=True) if pair[0] != pair[1])
    assert wrong == {}
    assert peak.highest < 900e6
