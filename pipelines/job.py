"""From a command line to a job: sources, rules, stage settings and fingerprints.

Goes in: parsed options. Comes out: a `Job`, which knows what every stage reads and does
but starts nothing. No Beam here, so a dry run is quick.
"""

from __future__ import annotations

import argparse
import difflib
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from filters import Chain, build_chain
from pipelines import fetch_img2dataset
from pipelines.download_item import DownloadConfig
from pipelines.fetch import FetchConfig
from pipelines.filter_item import FilterConfig
from pipelines.metadata import PieceReader
from pipelines.mix_item import MixConfig
from pipelines.options import DOWNLOAD_OPTIONS, FILTER_OPTIONS, MIX_OPTIONS, Option
from pipelines.sources import SAFETY_COLUMNS, SOURCES, Source, resolve, with_columns
from pipelines.workplan import inputs as workplan_inputs
from pipelines.workplan.fingerprint import Fingerprint, fingerprint
from pipelines.workplan.inputs import InputFile, Unreadable
from pipelines.workplan.items import num_buckets, whole_file
from shards.image import PROFILES, StoreSpec
from shards.store import Store

STAGES = ("filter", "mix", "download")

_SHARD_ROWS = 10_000
_GROUND_SHARD_ROWS = 2_500
_SURELY_MEANT = 0.8
_ALLOW_ADDRESS = ("url.host.allow_addresses", "url.port.allow_addresses")


@dataclass(frozen=True)
class Inputs:
    """What a run reads."""

    files: tuple[InputFile, ...]
    unreadable: tuple[Unreadable, ...]
    sources: Mapping[str, Source]


