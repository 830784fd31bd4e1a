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


def parse_pairs(flag: str, text: str) -> dict[str, str]:
    """Parse `a=x,b=y`."""
    pairs = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if not equals or not value.strip():
            raise ValueError(f"--{flag}: {pair!r} is not NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def _environment_int(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default


OUTPUT = launch("output", "run directory: a path, gs://… or s3://…")

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
    launch("allow_library_change", "resume with other library versions and record that", flag=True),
    launch("verbose", "show the traceback of every error", flag=True),
)
