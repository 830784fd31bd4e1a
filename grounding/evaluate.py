"""`python -m grounding.evaluate`: how good boxes are, against annotations or against GRIT.

The first argument is a run of annotated samples (`docs/grounding.md` says how to make one). Then
either a run or a detector is scored on it, or it is a run of yours that is compared with GRIT.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grounding import scoring
from grounding.label_files import open_labels
from grounding.metrics import MIN_IOU
from grounding.samples import open_grounded
from shards import Dataset
from shards.commandline import run
from shards.files.commit import encode

NOTHING = "n/a"  # nothing to divide by


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _evaluate(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m grounding.evaluate", description=__doc__)
    add = parser.add_argument
    add("run", help="annotated samples; with --against, the run that is compared; OUT@NAME is fine")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--predictions", metavar="RUN", help="a grounded run over the same keys")
    what.add_argument("--labels", metavar="OUT", help="a grounding job's labels, before thresholds")
    what.add_argument("--detector", metavar="NAME", help="glip:…, hf:…, oracle:… or blobs")
    what.add_argument("--against", nargs=2, metavar=("FORM", "FILE"), help="grit FILE.parquet")
    add("--thresholds", help="of the table, with commas; default: 0 to 0.95 in steps of 0.05")
    add_detector_options(parser)
    add("--json", metavar="FILE", help="also write all numbers and fingerprints to this file")
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    if options.json and not Path(options.json).absolute().parent.is_dir():
        raise ValueError(f"--json {options.json}: its folder does not exist; make it first")
    dataset = open_grounded(options.run)
    facts: dict[str, Any] = {"data": _data(dataset), "min_iou": MIN_IOU}
    if options.against:
        form, file = options.against
        if form != "grit":
            raise ValueError(f"--against {form}: the only form is grit; type --against grit FILE")
        agreed = scoring.compare_with_grit(dataset, file).to_json()
        facts |= {"against": {"form": form, "file": file}, "agreement": agreed}
        lines = agreement_lines(agreed)
    else:
        score = _score(options, dataset, facts)
        facts["metrics"] = score.to_json()
        lines = metric_lines(facts["metrics"])
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if options.json:
        Path(options.json).write_bytes(encode(facts))


def _score(options: argparse.Namespace, gold: Dataset, facts: dict[str, Any]) -> scoring.Score:
    """Score what was asked for, and put down what it is."""
    thresholds = _thresholds(options.thresholds)
    if options.predictions:
        predictions = open_grounded(options.predictions)
        score = scoring.score_run(gold, predictions, thresholds)
        facts["predictions"] = _data(predictions)
        facts["detector"] = {"name": score.detector}
        return score
    if options.labels:
        labels = open_labels(options.labels)
        facts["predictions"] = {"spec": options.labels, "fingerprint": labels.fingerprint}
        facts["detector"] = {"name": labels.detector}
        return scoring.score_predictions(gold, labels.read(), options.labels, thresholds)
    from grounding.detectors.load import load_detector

    detector = load_detector(options.detector, **detector_options(options))
    facts["detector"] = {"name": detector.name, "fingerprint": detector.fingerprint}
    return scoring.score_detector(gold, detector, thresholds, options.batch)


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `grounding.detectors.load.load_detector`."""
    add = parser.add_argument
    add("--device", default="auto", help="of the detector: auto, cpu, cuda or cuda:N")
    add("--precision", default="fp32", help="of the detector: fp32, bf16 or fp16")
    add("--batch", type=int, default=8, help="images that a detector gets at a time")
    add("--variant", help="of a GLIP checkpoint whose name does not tell")
    add("--vocab", help="of a GLIP checkpoint: the vocabulary of bert-base-uncased")


