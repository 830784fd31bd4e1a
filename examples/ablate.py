"""`make learn-ablate`: what experts and filter rules are worth on rendered scenes.

    python -m examples.ablate [--steps N] [--samples N] [--seeds N] [--output FOLDER] [--only ARM,…]

Every arm is a training of the small model of `examples.learn`, measured on the same unseen scenes
with their true boxes (the arm "three shapes" on unseen scenes with three). The noisy data have
wrong captions, missed and shifted boxes and ambiguous pairs (`examples.noise`). "noisy" uses all of
them; "noisy + rules" passes a web of the same kind through the filters of the `cogvlm` preset, the
score threshold and the ambiguity rules. The rules are worth what they recover of the lost accuracy.

All arms learn from the same number of samples, each of which gives a question: the web has more
rows than anybody trains on, so a larger web makes up for what the rules drop. "rules on the same
web" has no such compensation: it learns from what the rules keep of as many rows as "noisy" was
made of.

A training takes about 18 minutes on one core; as many run at a time as there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from cogvlm.training.watch import read_log
from examples import demo_spacy, noise, pointing, questions
from examples.arms import ARMS, DATA, Arm, three_shapes
from examples.corpus import fresh_folder, run_command, say
from examples.noise import Noisy
from examples.pointing import Training, small_scene
from pipelines.harness.options import positive

_GOAL = 0.5  # share of the lost accuracy that the rules should recover
# The two-box rule would take more samples from the noisy arms than from the clean ones.
_ANY_SHARE = "--two_box_share 1/100"
_Web = Mapping[int, Noisy]


@dataclass(frozen=True)
class Measured:
    """The result of a training."""

    arm: str
    seed: int
    samples: int
    empty_slots: int  # of the batches; the last batch of an epoch has some
    loss: float  # mean of the last hundred steps, nats per target
    accuracy: float
    questions: int
    minutes: float


def main() -> int:
    """Run the arms; returns 0 if all of them ran, whatever they measured."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.ablate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--steps", type=positive, default=3000, help="steps of each training (default 3000)")
    add("--samples", type=positive, default=16_000, help="samples of each arm (default 16,000)")
    add(
        "--seeds", type=positive, default=2, help="seeds of the arms that differ little (default 2)"
    )
    add(
        "--output",
        type=Path,
        default=Path("ablate-out"),
        help="folder for everything; it is emptied first (default ablate-out)",
    )
    add("--only", help="arms, separated by commas; default: all of them")
    options = parser.parse_args()
    arms = _chosen(parser, options.only)
    out: Path = options.output
    fresh_folder(out)
    webs = {
        name: {number: DATA[name].make(number) for number in range(_rows(name, options.samples))}
        for name in dict.fromkeys(arm.data for arm in arms)
    }
    _held_out(out, webs.values())
    model = demo_spacy.build(out / "spacy")
    for name, web in webs.items():
        if code := _write(name, web, out / name, model):
            return code
    data = _of_equal_size(arms, out, options.samples)
    trainings = [(arm, 0) for arm in arms]
    trainings += [(arm, s) for s in range(1, options.seeds) for arm in arms if arm.repeated]
    return _train(trainings, data, out, options.steps)


def table(results: Sequence[Measured]) -> list[str]:
    """Return a table of the arms, with means over seeds, and what the rules recovered."""
    by_arm: dict[str, list[Measured]] = {}
    for result in results:
        by_arm.setdefault(result.arm, []).append(result)
    lines = [f"{'arm':<24}{'samples':>9}{'loss':>8}{'accuracy@0.5':>14}{'questions':>11}  by seed"]
    accuracy: dict[str, float] = {}
    for name, seeds in by_arm.items():
        accuracy[name] = fmean(seed.accuracy for seed in seeds)
        lines.append(
            f"{name:<24}{seeds[0].samples:>9,}{fmean(seed.loss for seed in seeds):>8.3f}"
            f"{accuracy[name]:>14.3f}{seeds[0].questions:>11,}  "
            + " ".join(f"{seed.accuracy:.3f}" for seed in seeds)
        )
    return lines + _recovered(accuracy)


def _recovered(accuracy: Mapping[str, float]) -> list[str]:
    if not {"experts", "noisy"} <= accuracy.keys():
        return []
    lost = accuracy["experts"] - accuracy["noisy"]
    lines = [f"noise cost {lost:.3f} of the accuracy; the goal is to recover {_GOAL:.0%}"]
    for name in [arm.name for arm in ARMS if arm.data == "ruled" and arm.name in accuracy]:
        gain = accuracy[name] - accuracy["noisy"]
        lines.append(f"{name}: {gain:.3f}" + (f", {gain / lost:.0%}" if lost > 0 else ""))
    return lines


