"""The options of the filter job, each with the stage whose bytes it changes."""

from __future__ import annotations

from filters import PRESETS
from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.harness.options import LAUNCH_OPTIONS, OUTPUT, fraction, launch, output, positive
from pipelines.metadata.sources import SOURCES

SEED = output("filter", "seed", "seed of every random-looking choice", type=int, default=0)

FILTER_OPTIONS = (
    output(
        "filter",
        "input",
        "metadata to read; repeatable; SOURCE defaults to generic and is one of: "
        + ", ".join(SOURCES),
        repeat=True,
        metavar="[SOURCE=]GLOB",
    ),
    output(
        "filter",
        "preset",
        f"which rules with which thresholds: {', '.join(PRESETS)}",
        default="cogvlm",
    ),
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
        choices=("keep", "drop"),
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

STOP_OPTIONS = (launch("stop_after", "stop when this stage is done", choices=("filter", "mix")),)

JOB_OPTIONS = (
    OUTPUT,
    *FILTER_OPTIONS,
    *MIX_OPTIONS,
    *DOWNLOAD_OPTIONS,
    *STOP_OPTIONS,
    *LAUNCH_OPTIONS,
)
