"""`python -m pipelines.lint RUN`: does this run keep the contract? Exit code 1 if not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines.commandline import report_errors
from shards import manifest
from shards.commandline import say
from shards.files.store import Store
from shards.lint import lint


def main(argv: Sequence[str] | None = None) -> int:
    """Check a run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.lint", description=__doc__)
    parser.add_argument("run", help="run directory: a path, gs://… or s3://…")
    values = parser.parse_args(argv)
    findings = 0

    def check() -> None:
        nonlocal findings
        store = Store(values.run)
        for finding in lint(store):
            findings += 1
            say(str(finding))
        run_manifest = manifest.read(store)
        verdict = f"{findings} findings" if findings else "they keep the contract"
        say(f"{len(run_manifest.shards)} shards, {run_manifest.samples} samples: {verdict}")

    return report_errors(check) or min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())
