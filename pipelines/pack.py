"""`python -m pipelines.pack`: turns annotated sets into shards.

A reader for each published format makes records; of equal keys one record is kept, and images
are stored as the filter job stores them. The same command resumes a run; docs/packing.md lists
the formats, and the reasons for records that are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.commandline import launch_of, report_errors
from pipelines.harness import rundir
from pipelines.harness.parsing import Parsed, build_parser, parse
from pipelines.pack_job.options import PACK_OPTIONS
from shards.commandline import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser("pipelines.pack", __doc__, PACK_OPTIONS)
    parsed = parse(parser, argv, PACK_OPTIONS)
    return report_errors(lambda: _run(parsed, argv), verbose=parsed.values.verbose)


def _run(parsed: Parsed, argv: Sequence[str]) -> None:
    from pipelines.pack_job import settings
    from pipelines.pack_job.run import PackRun

    values = parsed.values
    request = settings.request(values)  # every mistake before any work
    store = rundir.open_output(values.output, "pack", overwrite=values.overwrite)
    launch = launch_of(parsed, store)
    settings.check_output(launch.store, request)
    run = PackRun(launch, request)
    if values.dry_run:
        say(*run.plan())
        return
    if values.overwrite:
        rundir.clear(launch.store)
    run.write_run_json(argv)
    run.read()
    run.mix()
    run.pack()
    rundir.record_library_changes(launch.store, run.library_changes)
    say(*run.summary())


if __name__ == "__main__":
    sys.exit(main())
