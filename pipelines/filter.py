"""`python -m pipelines.filter`: web metadata in, webdataset shards out.

Filters the rows of one or more corpora, mixes them into one deduplicated plan, fetches
the images and writes the shards. The same command again resumes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.commandline import launch_of, report_errors
from pipelines.download_job.request import store_spec
from pipelines.filter_job import dryrun, settings, summary
from pipelines.filter_job.inputs import read_inputs
from pipelines.filter_job.items import filter_items
from pipelines.filter_job.options import JOB_OPTIONS
from pipelines.filter_job.request import FilterRequest
from pipelines.filter_job.rules import build_chains, decoded_rules, rule_settings
from pipelines.filter_job.run import FilterRun
from pipelines.harness import accounting, planfile, rundir
from pipelines.harness.parsing import Parsed, build_parser, parse
from shards.commandline import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser("pipelines.filter", __doc__, JOB_OPTIONS)
    parsed = parse(parser, argv, JOB_OPTIONS)
    return report_errors(lambda: _run(parsed, argv), verbose=parsed.values.verbose)


def _run(parsed: Parsed, argv: Sequence[str]) -> None:
    values, request = parsed.values, FilterRequest.of(vars(parsed.values))
    store = rundir.open_output(values.output, "filter", overwrite=values.overwrite)
    launch = launch_of(parsed, store)
    inputs = read_inputs(request)
    changes = rule_settings(request, inputs)
    chains = build_chains(request.preset, changes)
    rules = decoded_rules(chains)
    settings.check(request, rules)  # every mistake before any work
    if values.dry_run:
        items = filter_items(inputs.files, request.limit)
        planned = [stage for stage in settings.STAGES if planfile.read_head(store, stage)]
        say(*dryrun.lines(inputs, items, store_spec(request), request.shard_rows, planned))
        return
    if values.overwrite:
        inputs.check_kept(store)
        rundir.clear(store)
    run = FilterRun(launch, request)
    run.check(inputs, chains)
    run.write_run_json(inputs, changes, chains, argv)
    run.filter(inputs, chains)
    if values.stop_after != "filter":
        run.mix()
    if values.stop_after is None:
        run.download(rules)
    rundir.record_library_changes(store, run.library_changes)
    summary.show(run.lines, run.filter_totals, chains, request.preset, store.root)
    accounting.check_faults(run.lines, store.root)


if __name__ == "__main__":
    sys.exit(main())
