"""`python -m pipelines.ground`: image-text shards in, grounded shards out.

Phrases by spaCy, boxes by a detector, thresholds, one row per image, the two-box rule, new shards.
The same command again resumes; --reselect changes thresholds or target without the detector.
"""

from __future__ import annotations

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
    return report_errors(lambda: _run(parsed, argv), verbose=parsed.values.verbose)


def _run(parsed: Parsed, argv: Sequence[str]) -> None:
    from pipelines.ground_job import devices, settings, summary
    from pipelines.ground_job.request import GroundRequest
    from pipelines.ground_job.run import GroundRun

    values, request = parsed.values, GroundRequest.of(vars(parsed.values))
    store = rundir.open_output(values.output, "ground", overwrite=values.overwrite)
    launch = launch_of(parsed, store)
    dataset = _input(request.input, store)
    settings.check(request, dataset)  # every mistake before any work
    run = GroundRun(launch, request, dataset)
    if values.dry_run:
        say(*summary.plan(run))
        return
    settings.check_models(request, dataset, labels=values.stop_after != "phrases")
    if values.overwrite:
        rundir.clear(store)
    elif values.reselect:
        summary.forget_selection(store)
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
    rundir.record_library_changes(store, run.library_changes)
    say(*summary.lines(run))


def _input(spec: str | None, output: Store) -> Dataset:
    if not spec:
        raise ValueError("--input is missing; give a run, OUT@SELECTION or an img2dataset folder")
    dataset = open_dataset(spec)
    if dataset.level not in ("image_text", "grounded"):
        raise ValueError(f"--input {spec} holds {dataset.level} samples, not image-text samples")
    if dataset.store.root == output.root:
        raise ValueError(f"--output {output.root} is the input; give another folder")
    return dataset


if __name__ == "__main__":
    sys.exit(main())
