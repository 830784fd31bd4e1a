"""`python -m cogvlm.evaluate`: how good a checkpoint or a training run is on shard sets.

Every entry of --data is a task and a shard set: task=RUN[@SELECTION]. docs/evaluation.md says what
each task measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogvlm.evaluation import entries, table
from cogvlm.evaluation.model_options import add_model_options, open_model
from shards.commandline import run, say

if TYPE_CHECKING:
    from cogvlm.evaluation.evaluation import Options, Result
    from cogvlm.evaluation.subject import Subject
    from shards.dataset import Dataset


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _evaluate(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cogvlm.evaluate", description=__doc__)
    add = parser.add_argument
    known = ", ".join([*entries.MAX_NEW_TOKENS, "perplexity", "perplexity_TASK"])
    add("--checkpoint", help="folder: ours, official, or a training run's")
    add("--data", required=True, help=f"task=RUN[@SELECTION],…; tasks: {known}")
    add("--limit", type=int, help="questions of each entry; default: all")
    add("--all_phrases", action="store_true", help="rec: every phrase of a sample, not one of them")
    add(
        "--blind",
        choices=("shuffled", "constant"),
        help="ask with another sample's image, or give one constant answer (no --checkpoint)",
    )
    add("--shots", type=int, default=0, help="examples with images before each question")
    add("--shots_from", metavar="RUN", help="where they are drawn from; default: the data itself")
    add("--max_new_tokens", type=int, help="of an answer; default: as the task needs")
    add("--dump", metavar="FILE", help="JSON lines of key, question, answer, reference, score")
    add("--json", metavar="FILE", help="all numbers, with fingerprints of checkpoint and data")
    add(
        "--training_data",
        metavar="RUN,…",
        help="searched for evaluated samples; default: what the run was trained on",
    )
    add_model_options(parser)
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    asked = entries.parse(options.data)
    for name in ("dump", "json"):
        _check_folder(name, getattr(options, name))
    is_constant = options.blind == "constant"
    if not options.checkpoint and not is_constant:
        raise ValueError("--checkpoint is missing; only --blind constant needs none")

    from cogvlm.evaluation import evaluation
    from shards.dataset import open_dataset

    how = _options(options)
    datasets = [open_dataset(each.spec) for each in asked]
    for entry, dataset in zip(asked, datasets, strict=True):
        evaluation.check(entry, dataset, how)
    subject = None if is_constant else open_model(options)
    results = []
    for entry, dataset in zip(asked, datasets, strict=True):
        results.append(evaluation.evaluate(entry, dataset, subject, how))
        say(*table.lines(results[-1]))
    shared = _overlap(options, datasets)
    say(*table.overlap_lines(shared))
    if options.dump:
        _dump(Path(options.dump), results)
    if options.json:
        _write_json(Path(options.json), subject, how, results, shared)


def _options(options: argparse.Namespace) -> Options:
    from cogvlm.evaluation.evaluation import Options

    names = ("limit", "batch", "max_new_tokens", "blind", "all_phrases", "shots", "shots_from")
    return Options(**{name: getattr(options, name) for name in names})


def _overlap(options: argparse.Namespace, datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Return what is shared with training data, by shard set, and which of it is not there."""
    from cogvlm.evaluation.overlap import overlap
    from cogvlm.evaluation.subject import training_data

    trained_on, gone = training_data(options.checkpoint, options.training_data)
    by_spec = {dataset.spec: dataset for dataset in datasets} if trained_on else {}
    return {
        "training_data": [each.spec for each in trained_on],
        "not_there": gone,
        "shared": {spec: overlap(each, trained_on).to_json() for spec, each in by_spec.items()},
    }


def _dump(file: Path, results: Sequence[Result]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for result in results:
            for each in result.answers:
                line = {"task": result.task, **vars(each)}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_json(
    file: Path,
    subject: Subject | None,
    how: Options,
    results: Sequence[Result],
    shared: dict[str, Any],
) -> None:
    report = {
        "model": dict(subject.facts) if subject else None,
        "options": vars(how),
        "entries": [result.to_json() for result in results],
        "overlap": shared,
    }
    file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_folder(name: str, file: str | None) -> None:
    if file and not Path(file).absolute().parent.is_dir():
        raise ValueError(f"--{name} {file}: its folder does not exist; make it first")


if __name__ == "__main__":
    sys.exit(main())