def detector_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `load_detector` besides the name."""
    names = ("device", "precision", "batch", "variant", "vocab")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def metric_lines(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of metrics."""
    yield f"samples {values['samples']:,}, without predictions {_missing(values)}"
    for protocol, meaning in _PROTOCOLS.items():
        yield ""
        yield f"recall of phrases, {protocol}: {meaning}"
        yield _row(("category", "phrases", "R@1", "R@5", "R@10"))
        at = values["recall"][protocol]
        for category in ("all", *(name for name in at if name != "all")):
            counted = at[category]
            shares = [_percent(counted[k]["value"]) for k in ("1", "5", "10")]
            yield _row((category, f"{counted['1']['total']:,}", *shares))
    accuracy = values["rec_accuracy"]
    yield ""
    yield (
        f"REC accuracy@0.5, first box: {_percent(accuracy['value'])} of {accuracy['total']:,} "
        "captions that are one expression"
    )
    yield ""
    yield "labels by threshold: boxes with a score above it"
    yield _row(("above", "boxes", "precision", "coverage"))
    for labels in values["labels"]:
        precision, coverage = labels["precision"], labels["coverage"]
        numbers = _percent(precision["value"]), _percent(coverage["value"])
        yield _row((f"{labels['threshold']:g}", f"{precision['total']:,}", *numbers))
    elsewhere = values["boxes_elsewhere"]
    yield f"not counted: {elsewhere:,} boxes of words for which the annotations have no box"
    yield ""
    yield from _chunk_lines(values["chunks"])


_PROTOCOLS = {
    "any": "a box is right when it overlaps any gold box of the phrase",
    "merged": "a box is right when it overlaps the box around all gold boxes of the phrase",
}


def agreement_lines(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of agreement with GRIT."""
    bad = sum(values["bad_rows"].values())
    yield f"GRIT rows {values['rows']:,}, of them unusable {bad:,}{_reasons(values['bad_rows'])}"
    alone = values["pairs_by_caption"]
    yield f"pairs in both {values['pairs']:,}, {alone:,} of them joined by their caption only"
    yield ""
    yield _row(("", "precision", "recall", "F1", "ours", "GRIT"))
    for name, title in _AGREEMENTS.items():
        yield _agreement_row(title, values[name])
    same = values["same_count"]
    yield ""
    yield (
        f"boxes {values['boxes_ours']:,} ours, {values['boxes_theirs']:,} GRIT's; "
        f"the same number in {_percent(same['value'])} of the pairs"
    )


_AGREEMENTS = {
    "chunks": "noun chunks, exact",
    "expressions": "expressions, exact",
    "boxes": "boxes of shared chunks",
}


def _chunk_lines(chunks: Mapping[str, Any] | None) -> Iterator[str]:
    if chunks is None:
        yield "noun chunks: not scored, because the detector was told where the phrases are"
        return
    yield _row(("noun chunks", "precision", "recall", "F1", "found", "gold"))
    for name in ("exact", "head"):
        yield _agreement_row(name, chunks[name])


def _agreement_row(title: str, agreed: Mapping[str, Any]) -> str:
    shares = [_percent(agreed[name]) for name in ("precision", "recall", "f1")]
    return _row((title, *shares, f"{agreed['predicted']:,}", f"{agreed['gold']:,}"))


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f"  {first:<24}" + "".join(f"{cell:>11}" for cell in others)


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}"


def _missing(values: Mapping[str, Any]) -> str:
    return f"{values['samples_without_predictions']:,}"


def _reasons(counts: Mapping[str, int]) -> str:
    named = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
    return f" ({named})" if named else ""


def _thresholds(text: str | None) -> tuple[float, ...]:
    if text is None:
        return scoring.THRESHOLDS
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"--thresholds {text}: must be numbers such as 0.3,0.5,0.65") from None


def _data(dataset: Dataset) -> dict[str, Any]:
    return {
        "spec": dataset.spec,
        "fingerprint": dataset.fingerprint,
        "samples": dataset.samples,
    }


if __name__ == "__main__":
    sys.exit(main())
