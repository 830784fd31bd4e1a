"""`python -m pipelines.ground`: image-text shards in, grounded shards out.

Phrases by spaCy, boxes by a detector, thresholds, one row per image, the two-box rule, new shards.
The same command again resumes; --reselect changes thresholds or target without the detector.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines.commandline import launch_of, report_errors
from pipelines.ground_job.options import GROUND_OPTIONS
from pipelines.harness import rundir
from pipelines.harness.parsing import Parsed, build_parser, parse
from shards.commandline import say
from shards.dataset import Dataset, open_dataset
from shards.files.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser("pipelines.ground", __doc__, GROUND_OPTIONS)
    parsed = parse(parser, argv, GROUND_OPTIONS)
    return report_errors(lambda: _run(parsed, argv))


def _run(parsed: Parsed, argv: Sequence[str]) -> None:
    from pipelines.ground_job import detecting, devices, settings, summary
    from pipelines.ground_job.run import GroundRun

    values = parsed.values
    launch = launch_of(parsed, rundir.open_output(values.output, "ground"))
    if not values.detector and not values.overwrite:
        vars(values).update(detecting.recorded(launch.store, allow_code=values.allow_code))
    dataset = _input(values)
    settings.check(values, dataset)  # every mistake before any work
    run = GroundRun(values, launch, dataset)
    if values.dry_run:
        say(*summary.plan(run))
        return
    settings.check_models(values, dataset)
    if values.overwrite:
        rundir.clear(launch.store)
    elif values.reselect:
        summary.forget_selection(launch.store)
    run.write_run_json(argv)
    run.phrases()
    if values.stop_after != "phrases":
        devices.label_everywhere(run, argv)
        run.labels()
    if values.stop_after not in ("phrases", "labels"):
        run.boxes()
        histogram = run.choose()
        if values.stop_after != "choose":
            run.select(histogram)
            run.pack()
    rundir.record_library_changes(launch.store, run.library_changes)
    say(*summary.lines(run))


def _input(values: argparse.Namespace) -> Dataset:
    if not values.input:
        raise ValueError("--input is missing; give a run, OUT@SELECTION or an img2dataset folder")
    dataset = open_dataset(values.input)
    if dataset.level not in ("image_text", "grounded"):
        raise ValueError(
            f"--input {values.input} holds {dataset.level} samples, no image-text ones"
        )
    if dataset.store.root == Store(values.output).root:
        raise ValueError(f"--output {values.output} is the input; give another folder")
    return dataset


if __name__ == "__main__":
    sys.exit(main())
