"""What all benchmarks share: measuring a child process, figures, and tables of them.

Costs are CPU seconds (user + system) of a process and its children, because wall time says little
on a shared machine. Ratios are taken within one run of a benchmark.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

_LIBRARIES = (
    "pyarrow", "numpy", "apache-beam", "pycurl", "simplejpeg", "Pillow", "torch", "torchvision",
    "webdataset", "img2dataset", "opencv-python-headless", "albumentations",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """CPU time and memory of a finished process."""

    cpu_s: float
    rss_mb: float  # memory peak of its largest process
    output: str


@dataclass(frozen=True)
class Figure:
    """One measured number; `goal` is the bound it should meet, None if it has none."""

    name: str
    value: float
    unit: str
    goal: str | None = None
    met: bool | None = None


def at_least(name: str, value: float, unit: str, bound: float) -> Figure:
    """Return a figure that should reach a bound."""
    return Figure(name, value, unit, f">= {bound:.4g}", value >= bound)


def below(name: str, value: float, unit: str, bound: float) -> Figure:
    """Return a figure that should stay below a bound."""
    return Figure(name, value, unit, f"< {bound:g}", value < bound)


def run(command: Sequence[str]) -> Cost:
    """Run `python …` in the repository's root and measure it with all processes it started.

    A child's memory peak starts at its parent's size at the fork, so a benchmark that measures
    memory must stay small itself: it also makes its data in children.

    Raises:
        RuntimeError: The command failed; the message holds the end of its output.
    """
    variables = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONPATH": _import_path()}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=variables, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise RuntimeError(f"python {' '.join(command)} failed:\n{text[-3000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def _import_path() -> str:
    return os.pathsep.join([str(ROOT), str(ROOT / "tests")])


def own_cost() -> tuple[float, float]:
    """Return the CPU seconds and the memory peak in MB of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(list(values))


def table(figures: Sequence[Figure]) -> list[str]:
    """Return the figures as lines of a Markdown table."""
    lines = ["| figure | value | unit | goal | |", "|---|---:|---|---|---|"]
    for figure in figures:
        verdict = "" if figure.met is None else "met" if figure.met else "MISSED"
        value = f"{figure.value:,.4g}" if abs(figure.value) < 1000 else f"{figure.value:,.0f}"
        lines.append(
            f"| {figure.name} | {value} | {figure.unit} | {figure.goal or ''} | {verdict} |"
        )
    return lines


def machine() -> list[str]:
    """Describe the machine as Markdown list items."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    return [
        f"- {len(os.sched_getaffinity(0))} cores, {model}, {memory:.0f} GiB; load average {load}",
        f"- {platform.system()} {platform.release()}, CPython {platform.python_version()}",
        f"- {versions}",
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def record(sections: Sequence[tuple[str, str, list[str]]], today: datetime.date) -> Path:
    """Write a dated page of (title, method, lines) and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today.isoformat()}.md"
    parts = [f"# Benchmarks of {today.isoformat()}", "", "`python -m benchmarks --record`.", ""]
    parts += [*machine(), ""]
    for title, method, lines in sections:
        parts += [f"## {title}", "", method, "", *lines, ""]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path
