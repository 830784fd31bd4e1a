"""`make learn-ablate`: what experts, and what our rules, are worth on rendered scenes.

    python -m examples.ablate [--steps N] [--scenes N] [--output FOLDER] [--only ARM,…]

Every arm is one training of the small model of `examples.learn`, measured on the same unseen
scenes with their true boxes (three shapes: on unseen scenes with three). The noisy data have wrong
captions, missed and shifted boxes and ambiguous pairs (`examples.noise`). "noisy" takes all of it;
"noisy + rules" is the same web through the filters of the `cogvlm` preset, the score threshold
and the ambiguity rules. How much of the loss that wins back is what the rules are worth here.

The order of the arms is printed as measured. No time bar: about eight minutes an arm on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cogvlm.watch import read_log
from examples import demo_spacy, noise, pointing
from examples.corpus import fresh_folder, run_command, say
from examples.noise import Noisy
from examples.pointing import Training, small_scene
from examples.scenes import Scene

_GOAL = 0.5  # share of the loss that the rules win back
_EVERYTHING = "--score_threshold 0.2"  # the floor under which no box was recorded
# The two-box rule would take more samples from the noisy arms than from the clean ones.
_ANY_SHARE = "--two_box_share 1/100"


@dataclass(frozen=True, kw_only=True)
class Data:
    """A web of scenes and how it is filtered and grounded."""

    make: Callable[[int], Noisy]
    preset: str = "cogvlm"
    ground: str = ""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training."""

    name: str
    data: str
    override: str = ""
    flags: str = ""
    held_out: str = "held-out"


@dataclass(frozen=True)
class Measured:
    """What came of an arm."""

    arm: str
    samples: int
    loss: float  # mean of the last hundred steps, nats per target
    accuracy: float
    questions: int
    minutes: float


def clean(number: int) -> Noisy:
    """Return a scene about which all is said rightly."""
    return noise.truth(small_scene(number))


def three_shapes(number: int) -> Scene:
    """Return a scene with three shapes of different kinds."""
    return small_scene(number, counts=(3,))


def three(number: int) -> Noisy:
    """Return the same, about which all is said rightly."""
    return noise.truth(three_shapes(number))


DATA = {
    "clean": Data(make=clean),
    "three": Data(make=three),
    "noisy": Data(make=noise.noisy, preset="none", ground=_EVERYTHING),
    "ruled": Data(make=noise.noisy),
}
_NO_EXPERTS = "expert.layers=none"
ARMS = (
    Arm(name="experts", data="clean"),
    Arm(name="no experts", data="clean", override=_NO_EXPERTS),
    # The language model and the tower stay as they were drawn: there are no weights to start from.
    Arm(name="adapter only", data="clean", override=_NO_EXPERTS, flags="--trains adapter boi_eoi"),
    Arm(name="three shapes", data="three", held_out="held-out-three"),
    Arm(name="noisy", data="noisy", flags="--keep_ambiguous"),
    Arm(name="noisy + rules", data="ruled"),
)


def main() -> int:
    """Run the arms; returns 0 where all of them ran, whatever they measured."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.ablate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--steps", type=int, default=2000, help="of each training (default 2000)")
    add("--scenes", type=int, default=20_000, help="of each web (default 20,000)")
    add("--seed", type=int, default=0, help="of the trainings (default 0)")
    add("--output", type=Path, default=Path("ablate-out"), help="is emptied (default ablate-out)")
    add("--only", help="arms, separated by commas; default: all of them")
    options = parser.parse_args()
    arms = _chosen(parser, options.only)
    out: Path = options.output
    fresh_folder(out)
    model = demo_spacy.build(out / "spacy")
    _held_out(out, options.scenes)
    for name in dict.fromkeys(arm.data for arm in arms):
        if code := _write(name, out / name, options.scenes, model):
            return code
    results = []
    for arm in arms:
        measured = _measure(arm, out, options.steps, options.seed)
        if measured is None:
            return 1
        results.append(measured)
        (out / "results.json").write_text(json.dumps([*map(asdict, results)], indent=2) + "\n")
    say(*table(results))
    return 0


def table(results: list[Measured]) -> list[str]:
    """Return the arms side by side, and what the rules won back."""
    told = [f"{'arm':<18}{'samples':>9}{'loss':>8}{'accuracy@0.5':>14}{'questions':>11}"]
    told += [
        f"{each.arm:<18}{each.samples:>9,}{each.loss:>8.3f}{each.accuracy:>14.3f}"
        f"{each.questions:>11,}"
        for each in results
    ]
    by_name = {each.arm: each.accuracy for each in results}
    if {"experts", "noisy", "noisy + rules"} <= by_name.keys():
        lost = by_name["experts"] - by_name["noisy"]
        won = by_name["noisy + rules"] - by_name["noisy"]
        told.append(
            f"noise took {lost:.3f} of the accuracy, the rules won back {won:.3f}"
            + (f": {won / lost:.0%} (goal {_GOAL:.0%})" if lost > 0 else "")
        )
    return told


def _chosen(parser: argparse.ArgumentParser, only: str | None) -> list[Arm]:
    by_name = {arm.name: arm for arm in ARMS}
    wanted = [name.strip() for name in only.split(",")] if only else [*by_name]
    if unknown := [name for name in wanted if name not in by_name]:
        parser.error(f"--only {unknown[0]!r}: the arms are {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def _held_out(out: Path, num_scenes: int) -> None:
    for folder, make in (("held-out", small_scene), ("held-out-three", three_shapes)):
        pointing.write_held_out(pointing.unseen(make, num_scenes), out / folder)


def _write(name: str, out: Path, num_scenes: int, model: Path) -> int:
    """Take a web through filter and grounding."""
    data = DATA[name]
    made = {number: data.make(number) for number in range(num_scenes)}
    planted = ", ".join(f"{what} {share:.1%}" for what, share in noise.shares(made).items())
    say(f"{name}: {num_scenes:,} scenes; {planted}")
    out.mkdir()
    detector = noise.write_detector(made.values(), out / "detector.jsonl")
    code = pointing.filter_scenes(
        {number: each.scene for number, each in made.items()},
        out,
        captions={number: each.caption for number, each in made.items()},
        flags=f"--preset {data.preset}",
    )
    flags = (f"--detector {detector}", f"--spacy_model {model}", _ANY_SHARE, data.ground)
    code = code or pointing.ground(out, flags)
    if not code:
        pointing.prepare(out / "grounded")
    return code


def _measure(arm: Arm, out: Path, steps: int, seed: int) -> Measured | None:
    """Train an arm and ask it; None where the training failed, which has said why."""
    started = time.monotonic()
    training = Training(
        data=out / arm.data / "grounded",
        output=out / "trained" / arm.name.replace(" ", "_"),
        steps=steps,
        seed=seed,
        override=arm.override,
        flags=arm.flags,
    )
    if run_command(training.command()):
        return None
    report = pointing.evaluate(training.output, out / arm.held_out)
    losses = [line["loss"] for line in read_log(training.output) if line["kind"] == "step"][-100:]
    return Measured(
        arm=arm.name,
        samples=pointing.samples(training.data),
        loss=sum(losses) / len(losses),
        accuracy=report.accuracy,
        questions=report.questions,
        minutes=round((time.monotonic() - started) / 60, 1),
    )


if __name__ == "__main__":
    sys.exit(main())
