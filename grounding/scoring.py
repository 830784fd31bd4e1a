"""Predictions against annotations, and a run against GRIT rows: what is counted with what.

Goes in: a grounded run as gold, and predictions: another run over the same keys, or a detector that
is given the gold's captions and spans. Comes out: a report of `metrics`' numbers, ready for JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from grounding import metrics
from grounding.annotated import grit
from grounding.detector import Detection, Detector
from grounding.metrics import Agreement, Localised, Ratio
from grounding.samples import raw_samples, samples
from shards import Dataset, RawSample
from shards.grounded import BoxRow, GroundedSample, Grounding, Span, boxes_by_span, parse
from shards.image import ImageError, decode

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))


@dataclass
class Score:
    """The numbers of one evaluation."""

    thresholds: Sequence[float] = THRESHOLDS
    detector: str | None = None  # name, where samples tell it
    num_samples: int = 0  # of the gold
    num_without_predictions: int = 0  # samples of which the predictions hold nothing
    num_elsewhere: int = 0  # predicted boxes of spans without gold boxes; neither right nor wrong
    phrases: list[Localised] = field(default_factory=list)
    expressions: list[Localised] = field(default_factory=list)
    chunks_exact: Agreement | None = None
    chunks_head: Agreement | None = None

    def add(self, gold: GroundedSample, predicted: Mapping[Span, Sequence[BoxRow]]) -> None:
        """Count the boxes of one caption."""
        self.num_samples += 1
        wanted = boxes_by_span(gold.grounding.noun_chunks)
        for span, rows in wanted.items():
            answer = predicted.get(span, ())
            phrase = metrics.localised(
                [row.box_xyxy for row in rows],
                [row.box_xyxy for row in answer],
                [row.score for row in answer],
                gold.grounding.categories.get(span, ()),
            )
            self.phrases.append(phrase)
            if len(wanted) == 1 and span == (0, len(gold.common.caption)):
                self.expressions.append(phrase)
        self.num_elsewhere += sum(len(rows) for at, rows in predicted.items() if at not in wanted)

    def add_chunks(self, gold: Grounding, predicted: Grounding) -> None:
        """Count the noun chunks of one caption that were found."""
        exact = metrics.agreement(_spans(predicted), _spans(gold))
        heads = metrics.agreement(_heads(predicted), _heads(gold))
        nothing = Agreement(0, 0, 0)
        self.chunks_exact = (self.chunks_exact or nothing) + exact
        self.chunks_head = (self.chunks_head or nothing) + heads

    def to_json(self) -> dict[str, Any]:
        """Return all numbers; null where there is nothing to divide by."""
        return {
            "samples": self.num_samples,
            "samples_without_predictions": self.num_without_predictions,
            "boxes_elsewhere": self.num_elsewhere,
            "recall": {
                protocol: {
                    category: {str(k): metrics.ratio_json(ratio) for k, ratio in at.items()}
                    for category, at in sorted(metrics.recall_at(self.phrases, protocol).items())
                }
                for protocol in ("any", "merged")
            },
            "rec_accuracy": metrics.ratio_json(metrics.accuracy(self.expressions)),
            "labels": [
                {
                    "threshold": labels.threshold,
                    "precision": metrics.ratio_json(labels.precision),
                    "coverage": metrics.ratio_json(labels.coverage),
                }
                for labels in metrics.at_thresholds(self.phrases, self.thresholds)
            ],
            "chunks": None
            if self.chunks_exact is None or self.chunks_head is None
            else {
                "exact": metrics.agreement_json(self.chunks_exact),
                "head": metrics.agreement_json(self.chunks_head),
            },
        }


def score_run(gold: Dataset, predictions: Dataset, thresholds: Sequence[float]) -> Score:
    """Score a grounded run over the same keys; raises as `score_predictions` does."""
    detectors: set[str | None] = set()

    def groundings() -> Iterator[tuple[str, Grounding]]:
        for sample in samples(predictions):
            detectors.add(sample.detector)
            yield sample.common.key, sample.grounding

    score = score_predictions(gold, groundings(), predictions.spec, thresholds)
    score.detector = ", ".join(sorted(filter(None, detectors))) or None
    return score


def score_predictions(
    gold: Dataset,
    predictions: Iterable[tuple[str, Grounding]],
    name: str,
    thresholds: Sequence[float],
) -> Score:
    """Score what was found in samples of the gold, which is held in memory.

    Boxes of a phrase are those of the noun chunk with exactly its span, else of the expression
    with it. Chunks are compared in samples that both have.

    Args:
        gold: The annotations.
        predictions: Key and phrases of samples; others than the gold's are passed over.
        name: Of the predictions, for messages.
        thresholds: Of the table.

    Raises:
        ValueError: Not one key is in both.
    """
    waiting = {sample.common.key: sample for sample in samples(gold)}
    score = Score(thresholds)
    for key, predicted in predictions:
        wanted = waiting.pop(key, None)
        if wanted is None:
            continue
        score.add(wanted, _found(predicted, wanted.grounding))
        score.add_chunks(wanted.grounding, predicted)
    if not score.num_samples:
        raise ValueError(
            f"{name} has no sample of {gold.spec}: predictions must be made of the same images "
            "and captions, so that their keys are the same"
        )
    score.num_without_predictions = len(waiting)
    for missing in waiting.values():
        score.add(missing, {})
    return score


def score_detector(
    gold: Dataset, detector: Detector, thresholds: Sequence[float], batch_size: int = 8
) -> Score:
    """Score a detector that is told where the phrases of the gold are."""
    score = Score(thresholds)
    for batch in _batches(raw_samples(gold), batch_size):
        known = [parse(raw) for raw in batch]
        spans = [sorted(boxes_by_span(sample.grounding.noun_chunks)) for sample in known]
        images = [_image(raw) for raw in batch]
        captions = [sample.common.caption for sample in known]
        detections = detector.detect(images, captions, spans)
        for sample, asked, answers in zip(known, spans, detections, strict=True):
            rows = {span: _rows(span, boxes) for span, boxes in zip(asked, answers, strict=True)}
            score.num_without_predictions += not any(rows.values())
            score.add(sample, rows)
    return score


@dataclass(frozen=True)
class GritAgreement:
    """How far a run and GRIT rows of the same pairs agree; GRIT takes the place of gold."""

    pairs: int  # rows that are also samples of the run
    pairs_by_caption: int  # those of them that only the caption joins
    rows: int
    bad_rows: Mapping[str, int]  # by reason
    chunks: Agreement  # spans of noun chunks with a box
    expressions: Agreement  # spans of expressions
    boxes: Agreement  # of chunks that both have
    same_count: Ratio  # pairs with the same number of boxes
    boxes_ours: int
    boxes_theirs: int

    def to_json(self) -> dict[str, Any]:
        """Return all numbers; null where there is nothing to divide by."""
        values = asdict(self)
        for name in ("chunks", "expressions", "boxes"):
            values[name] = metrics.agreement_json(getattr(self, name))
        return values | {"same_count": metrics.ratio_json(self.same_count)}


def compare_with_grit(ours: Dataset, file: str) -> GritAgreement:
    """Compare with the rows of a GRIT file that are samples of the run, which is held in memory.

    A row is a sample with the same key, else with the same URL and caption, else the only one with
    the caption.

    Raises:
        ValueError: Not one row is a sample of the run.
    """
    known = _Known(samples(ours))
    bad: Counter[str] = Counter()
    rows = same_count = boxes_ours = boxes_theirs = 0
    chunks, expressions, boxes = [], [], []
    for row in grit.read(file):
        rows += 1
        if isinstance(row, grit.BadRow):
            bad[row.reason] += 1
            continue
        sample = known.take(row)
        if sample is None:
            continue
        our_chunks = boxes_by_span(sample.grounding.noun_chunks)
        their_chunks = boxes_by_span(row.noun_chunks)
        chunks.append(metrics.agreement(our_chunks, their_chunks))
        our_spans = (box.span for box in sample.grounding.ref_exps)
        their_spans = (box.span for box in row.ref_exps)
        expressions.append(metrics.agreement(our_spans, their_spans))
        boxes += [
            metrics.box_agreement(_corners(our_chunks[span]), _corners(their_chunks[span]))
            for span in our_chunks.keys() & their_chunks.keys()
        ]
        same_count += len(sample.grounding.noun_chunks) == len(row.noun_chunks)
        boxes_ours += len(sample.grounding.noun_chunks)
        boxes_theirs += len(row.noun_chunks)
    if not known.taken:
        raise ValueError(f"none of the {rows} rows of {file} is a sample of {ours.spec}")
    return GritAgreement(
        pairs=known.taken,
        pairs_by_caption=known.by_caption_alone,
        rows=rows,
        bad_rows=dict(sorted(bad.items())),
        chunks=metrics.total(chunks),
        expressions=metrics.total(expressions),
        boxes=metrics.total(boxes),
        same_count=Ratio(same_count, known.taken),
        boxes_ours=boxes_ours,
        boxes_theirs=boxes_theirs,
    )


class _Known:
    """The samples of a run, each given away once."""

    def __init__(self, grounded: Iterable[GroundedSample]) -> None:
        self.taken = 0
        self.by_caption_alone = 0
        self._by_key = {sample.common.key: sample for sample in grounded}
        self._by_address: dict[tuple[str | None, str], list[str]] = {}
        self._by_caption: dict[str, list[str]] = {}
        for key, sample in self._by_key.items():
            common = sample.common
            self._by_address.setdefault((common.url, common.caption), []).append(key)
            self._by_caption.setdefault(common.caption, []).append(key)

    def take(self, row: grit.GritRecord) -> GroundedSample | None:
        """Return the sample of a row."""
        key = row.key if row.key in self._by_key else None
        if key is None and row.url is not None:
            key = self._first(self._by_address.get((row.url, row.caption), ()))
        if key is None and len(alone := self._by_caption.get(row.caption, ())) == 1:
            key = self._first(alone)
            self.by_caption_alone += key is not None
        if key is None:
            return None
        self.taken += 1
        return self._by_key.pop(key)

    def _first(self, keys: Sequence[str]) -> str | None:
        return next((key for key in keys if key in self._by_key), None)


def _image(raw: RawSample) -> npt.NDArray[np.uint8]:
    try:
        return decode(raw.images[0])
    except ImageError as error:
        where = f"{raw.dataset}: shard {raw.shard}, sample {raw.key}"
        raise ValueError(f"{where}: its image does not decode ({error.detail})") from error


def _found(predicted: Grounding, gold: Grounding) -> dict[Span, list[BoxRow]]:
    """Return boxes of chunks, and of expressions that are phrases of the gold and no chunks."""
    annotated = {row.span for row in gold.noun_chunks}
    expressions = boxes_by_span([row for row in predicted.ref_exps if row.span in annotated])
    return expressions | boxes_by_span(predicted.noun_chunks)


def _rows(span: Span, detection: Detection) -> list[BoxRow]:
    boxes, scores = detection.boxes_xyxy.tolist(), detection.scores.tolist()
    return [
        BoxRow(*span, x0, y0, x1, y1, score)
        for (x0, y0, x1, y1), score in zip(boxes, scores, strict=True)
    ]


def _spans(grounding: Grounding) -> set[Span]:
    return {phrase.span for phrase in grounding.phrases if phrase.is_kept}


def _heads(grounding: Grounding) -> set[Span]:
    kept = (phrase for phrase in grounding.phrases if phrase.is_kept)
    return {(phrase.head_start, phrase.head_end) for phrase in kept}


def _corners(rows: Sequence[BoxRow]) -> np.ndarray:
    return np.array([row.box_xyxy for row in rows], np.float64)


def _batches(raws: Iterator[RawSample], size: int) -> Iterator[list[RawSample]]:
    while batch := list(islice(raws, size)):
        yield batch
