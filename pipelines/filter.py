"""`python -m pipelines.filter`: web metadata in, webdataset shards out.

Filters the rows of one or more corpora, mixes them into one deduplicated plan, fetches
the images and writes the shards. The same command again resumes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.commandline import launch_of, report_errors
from pipelines.filter_job import dryrun, summary
from pipelines.filter_job import inputs as run_inputs
from pipelines.filter_job import rules as run_rules
from pipelines.filter_job import settings as job
from pipelines.filter_job.items import filter_items
from pipelines.filter_job.options import JOB_OPTIONS
from pipelines.filter_job.run import Run
from pipelines.harness import planfile, rundir
from pipelines.harness.parsing import Parsed, build_parser, parse
from shards.commandline import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser("pipelines.filter", __doc__, JOB_OPTIONS)
    parsed = parse(parser, argv, JOB_OPTIONS)
    return report_errors(lambda: _run(parsed, argv))


def _run(parsed: Parsed, argv: Sequence[str]) -> None:
    values = parsed.values
    launch = launch_of(parsed, rundir.open_output(values.output, "filter"))
    inputs = run_inputs.read_inputs(values)
    settings = run_rules.rule_settings(values, inputs)
    chains = run_rules.build_chains(values.preset, settings)
    rules = run_rules.decoded_rules(chains)
    job.mix_config(values), job.download_config(values, rules)  # every mistake before any work
    if values.dry_run:
        items = filter_items(inputs.files, values.limit)
        planned = [s for s in job.STAGES if planfile.read_head(launch.store, s)]
        spec, shard_rows = job.store_spec(values), job.shard_size(values)
        say(*dryrun.lines(inputs, items, spec, shard_rows, planned))
        return
    if values.overwrite:
        inputs.check_kept(launch.store)
        rundir.clear(launch.store)
    run = Run(values, launch)
    run.check(inputs, chains)
    run.write_run_json(inputs, settings, chains, argv)
    run.filter(inputs, chains)
    stop_after = "filter" if values.metadata_only else values.stop_after
    if stop_after != "filter":
        run.mix()
    if stop_after is None:
        run.download(rules)
    rundir.record_library_changes(launch.store, run.library_changes)
    summary.show(run.lines, run.filter_totals, chains, values.preset, launch.store.root)


if __name__ == "__main__":
    sys.exit(main())
