"""`python -m pipelines.report RUN [RUN …]`: one HTML page about a run, or a chain of runs.

The accounting as equations, the funnel, kept and rejected samples, boxes and yields. The page needs
no network and no script. It is written as report.html of the last run unless --output is given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines.commandline import report_errors
from shards.commandline import say


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit code."""
    values = _parser().parse_args(argv)

    def write() -> None:
        # The jobs' settings come with it: --help need not wait for them.
        from pipelines.report_page import write_report

        place = write_report(
            values.run,
            values.output,
            samples=values.samples,
            training=values.training,
            evaluations=values.evaluation,
        )
        say(f"report: {place}")

    return report_errors(write)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.report", description=__doc__)
    add = parser.add_argument
    add("run", nargs="+", help="a finished run, OUT@NAME or an img2dataset folder, in any store")
    add("--output", metavar="FILE", help="default: report.html of the last run")
    add("--samples", type=_samples, default=24, help="samples to show of each run (default 24)")
    add("--training", metavar="RUN", help="folder of a training run: adds its loss curve")
    add(
        "--evaluation",
        metavar="FILE",
        action="append",
        default=[],
        help="output of cogvlm.evaluate --json: adds its results; may be repeated",
    )
    return parser


def _samples(text: str) -> int:
    if not text.isdecimal() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of samples from 0 to 10000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
