"""What each stage of a run is set to do, and the fingerprint that says so.

Goes in: the request, inputs and rules. Comes out: one settings value and one fingerprint
per stage. Nothing is started here and no Beam is imported, so a dry run is quick.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from filters import Chain
from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.download_job.request import download_config
from pipelines.filter_job.filter_item import FilterConfig
from pipelines.filter_job.inputs import Inputs
from pipelines.filter_job.items import num_buckets
from pipelines.filter_job.mix_item import MixConfig
from pipelines.filter_job.options import FILTER_OPTIONS, MIX_OPTIONS
from pipelines.filter_job.request import FilterRequest
from pipelines.harness.fingerprint import Fingerprint, fingerprint
from pipelines.harness.options import Option
from pipelines.metadata.sources import SOURCES
from shards.suggest import suggest

STAGES = ("filter", "mix", "download")

_COUNTED_ELSEWHERE = ("input", "shard_size")
"""Options whose value is in a fingerprint's data: inputs by content, the shard size as rows."""


def check(request: FilterRequest, rules: Chain) -> None:
    """Raise ValueError for every mistake of later stages that the options alone show."""
    mix_config(request)
    download_config(request, rules, None)


def filter_config(
    request: FilterRequest, inputs: Inputs, chains: Mapping[str, Chain]
) -> FilterConfig:
    """Return the filter stage's settings."""
    return FilterConfig(
        chains=chains,
        sources=inputs.sources,
        num_buckets=num_buckets(inputs.files),
        seed=request.seed,
        sample=request.sample,
        funnel=request.funnel,
        rejects=request.rejects,
        max_unreadable=request.max_unreadable,
    )


def mix_config(request: FilterRequest) -> MixConfig:
    """Return the mix stage's settings."""
    return MixConfig(
        ranks=_ranks(request.source_rank),
        shard_size=request.shard_rows,
        seed=request.seed,
        safety_scope=request.safety_scope,
    )


def _ranks(text: str | None) -> dict[str, int]:
    ranks = {name: source.rank for name, source in SOURCES.items()}
    for position, name in enumerate(text.split(",") if text else ()):
        if name not in ranks:
            raise ValueError(f"--source_rank: no source {name!r}; {suggest(name, ranks)}")
        ranks[name] = position - len(SOURCES)
    return ranks


def filter_fingerprint(
    request: FilterRequest, inputs: Inputs, chains: Mapping[str, Chain]
) -> Fingerprint:
    """Return the filter stage's fingerprint: inputs by content, rules with their data files."""
    data: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for file in inputs.files:
        data[f"input {file.source} {file.name}"] = f"{file.size} bytes, {file.identity}"
    for unreadable in inputs.unreadable:
        data[f"unreadable {unreadable.source} {unreadable.name}"] = unreadable.why
    for name, chain in chains.items():
        for rule in chain.spec():
            data[f"rule {name}.{rule['name']}"] = rule["parameters"]
        data |= chain.data_files()
    return fingerprint(
        "filter",
        previous=None,
        options=_options(request, FILTER_OPTIONS),
        data=data,
        libraries=("pyarrow", "numpy", "xxhash", "idna"),
    )


def mix_fingerprint(request: FilterRequest, filter_digest: str) -> Fingerprint:
    """Return the mix stage's fingerprint."""
    return fingerprint(
        "mix",
        previous=("filter", filter_digest),
        options=_options(request, MIX_OPTIONS),
        data={"shard rows": request.shard_rows},
        libraries=("pyarrow", "numpy", "xxhash"),
    )


def download_fingerprint(request: FilterRequest, mix_digest: str) -> Fingerprint:
    """Return the download stage's fingerprint."""
    libraries = ["pyarrow", "numpy", "Pillow", "simplejpeg"]
    libraries += ["torch"] if request.resizer == "torch" else []
    libraries += ["img2dataset"] if request.fetch_engine == "img2dataset" else []
    return fingerprint(
        "download",
        previous=("mix", mix_digest),
        options=_options(request, DOWNLOAD_OPTIONS),
        data={},
        libraries=libraries,
    )


def _options(request: FilterRequest, options: Sequence[Option]) -> dict[str, Any]:
    return request.recorded(options, leave_out=_COUNTED_ELSEWHERE)
