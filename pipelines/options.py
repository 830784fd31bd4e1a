"""The jobs' options: every one declared once, with its stage and its effect on the output."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any, Literal

StageName = Literal[
    "filter", "mix", "download", "phrases", "labels", "boxes", "choose", "select", "pack", "launch"
]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of ours."""

    name: str
    help: str
    stage: StageName  # whose fingerprint it is in; launch: nobody's
    affects_output: bool
    default: Any = None
    type: Any = str
    choices: tuple[str, ...] | None = None
    repeat: bool = False
    flag: bool = False
    metavar: str | None = None


def output(stage: StageName, name: str, help: str, **more: Any) -> Option:
    """Declare an option that changes the bytes of a stage."""
    return Option(name=name, help=help, stage=stage, affects_output=True, **more)


def launch(name: str, help: str, **more: Any) -> Option:
    """Declare an option that changes how a job runs, and no byte of what it writes."""
    return Option(name=name, help=help, stage="launch", affects_output=False, **more)


def fraction(text: str) -> float:
    """Parse a share of rows: over 0, at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share; give a number over 0, up to 1")
    return value


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small; give a whole number from 1")
    return value


def natural(text: str) -> int:
    """Parse a whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative; give a whole number from 0")
    return value


def seconds(text: str) -> float:
    """Parse a time over 0."""
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a time; give seconds over 0")
    return value


