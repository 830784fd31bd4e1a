"""`python -m pipelines.download --output OUT`: the remaining stages of a stopped run.

Everything that affects the output comes from the run's own `run.json`. With `--retry_failed`
it retries only the rows that failed transiently, also in a finished run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.commandline import launch_of, report_errors
from pipelines.download_job.options import DOWNLOAD_OPTIONS, RETRY_FAILED
from pipelines.filter_job import summary
from pipelines.filter_job.request import FilterRequest
from pipelines.filter_job.rules import build_chains, decoded_rules
from pipelines.filter_job.run import FilterRun
from pipelines.harness import accounting, rundir
from pipelines.harness.options import LAUNCH_OPTIONS, OUTPUT
from pipelines.harness.parsing import Parsed, build_parser, parse
from shards.commandline import say

_OPTIONS = (
    OUTPUT,
    RETRY_FAILED,
    *(option for option in DOWNLOAD_OPTIONS if not option.affects_output),
    *(option for option in LAUNCH_OPTIONS if option.name not in ("dry_run", "overwrite")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser("pipelines.download", __doc__, _OPTIONS)
    parsed = parse(parser, argv, _OPTIONS)
    return report_errors(lambda: _run(parsed), verbose=parsed.values.verbose)


def _run(parsed: Parsed) -> None:
    store = rundir.open_output(parsed.values.output, "filter")
    launch = launch_of(parsed, store)
    recorded = rundir.read_run_json(store, needed=("rule_settings", "unreadable_inputs"))
    request = FilterRequest.of(
        {**vars(parsed.values), **recorded["options"]}, store.url(rundir.RUN_JSON)
    )
    chains = build_chains(request.preset, recorded["rule_settings"])
    rules = decoded_rules(chains)
    run = FilterRun(launch, request)
    run.read_filter(len(recorded["unreadable_inputs"]))
    run.mix()
    run.download(rules)
    if parsed.values.retry_failed:
        swept = run.retry_failed(rules)
        say(f"{swept} shards had rows that failed transiently")
    rundir.record_library_changes(store, run.library_changes)
    summary.show(run.lines, run.filter_totals, chains, request.preset, store.root)
    accounting.check_faults(run.lines, store.root)


if __name__ == "__main__":
    sys.exit(main())
