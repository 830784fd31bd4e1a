"""`make learn`: does a small CogVLM learn to point at things, on data from the real jobs?

    python -m examples.learn [--seed N] [--steps N] [--output FOLDER]

Rendered scenes with one or two coloured shapes go through the filter job, the grounding job and the
trainer. A debug-sized CogVLM with visual experts then answers "Where is …?" about unseen scenes.
The command passes if at least half of its boxes overlap the truth by half, and at most one in
twenty did before training. It needs no network and takes under twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from examples import demo_spacy, pointing
from examples.corpus import fresh_folder, run_command, say
from examples.pointing import Report, Training, small_scene
from pipelines.harness.options import natural, positive

NUM_SCENES = 20_000
BAR, BAR_BEFORE = 0.5, 0.05


def main() -> int:
    """Train and evaluate; returns 0 if the bar is reached."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.learn",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=natural, default=0, help="seed of the training (default 0)")
    add("--steps", type=positive, default=3000, help="training steps (default 3000)")
    add(
        "--scenes",
        type=positive,
        default=NUM_SCENES,
        help=f"scenes to learn from (default {NUM_SCENES:,})",
    )
    add(
        "--output",
        type=Path,
        default=Path("learn-out"),
        help="folder for everything; it is emptied first (default learn-out)",
    )
    options = parser.parse_args()
    out: Path = options.output
    started = time.monotonic()
    fresh_folder(out)
    training = Training(
        data=out / "grounded", output=out / "trained", steps=options.steps, seed=options.seed
    )
    code = _data(out, options.scenes) or _train(training)
    if code:
        return code
    seen = map(small_scene, range(options.scenes))
    held_out = pointing.write_held_out(pointing.unseen(small_scene, seen), out / "held-out")
    before = pointing.evaluate(pointing.untrained(training).output, held_out)
    after = pointing.evaluate(training.output, held_out)
    return _verdict(before, after, options.steps, (time.monotonic() - started) / 60)


def _data(out: Path, num_scenes: int) -> int:
    code = pointing.filter_scenes({seed: small_scene(seed) for seed in range(num_scenes)}, out)
    model = demo_spacy.build(out / "spacy")
    # Half of the scenes have one shape: without those the first thousand steps learn nothing.
    flags = ("--detector blobs", f"--spacy_model {model}", "--two_box_share 1/4")
    return code or pointing.ground(out, flags)


def _train(training: Training) -> int:
    pointing.prepare(training.data)
    first = run_command(pointing.untrained(training).command())
    return first or run_command(training.command())


def _verdict(before: Report, after: Report, steps: int, minutes: float) -> int:
    passed = after.accuracy >= BAR and before.accuracy <= BAR_BEFORE
    chance = [f"{name.replace('_', ' ')} {share:.3f}" for name, share in after.chance.items()]
    say(
        f"REC accuracy@0.5 on {after.questions} shapes in unseen scenes: {before.accuracy:.3f} "
        f"before training, {after.accuracy:.3f} after {steps} steps; chance: {', '.join(chance)}",
        f"bar: at least {BAR} after, at most {BAR_BEFORE} before; {minutes:.1f} minutes: "
        f"{'passed' if passed else 'NOT PASSED'}",
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