def _environment_int(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default


SEED = output("filter", "seed", "seed of every random-looking choice", type=int, default=0)

FILTER_OPTIONS = (
    output(
        "filter",
        "input",
        "metadata to read; repeatable; SOURCE is generic where it is left out",
        repeat=True,
        metavar="[SOURCE=]GLOB",
    ),
    output("filter", "preset", "which rules with which thresholds", default="cogvlm"),
    output(
        "filter",
        "set",
        "change a rule's parameter for one source or all (*); repeatable",
        repeat=True,
        metavar="SOURCE.FILTER.PARAM=VALUE",
    ),
    output(
        "filter",
        "columns",
        "column names (or positions, for files without a header) of generic inputs",
        metavar="url=URL,caption=TEXT,…",
    ),
    output(
        "filter",
        "nsfw_missing",
        "what to do with sources that carry no safety score at all",
        choices=("keep", "drop", "defer", "join"),
    ),
    output("filter", "limit", "only the first N rows of each source", type=positive),
    output("filter", "sample", "only this share of the URLs, chosen by hash", type=fraction),
    output(
        "filter",
        "funnel",
        "full: every rule on every row, with overlap; first: later rules on survivors",
        choices=("full", "first"),
        default="full",
    ),
    output(
        "filter",
        "rejects",
        "rejected rows to keep: none, some per reason, or all",
        choices=("none", "sample", "all"),
        default="sample",
    ),
    output(
        "filter",
        "allow_address",
        "network range exempt from the address and port rules, in filter and fetcher; repeatable",
        repeat=True,
        metavar="CIDR",
    ),
    SEED,
)

MIX_OPTIONS = (
    output(
        "mix",
        "source_rank",
        "sources in order of preference where several hold one URL",
        metavar="SOURCE,SOURCE,…",
    ),
    output(
        "mix",
        "safety_scope",
        "url: a URL that one row's safety rule rejects is dropped everywhere; row: only that row",
        choices=("url", "row"),
        default="url",
    ),
    output(
        "mix",
        "shard_size",
        "planned rows per shard (default 10000, ground store 2500)",
        type=positive,
    ),
)

DOWNLOAD_OPTIONS = (
    output(
        "download",
        "store",
        "profile of stored images: stage1 = 256 px, stage2 = 512 px, ground = 800/1333 px",
        choices=("stage1", "stage2", "ground"),
        default="stage2",
    ),
    output(
        "download", "image_size", "stored size in pixels, as resize_mode takes it", type=positive
    ),
    output(
        "download",
        "resize_mode",
        "as img2dataset names them; keep_ratio sizes the short side",
        choices=("no", "keep_ratio", "keep_ratio_largest", "border", "center_crop", "fixed"),
    ),
    output("download", "max_long_side", "longest stored side in pixels", type=positive),
    output("download", "encode_format", "format of stored images", choices=("jpg", "png", "webp")),
    output(
        "download", "encode_quality", "quality of stored JPEG and WebP, 1 to 100", type=positive
    ),
    output(
        "download",
        "resizer",
        "pillow, or torch (faster; needs torch on the workers)",
        choices=("pillow", "torch"),
        default="pillow",
    ),
    output(
        "download", "max_pixels", "largest image that is decoded", type=positive, default=64_000_000
    ),
    output(
        "download",
        "max_body_bytes",
        "largest body that is fetched",
        type=positive,
        default=20_000_000,
    ),
    output(
        "download",
        "ignore_opt_out",
        "fetch also what X-Robots-Tag or tdm-reservation reserves",
        flag=True,
    ),
    output(
        "download",
        "fetch_engine",
        "groundwork, or img2dataset: no guards against hostile URLs (see --i_trust_these_urls)",
        choices=("groundwork", "img2dataset"),
        default="groundwork",
    ),
    launch("i_trust_these_urls", "accept that img2dataset's fetcher has no guards", flag=True),
    launch("connections", "transfers at a time per process", type=positive, default=64),
    launch("fetch_deadline_s", "longest time for one fetch", type=seconds, default=20.0),
    launch("retries", "further attempts after a transient failure", type=natural, default=2),
    launch("host_rate", "requests per second: HOST=N, default=N", metavar="HOST=N,…"),
    launch("max_mbps", "megabits per second received, per process", type=seconds),
    launch("dns_servers", "resolvers to ask instead of the system's", metavar="ADDRESS,…"),
    launch("user_agent", "sent with every request; add a way to reach you"),
    launch("spool_dir", "local folder for images of unfinished shards"),
    launch(
        "items_per_process", "shards that one process works on at a time", type=positive, default=2
    ),
    launch("item_deadline_s", "longest time for one shard's fetches", type=seconds, default=1200.0),
)

LAUNCH_OPTIONS = (
    launch("workers", "local processes or threads (default 1)", type=positive),
    launch(
        "worker_mode",
        "how local workers run",
        choices=("processes", "threads"),
        default="processes",
    ),
    launch(
        "num_tasks",
        "launchers that share this output",
        type=positive,
        default=_environment_int("SLURM_NTASKS", 1),
    ),
    launch(
        "task_index",
        "which of them this is, from 0",
        type=natural,
        default=_environment_int("SLURM_PROCID", 0),
    ),
    launch("lease_s", "seconds between refreshes of a lease", type=seconds, default=30.0),
    launch(
        "stall_timeout_s",
        "end the run when no item and no row finishes for so long",
        type=seconds,
        default=2400.0,
    ),
    launch("max_unreadable", "corrupt files to allow and count", type=natural, default=0),
    launch(
        "gc_min_age_s",
        "age after which a losing attempt is removed (1 h local, 24 h else)",
        type=seconds,
    ),
    launch("dry_run", "print the plan and stop", flag=True),
    launch("overwrite", "remove what is in the output first", flag=True),
    launch("allow_library_change", "go on with other library versions and record it", flag=True),
)

RETRY_FAILED = launch(
    "retry_failed",
    "fetch again what failed for a passing reason (dns_error, timeout, http_server_error, …)",
    flag=True,
)
OUTPUT = launch("output", "run directory: a path, gs://… or s3://…")
STOP_OPTIONS = (
    launch("stop_after", "stop when this stage is done", choices=("filter", "mix")),
    launch("metadata_only", "the same as --stop_after filter", flag=True),
)

JOB_OPTIONS = (
    OUTPUT,
    *FILTER_OPTIONS,
    *MIX_OPTIONS,
    *DOWNLOAD_OPTIONS,
    *STOP_OPTIONS,
    *LAUNCH_OPTIONS,
)