def parse_inputs(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return patterns by source; a prefix before the first `=` counts only if it is a source."""
    patterns: dict[str, list[str]] = {}
    for argument in arguments:
        prefix, equals, rest = argument.partition("=")
        source, pattern = (prefix, rest) if equals and prefix in SOURCES else ("generic", argument)
        close = difflib.get_close_matches(prefix, SOURCES, 1, _SURELY_MEANT)
        if equals and source != prefix and close:
            raise ValueError(
                f"--input {argument}: no source {prefix!r}; did you mean {close[0]!r}? "
                "(a path that begins like this can be given with ./ before it)"
            )
        patterns.setdefault(source, []).append(pattern)
    if not patterns:
        raise ValueError(
            "--input is missing; type for example --input laion2b_en_joined='meta/*.parquet'"
        )
    return dict(sorted(patterns.items()))


def read_inputs(values: argparse.Namespace) -> Inputs:
    """Find the input files, read their footers and match their columns.

    Raises:
        ValueError: Nothing found, a required column is absent, or too many corrupt files.
    """
    files: list[InputFile] = []
    unreadable: list[Unreadable] = []
    sources = {}
    for name, patterns in parse_inputs(values.input).items():
        source = SOURCES[name]
        if name == "generic" and values.columns:
            source = with_columns(source, parse_pairs("columns", values.columns))
        sources[name] = source
        described = (
            _describe_runs(patterns)
            if name == "run"
            else workplan_inputs.describe(name, _expand(name, patterns), source.headerless)
        )
        files += described[0]
        unreadable += described[1]
    if len(unreadable) > values.max_unreadable:
        raise ValueError(
            f"{unreadable[0].why}; unreadable files: {len(unreadable)}, --max_unreadable allows "
            f"{values.max_unreadable}. Repair or remove them, or allow them and have them counted"
        )
    for file in files:
        resolve(sources[file.source], file.columns, file.path)
    if values.limit is not None:
        files = [_counted(file, sources[file.source], values.limit) for file in files]
    return Inputs(tuple(files), tuple(unreadable), sources)


def _counted(file: InputFile, source: Source, limit: int) -> InputFile:
    """Count the records that only parsing can count, as far as a limit needs to know."""
    if file.rows is not None:
        return file
    (extent,) = file.extents
    reader = PieceReader(whole_file(file), resolve(source, file.columns, file.path))
    rows = 0
    for batch, _ in reader:
        rows += len(batch)
        if rows + reader.bad_rows >= limit:
            break
    return replace(file, extents=(replace(extent, rows=rows + reader.bad_rows),))


def _expand(source: str, patterns: Iterable[str]) -> list[str]:
    return [path for pattern in patterns for path in workplan_inputs.expand(source, pattern)]


def _describe_runs(roots: Sequence[str]) -> tuple[list[InputFile], list[Unreadable]]:
    tombstones: dict[str, str] = {}  # path of a kept part -> its tombstones
    for root in roots:
        store = Store(root)
        markers = store.list("stats/filter", ".json")
        if not markers:
            raise ValueError(f"--input run={root}: no filtered rows there (stats/filter is empty)")
        for part in (marker.name.rpartition("/")[2].partition(".")[0] for marker in markers):
            kept = store.url(f"kept/{part}.parquet")
            tombstones[kept] = store.url(f"tombstones/{part}.parquet")
    files, unreadable = workplan_inputs.describe("run", list(tombstones))
    return [replace(file, tombstones=tombstones[file.path]) for file in files], unreadable


def parse_pairs(flag: str, text: str) -> dict[str, str]:
    """Parse `a=x,b=y`."""
    pairs = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if not equals or not value.strip():
            raise ValueError(f"--{flag}: {pair!r} is not NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def rule_settings(values: argparse.Namespace, inputs: Inputs) -> dict[str, dict[str, str]]:
    """Return, per source, what the options change in the preset: `filter.param` to value."""
    settings = _settings(values.set, inputs.sources)
    allowed = ",".join(values.allow_address)
    found = {}
    for name in inputs.sources:
        mine = dict.fromkeys(_ALLOW_ADDRESS, allowed) if allowed else {}
        mine |= _missing_safety(name, inputs, values)
        found[name] = mine | settings.get("*", {}) | settings.get(name, {})
    return found


def build_chains(preset: str, settings: Mapping[str, Mapping[str, str]]) -> dict[str, Chain]:
    """Return each source's rules with the thresholds that apply to it."""
    chains = {name: build_chain(preset, mine) for name, mine in settings.items()}
    for name, chain in chains.items():
        if waiting := chain.undecidable():
            raise ValueError(
                f"--set {name}.{waiting[0]}.on_missing=defer: no later stage can decide this rule; "
                "use keep or drop"
            )
    return chains


def _settings(arguments: Sequence[str], sources: Iterable[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    known = ["*", *sources]
    for argument in arguments:
        name, equals, value = argument.partition("=")
        source, dot, parameter = name.partition(".")
        if not equals or not dot or "." not in parameter:
            raise ValueError(f"--set {argument}: give SOURCE.FILTER.PARAM=VALUE, SOURCE may be *")
        if source not in known:
            close = difflib.get_close_matches(source, known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; this run has {', '.join(known)}"
            raise ValueError(f"--set {argument}: no source {source!r}{hint}")
        settings.setdefault(source, {})[parameter] = value
    return settings


def _missing_safety(name: str, inputs: Inputs, values: argparse.Namespace) -> dict[str, str]:
    """Decide about a source without any safety column: never in silence."""
    preset_judges = any(each.safety for each in build_chain(values.preset, {}).filters)
    mine = [file for file in inputs.files if file.source == name]
    bare = [
        file.path
        for file in mine
        if not set(SAFETY_COLUMNS) & resolve(inputs.sources[name], file.columns, file.path).keys()
    ]
    # Another run's rows have the columns whether or not anything ever filled them.
    asked_for_run = name == "run" and values.nsfw_missing is not None
    if not preset_judges or not (bare or asked_for_run):
        return {}
    if values.nsfw_missing is None:
        raise ValueError(
            f"{bare[0]}: source {name!r} has no safety score or tag; say what to do with its "
            "rows: --nsfw_missing keep or drop"
        )
    if values.nsfw_missing in ("defer", "join"):
        what = "a scorer" if values.nsfw_missing == "defer" else "joining scores by URL"
        raise ValueError(
            f"--nsfw_missing {values.nsfw_missing}: {what} is not available yet, so no stage "
            "could decide; use keep or drop"
        )
    if bare and len(bare) < len(mine) and values.nsfw_missing == "keep":
        raise ValueError(
            f"{bare[0]}: {len(bare)} of the {len(mine)} files of source {name!r} have no safety "
            "score or tag; --nsfw_missing keep would keep unscored rows of the others too. Filter "
            "them in a run of their own and bring its rows in with --input run=THAT_OUTPUT"
        )
    return {"nsfw.present.on_missing": values.nsfw_missing}


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


def decoded_rules(chains: Mapping[str, Chain]) -> Chain:
    """Return the rules that decide on decoded sizes, which must agree over all sources."""
    different = {chain.decoded() for chain in chains.values()}
    if len(different) > 1:
        raise ValueError(
            "--set: rules that look at the decoded image (aspect.ratio) must be the same for "
            "every source, because a shard mixes sources; use *.aspect.ratio…"
        )
    return next(iter(different), Chain(()))


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