def _chosen(parser: argparse.ArgumentParser, only: str | None) -> list[Arm]:
    by_name = {arm.name: arm for arm in ARMS}
    wanted = [name.strip() for name in only.split(",")] if only else [*by_name]
    if unknown := [name for name in wanted if name not in by_name]:
        parser.error(f"--only {unknown[0]!r}: the arms are {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def _rows(data: str, samples: int) -> int:
    return round(DATA[data].rows * samples)


def _held_out(out: Path, webs: Iterable[_Web]) -> None:
    seen = [made.scene for web in webs for made in web.values()]
    for folder, make in (("held-out", small_scene), ("held-out-three", three_shapes)):
        pointing.write_held_out(pointing.unseen(make, seen), out / folder)


def _write(name: str, web: _Web, out: Path, model: Path) -> int:
    """Run the filter and the grounding job on a web."""
    data = DATA[name]
    wrong = ", ".join(f"{kind} {share:.1%}" for kind, share in noise.shares(web).items())
    say(f"{name}: {len(web):,} scenes; {wrong}")
    out.mkdir()
    detector = noise.write_detector(web.values(), out / "detector.jsonl")
    code = pointing.filter_scenes(
        {number: made.scene for number, made in web.items()},
        out,
        captions={number: made.caption for number, made in web.items()},
        flags=f"--preset {data.preset}",
    )
    flags = (f"--detector {detector}", f"--spacy_model {model}", _ANY_SHARE, data.ground)
    code = code or pointing.ground(out, flags)
    if not code:
        pointing.prepare(out / "grounded")
    return code


def _of_equal_size(arms: Sequence[Arm], out: Path, samples: int) -> dict[str, Path]:
    """Return what each arm learns from: a selection of samples that give a question.

    If a web gives fewer than wanted, all arms get that number.
    """
    keys = {
        name: questions.keys(out / name / "grounded", keep_ambiguous=DATA[name].keep_ambiguous)
        for name in dict.fromkeys(arm.data for arm in arms)
    }
    most = min(samples, *(len(web_keys) for web_keys in keys.values()))
    data = {}
    for arm in arms:
        share = DATA[arm.rows_of].rows / DATA[arm.data].rows if arm.rows_of else 1
        wanted = keys[arm.data][: min(most, round(share * len(keys[arm.data])))]
        data[arm.name] = questions.select(out / arm.data / "grounded", _file_name(arm), wanted)
    return data


def _train(
    trainings: Sequence[tuple[Arm, int]], data: Mapping[str, Path], out: Path, steps: int
) -> int:
    """Train and evaluate, one process per core: small steps do not parallelise well."""
    cores = os.cpu_count() or 1
    jobs = min(cores, len(trainings))

    def one(training: tuple[Arm, int]) -> Measured | None:
        arm, seed = training
        return _measure(arm, seed, data[arm.name], out, steps=steps, threads=cores // jobs)

    results: list[Measured] = []
    with ThreadPoolExecutor(jobs) as pool:
        for (arm, seed), measured in zip(trainings, pool.map(one, trainings), strict=True):
            if measured is None:
                say(f"{arm.name}, seed {seed}: failed; its message is above")
                continue
            results.append(measured)
            written = json.dumps([*map(asdict, results)], indent=2)
            (out / "results.json").write_text(f"{written}\n", encoding="utf-8")
    say(*table(results))
    return 0 if len(results) == len(trainings) else 1


def _measure(
    arm: Arm, seed: int, data: Path, out: Path, *, steps: int, threads: int
) -> Measured | None:
    """Train and evaluate an arm; None if a command failed, which has printed why."""
    started = time.monotonic()
    training = Training(
        data=data,
        output=out / "trained" / f"{_file_name(arm)}-{seed}",
        steps=steps,
        seed=seed,
        override=arm.override,
        flags=arm.flags + (" --keep_ambiguous" if DATA[arm.data].keep_ambiguous else ""),
    )
    if run_command(training.command(), threads=threads):
        return None
    try:
        report = pointing.evaluate(training.output, out / arm.held_out, threads=threads)
    except RuntimeError:
        return None
    log = [line for line in read_log(training.output) if line["kind"] == "step"]
    return Measured(
        arm=arm.name,
        seed=seed,
        samples=pointing.samples(data),
        empty_slots=sum(line["empty"] for line in log),
        loss=fmean(line["loss"] for line in log[-100:]),
        accuracy=report.accuracy,
        questions=report.questions,
        minutes=round((time.monotonic() - started) / 60, 1),
    )


def _file_name(arm: Arm) -> str:
    return "-".join("".join(c if c.isalpha() else " " for c in arm.name).split())


if __name__ == "__main__":
    sys.exit(main())
