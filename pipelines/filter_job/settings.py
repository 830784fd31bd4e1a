"""What each stage of a run is set to do, and the fingerprint that says so.

Goes in: parsed options, inputs and rules. Comes out: one settings value and one fingerprint
per stage. Nothing is started here and no Beam is imported, so a dry run is quick.
"""

from __future__ import annotations

import argparse
import difflib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from filters import Chain
from pipelines.download_job import fetch_img2dataset
from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.download_job.shard import DownloadConfig
from pipelines.fetch import FetchConfig
from pipelines.filter_job.filter_item import FilterConfig
from pipelines.filter_job.inputs import Inputs
from pipelines.filter_job.items import num_buckets
from pipelines.filter_job.mix_item import MixConfig
from pipelines.filter_job.options import FILTER_OPTIONS, MIX_OPTIONS
from pipelines.harness.fingerprint import Fingerprint, fingerprint
from pipelines.harness.options import Option, parse_pairs
from pipelines.metadata.sources import SOURCES
from shards.image import PROFILES, StoreSpec

STAGES = ("filter", "mix", "download")

_SHARD_ROWS = 10_000
_GROUND_SHARD_ROWS = 2_500


def filter_config(
    values: argparse.Namespace, inputs: Inputs, chains: Mapping[str, Chain]
) -> FilterConfig:
    """Return the filter stage's settings."""
    return FilterConfig(
        chains=chains,
        sources=inputs.sources,
        num_buckets=num_buckets(inputs.files),
        seed=values.seed,
        sample=values.sample,
        funnel=values.funnel,
        rejects=values.rejects,
        max_unreadable=values.max_unreadable,
    )


def mix_config(values: argparse.Namespace) -> MixConfig:
    """Return the mix stage's settings."""
    return MixConfig(
        ranks=_ranks(values.source_rank),
        shard_size=shard_size(values),
        seed=values.seed,
        safety_scope=values.safety_scope,
    )


def shard_size(values: argparse.Namespace) -> int:
    """Return planned rows per shard: a given number, else the store profile's."""
    size: int | None = values.shard_size
    return size or (_GROUND_SHARD_ROWS if values.store == "ground" else _SHARD_ROWS)


def _ranks(text: str | None) -> dict[str, int]:
    ranks = {name: source.rank for name, source in SOURCES.items()}
    for position, name in enumerate(text.split(",") if text else ()):
        if name not in ranks:
            close = difflib.get_close_matches(name, ranks, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(ranks)}"
            raise ValueError(f"--source_rank: no source {name!r}{hint}")
        ranks[name] = position - len(SOURCES)
    return ranks


def store_spec(values: argparse.Namespace) -> StoreSpec:
    """Return how images are stored: a profile with what the options change."""
    changes = {
        "image_size": values.image_size,
        "resize_mode": values.resize_mode,
        "max_long_side": values.max_long_side,
        "encode_format": values.encode_format,
        "quality": values.encode_quality,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if values.resizer == "torch" and find_spec("torch") is None:
        raise ValueError("--resizer torch: torch is not installed; pip install torch, or pillow")
    if given.get("encode_format") == "png":
        given.setdefault("quality", 6)
    return replace(
        PROFILES[values.store], resizer=values.resizer, max_pixels=values.max_pixels, **given
    )


def fetch_config(values: argparse.Namespace) -> FetchConfig:
    """Return what the fetcher may do."""
    given: dict[str, Any] = {}
    if values.host_rate:
        pairs = parse_pairs("host_rate", values.host_rate)
        rates = {host: _rate(host, text) for host, text in pairs.items()}
        if "default" in rates:
            given["host_rate_per_s"] = rates.pop("default")
        given["host_rates"] = rates
    if values.user_agent:
        given["user_agent"] = values.user_agent
    return FetchConfig(
        decode_threads=_decode_threads(values.workers),
        connections=values.connections,
        deadline_s=values.fetch_deadline_s,
        max_body_bytes=values.max_body_bytes,
        retries=values.retries,
        allow_addresses=tuple(values.allow_address),
        respect_opt_out=not values.ignore_opt_out,
        max_mbps=values.max_mbps,
        dns_servers=tuple(values.dns_servers.split(",")) if values.dns_servers else (),
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


def download_config(values: argparse.Namespace, rules: Chain) -> DownloadConfig:
    """Return the download stage's settings."""
    if values.fetch_engine == "img2dataset" and not values.i_trust_these_urls:
        raise ValueError(
            "--fetch_engine=img2dataset follows URLs to file:, data: and private addresses and "
            "has no limits on bodies; add --i_trust_these_urls if every URL is yours"
        )
    spec = store_spec(values)
    if values.fetch_engine == "img2dataset":
        fetch_img2dataset.check(spec)
    return DownloadConfig(
        fetch=fetch_config(values),
        spec=spec,
        engine=values.fetch_engine,
        item_deadline_s=values.item_deadline_s,
        spool_dir=values.spool_dir,
        rules=rules,
    )


def filter_fingerprint(
    values: argparse.Namespace, inputs: Inputs, chains: Mapping[str, Chain]
) -> Fingerprint:
    """Return the filter stage's fingerprint: inputs by content, rules with their data files."""
    data: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for file in inputs.files:
        data[f"input {file.source} {file.name}"] = f"{file.size} bytes, {file.identity}"
    for each in inputs.unreadable:
        data[f"unreadable {each.source} {each.name}"] = each.why
    for name, chain in chains.items():
        for rule in chain.spec():
            data[f"rule {name}.{rule['name']}"] = rule["parameters"]
        data |= chain.data_files()
    return fingerprint(
        "filter",
        previous=None,
        options=_output_options(values, FILTER_OPTIONS),
        data=data,
        libraries=("pyarrow", "numpy", "xxhash", "idna"),
    )


def mix_fingerprint(values: argparse.Namespace, filter_digest: str) -> Fingerprint:
    """Return the mix stage's fingerprint."""
    return fingerprint(
        "mix",
        previous=("filter", filter_digest),
        options=_output_options(values, MIX_OPTIONS),
        data={"shard rows": shard_size(values)},
        libraries=("pyarrow", "numpy", "xxhash"),
    )


def download_fingerprint(values: argparse.Namespace, mix_digest: str) -> Fingerprint:
    """Return the download stage's fingerprint."""
    libraries = ["pyarrow", "numpy", "Pillow", "simplejpeg"]
    libraries += ["torch"] if values.resizer == "torch" else []
    libraries += ["img2dataset"] if values.fetch_engine == "img2dataset" else []
    return fingerprint(
        "download",
        previous=("mix", mix_digest),
        options=_output_options(values, DOWNLOAD_OPTIONS),
        data={},
        libraries=libraries,
    )


def _output_options(values: argparse.Namespace, options: Sequence[Option]) -> dict[str, Any]:
    # Inputs count by content, and the shard size by its value: both stand in the data.
    counted_elsewhere = ("input", "shard_size")
    return {
        option.name: getattr(values, option.name)
        for option in options
        if option.affects_output and option.name not in counted_elsewhere
    }
