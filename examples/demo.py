"""`make demo`: the whole path at toy scale: web, filter, grounding, training, evaluation, report.

    python -m examples.demo [--scenes N] [--steps N] [--output FOLDER]

No network is needed. The demo fails unless every injected fault is reported under its expected
reason, more than three in four grounded images have two boxes, the numbers of every stage add up,
and the loss falls. A small CogVLM learns to point at shapes for a few minutes, which shows that the
parts fit together; `make learn` shows how much it can learn.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogvlm.training.watch import read_log
from examples import demo_spacy, pointing, questions
from examples.corpus import Corpus, fresh_folder, run_command, say, write_metadata
from examples.demo_web import fill
from examples.pointing import Report, Training
from examples.scenes import Scene, scene
from examples.web import PORT, Page, serve
from pipelines.harness.options import positive


class DemoError(Exception):
    """A step failed; the message says how."""


@dataclass
class Summary:
    """The table at the end."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        """Add a line."""
        self.rows.append((name, value))

    def lines(self) -> list[str]:
        """Return the table."""
        width = max(len(name) for name, _ in self.rows)
        return [f"{name:<{width}}  {value}" for name, value in self.rows]


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scenes", type=positive, default=3000, help="scenes to render for the web (default 3000)")
    add("--steps", type=positive, default=1000, help="training steps (default 1000)")
    add(
        "--output",
        type=Path,
        default=Path("demo-out"),
        help="folder for everything; it is emptied first (default demo-out)",
    )
    options = parser.parse_args()
    out: Path = options.output
    fresh_folder(out)
    started, summary = time.monotonic(), Summary()
    try:
        _filter(out, options.scenes, summary)
        _ground(out, summary)
        training = _train(out, options.steps, summary)
        _evaluate(out, options.scenes, training, summary)
        page = _report(out, training)
    except DemoError as error:
        say(f"demo: {error}")
        return 1
    summary.add("time", f"{(time.monotonic() - started) / 60:.1f} minutes")
    summary.add("report", str(page))
    say("", *summary.lines())
    return 0


def pictured(number: int) -> Scene:
    """Return a scene of the demo; two in three have two shapes, for the two-box rule."""
    return scene(number, (160, 120), counts=(1, 2, 2), distinct=True, smallest=1 / 3)


def _filter(out: Path, num_scenes: int, summary: Summary) -> None:
    """Filter the metadata of a small web, fetch it, and check the outcome of every row."""
    pages: dict[str, Page] = {}
    with serve(pages, PORT) as base:
        corpus = Corpus(base)
        fill(corpus, pages, {number: pictured(number) for number in range(num_scenes)})
        write_metadata(out / "metadata", corpus.rows)
        _run(
            f"pipelines.filter --input laion2b_en_joined={out}/metadata/laion-*.parquet"
            f" --output {out}/run --preset cogvlm --shard_size 512 --store stage1 --workers 2"
            f" --allow_address 127.0.0.1/32 --host_rate 127.0.0.1=2000"
        )
    counts = _counts(out / "run")
    outcomes = {"sample": counts["download"]["out"]}
    for line in counts.values():
        for name, count in line["left_out"].items():
            if count:
                outcomes[name] = outcomes.get(name, 0) + count
    wrong = {
        name: f"expected {corpus.expected.get(name, 0)}, counted {outcomes.get(name, 0)}"
        for name in {*corpus.expected, *outcomes}
        if corpus.expected.get(name, 0) != outcomes.get(name, 0)
    }
    if wrong:
        raise DemoError(f"rows do not have the expected outcomes: {wrong}")
    summary.add("rows of metadata", f"{len(corpus.rows):,}, each with the expected outcome")
    summary.add("kept by the filters", f"{counts['filter']['out']:,}")
    summary.add("planned after deduplication", f"{counts['mix']['out']:,}")
    summary.add(
        "image-text samples", f"{outcomes['sample']:,}; {len(outcomes) - 1} kinds of faults"
    )


def _ground(out: Path, summary: Summary) -> None:
    """Ground the scenes with a small spaCy pipeline and a detector that knows their colours."""
    model, grounded = demo_spacy.build(out / "spacy"), out / "grounded"
    _run(
        f"pipelines.ground --input {out}/run --output {grounded} --spacy_model {model}"
        f" --detector blobs --shard_size 256 --workers 2"
    )
    for stage, line in _counts(grounded).items():
        if line["in"] != line["out"] + sum(line["left_out"].values()):
            raise DemoError(f"{stage}: {line} does not add up")
    boxes = [
        len({tuple(row[2:6]) for row in json.loads(raw.json)["noun_chunks"]})
        for raw in questions.raw_samples(grounded)
    ]
    multi = sum(count >= 2 for count in boxes)
    if not 4 * multi > 3 * len(boxes):
        raise DemoError(
            f"{multi} of {len(boxes)} grounded images have two boxes; more than 3/4 should"
        )
    summary.add(
        "grounded samples", f"{len(boxes):,}; {multi / len(boxes):.2%} with two boxes or more"
    )


def _train(out: Path, steps: int, summary: Summary) -> Training:
    """Train the small model on the shards that the jobs wrote."""
    training = Training(data=out / "grounded", output=out / "trained", steps=steps)
    pointing.prepare(training.data)
    _run(pointing.untrained(training).command())
    _run(training.command())
    losses = [line["loss"] for line in read_log(training.output) if line["kind"] == "step"]
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    if not last < 0.9 * first:
        raise DemoError(f"the loss went from {first:.2f} to {last:.2f} in {steps} steps")
    summary.add("loss, nats per token", f"{first:.2f}, {last:.2f} after {steps:,} steps")
    return training


def _evaluate(out: Path, num_scenes: int, training: Training, summary: Summary) -> None:
    """Ask the untrained and the trained model about scenes that neither has seen."""
    new = pointing.unseen(pictured, map(pictured, range(num_scenes)), how_many=100)
    held_out = pointing.write_held_out(new, out / "held-out")
    before = _measured(pointing.untrained(training).output, held_out)
    after = _measured(training.output, held_out)
    summary.add(
        "REC accuracy@0.5",
        f"{before.accuracy:.3f} before, {after.accuracy:.3f} after, on {after.questions} unseen "
        f"shapes; constant box: {after.chance['constant_box']:.3f}",
    )


def _report(out: Path, training: Training) -> Path:
    page = out / "report.html"
    _run(
        f"pipelines.report {out}/run {out}/grounded --training {training.output}"
        f" --evaluation {pointing.untrained(training).output}/{pointing.RESULTS}"
        f" --evaluation {training.output}/{pointing.RESULTS} --output {page}"
    )
    return page


def _measured(run: Path, held_out: Path) -> Report:
    try:
        return pointing.evaluate(run, held_out)
    except RuntimeError as error:
        raise DemoError(str(error)) from error


def _run(command: str) -> None:
    if run_command(command):
        raise DemoError("the last command failed; its message is above")


def _counts(run: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of the accounting, by stage."""
    return dict(json.loads((run / "manifest.json").read_text())["counts"])


if __name__ == "__main__":
    sys.exit(main())
