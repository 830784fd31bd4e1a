"""What a download is asked to do, and the settings that follow: of stored images, of fetching."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from filters import Chain
from pipelines.download_job import fetch_img2dataset
from pipelines.download_job.shard import DownloadConfig
from pipelines.fetch import FetchConfig
from pipelines.harness.options import parse_pairs
from pipelines.harness.request import Request
from shards.image import PROFILES, StoreSpec
from shards.image.spec import Resizer


@dataclass(frozen=True, kw_only=True)
class StoreRequest(Request):
    """How images are stored; a size, a mode or a format of None is the profile's."""

    store: str  # name of a profile
    image_size: int | None  # px
    resize_mode: str | None
    max_long_side: int | None  # px
    encode_format: str | None
    encode_quality: int | None
    resizer: Resizer
    max_pixels: int


@dataclass(frozen=True, kw_only=True)
class DownloadRequest(StoreRequest):
    """How images are fetched and stored."""

    allow_address: tuple[str, ...]  # network ranges exempt from the address rules
    max_body_bytes: int
    ignore_opt_out: bool
    fetch_engine: str
    i_trust_these_urls: bool
    connections: int  # at a time, per process
    fetch_deadline_s: float
    retries: int
    host_rate: str | None  # HOST=N,… requests per second
    max_mbps: float | None
    dns_servers: str | None  # ADDRESS,…
    user_agent: str | None
    spool_dir: str | None
    item_deadline_s: float


def store_spec(request: StoreRequest) -> StoreSpec:
    """Return how images are stored: a profile with what the options change.

    Raises:
        ValueError: The options contradict each other, or the resizer is not installed.
    """
    changes = {
        "image_size": request.image_size,
        "resize_mode": request.resize_mode,
        "max_long_side": request.max_long_side,
        "encode_format": request.encode_format,
        "quality": request.encode_quality,
    }
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if request.resizer == "torch" and find_spec("torch") is None:
        raise ValueError(
            "--resizer torch: torch is not installed; pip install torch, or use --resizer pillow"
        )
    if given.get("encode_format") == "png":
        given.setdefault("quality", 6)
    return replace(
        PROFILES[request.store], resizer=request.resizer, max_pixels=request.max_pixels, **given
    )


def fetch_config(request: DownloadRequest, workers: int | None) -> FetchConfig:
    """Return what the fetcher may do.

    Args:
        request: What was asked for.
        workers: Local workers that share this machine's cores; None for remote ones.

    Raises:
        ValueError: A rate is not a number, or a limit is out of range.
    """
    given: dict[str, Any] = {}
    if request.host_rate:
        pairs = parse_pairs("host_rate", request.host_rate)
        rates = {host: _rate(host, text) for host, text in pairs.items()}
        if "default" in rates:
            given["host_rate_per_s"] = rates.pop("default")
        given["host_rates"] = rates
    if request.user_agent:
        given["user_agent"] = request.user_agent
    return FetchConfig(
        decode_threads=_decode_threads(workers),
        connections=request.connections,
        deadline_s=request.fetch_deadline_s,
        max_body_bytes=request.max_body_bytes,
        retries=request.retries,
        allow_addresses=request.allow_address,
        respect_opt_out=not request.ignore_opt_out,
        max_mbps=request.max_mbps,
        dns_servers=tuple(request.dns_servers.split(",")) if request.dns_servers else (),
        **given,
    )


def _decode_threads(workers: int | None) -> int:
    """Share this machine's cores out to local workers; a remote worker process has about one."""
    if workers is None:
        return 2
    return max(1, len(os.sched_getaffinity(0)) // workers)


def _rate(host: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--host_rate {host}={text}: {text!r} is not a number; give requests per second"
        ) from None


def download_config(request: DownloadRequest, rules: Chain, workers: int | None) -> DownloadConfig:
    """Return the download stage's settings.

    Args:
        request: What was asked for.
        rules: Those that decide on the size of a decoded image.
        workers: Local workers that share this machine's cores; None for remote ones.

    Raises:
        ValueError: The options contradict each other, or an engine is not installed.
    """
    if request.fetch_engine == "img2dataset" and not request.i_trust_these_urls:
        raise ValueError(
            "--fetch_engine=img2dataset follows URLs to file:, data: and private addresses and "
            "does not limit the size of bodies; add --i_trust_these_urls if every URL is yours"
        )
    spec = store_spec(request)
    if request.fetch_engine == "img2dataset":
        fetch_img2dataset.check(spec)
    return DownloadConfig(
        fetch=fetch_config(request, workers),
        spec=spec,
        engine=request.fetch_engine,
        item_deadline_s=request.item_deadline_s,
        spool_dir=request.spool_dir,
        rules=rules,
    )
