"""One boxes item: thresholds and suppression over the labels of an input shard.

Goes in: phrases and labels of a shard. Comes out: `boxes/N.arrows`, the samples with enough boxes
cut into buckets by image, each with its finished grounding. Cheap: to change a threshold, only the
stages from here on are run again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from grounding.align import LabelRules, Labels, align
from grounding.detector import Detection
from grounding.label_files import read_labels, read_phrases
from pipelines.ground_job.foreign import contract_fields
from pipelines.ground_job.labels import LabelOutcome
from pipelines.harness.buckets import append_sorted
from pipelines.harness.leases import Running
from shards.access import SampleReader
from shards.dataset import Dataset
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.grounded import Phrase
from shards.reading.sample_error import SampleError
from shards.sample import compact_json
from shards.schema import BOXED

STAGE = "boxes"
SIZES = "sizes"  # in the marker: bytes of each bucket's segment

NO_BOX = "no_box"
TOO_FEW = "below_min_boxes"

_TOP_HEADS = 200  # of an item, in its statistics
_SCORE_BINS = 20  # of 0..1
_WHOLE_IMAGE = 0.95  # share of the image that counts as all of it in the statistics


@dataclass(frozen=True, kw_only=True)
class BoxesItem:
    """One input shard with its parts."""

    name: str
    shard: int
    parts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class BoxesConfig:
    """What a boxes item needs to know."""

    dataset: Dataset
    rules: LabelRules
    min_boxes: int  # fewer, and the sample is out
    num_buckets: int
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Align one shard and commit its segments."""
        started_s = time.time()
        item = BoxesItem(**{**record, "parts": tuple(record["parts"])})
        counts = _Counts()
        rows = [*self._rows(store, item, counts)]
        running.rows_done = counts.labelled
        table = pa.Table.from_pylist(rows, BOXED)
        buckets = bucket_of_images([row["image"] for row in rows], self.num_buckets)
        with Attempt(store, running.item) as attempt:
            with open(attempt.path(f"boxes/{item.name}.arrows"), "wb") as file:
                sizes = append_sorted(file, table, buckets, self.num_buckets)
            result = {
                "labelled": counts.labelled,
                "eligible": len(rows),
                "left_out": dict(sorted(counts.left_out.items())),
                "two_boxes": sum(row["num_boxes"] >= 2 for row in rows),
                SIZES: sizes,
                **counts.statistics(),
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))

    def _rows(self, store: Store, item: BoxesItem, counts: _Counts) -> Iterator[dict[str, Any]]:
        phrases = read_phrases(store, item.name)
        row_of_key = {key: row for row, key in enumerate(phrases)}
        reader = SampleReader(self.dataset)
        for part in item.parts:
            for label in read_labels(store, f"labels/{part}.parquet", phrases):
                if label["outcome"] != LabelOutcome.LABELLED:
                    continue
                row, own = row_of_key[label["key"]], phrases[label["key"]]
                labels = align(own, detections(own, label["boxes"]), self.rules)
                counts.add(own, labels, label["boxes"])
                if labels.boxes < self.min_boxes:
                    counts.left_out[TOO_FEW if labels.boxes else NO_BOX] += 1
                    continue
                key = self._key(reader, item.shard, row, label["key"])
                yield {
                    "key": key,
                    "image": label["image"],
                    "shard": item.shard,
                    "row": row,
                    "num_boxes": labels.boxes,
                    "mean_score": float(np.mean([score for *_, score in labels.noun_chunks])),
                    "grounding": grounding_json(own, labels),
                }

    def _key(self, reader: SampleReader, shard: int, row: int, key: str) -> str:
        if self.dataset.kind == "run":
            return key
        raw = reader.read(shard, row)
        assert not isinstance(raw, SampleError)
        return str(contract_fields(raw, self.dataset.kind, row)["key"])


class _Counts:
    """What there was to align, and what became of it."""

    def __init__(self) -> None:
        self.labelled = 0
        self.left_out: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._boxes_of_image: Counter[int] = Counter()
        self._heads: Counter[str] = Counter()
        self._heads_boxed: Counter[str] = Counter()
        self._boxes_of_chunk: Counter[int] = Counter()
        self._scores: Counter[int] = Counter()
        self._whole_image = 0

    def add(
        self, phrases: Sequence[Phrase], labels: Labels, detected: Sequence[Mapping[str, Any]]
    ) -> None:
        self.labelled += 1
        bins = (int(box["score"] * _SCORE_BINS) for box in detected)
        self._scores.update(min(number, _SCORE_BINS - 1) for number in bins)
        self._boxes_of_image[min(labels.boxes, 10)] += 1
        self._outcomes.update(str(outcome) for phrase in labels.outcomes for outcome in phrase)
        boxes = Counter((row[0], row[1]) for row in labels.noun_chunks)
        areas = [(row[4] - row[2]) * (row[5] - row[3]) for row in labels.noun_chunks]
        self._whole_image += sum(area > _WHOLE_IMAGE for area in areas)
        for phrase in phrases:
            if phrase.is_kept:
                count = boxes[phrase.span]
                self._boxes_of_chunk[count] += 1
                self._heads[phrase.head_lemma] += 1
                self._heads_boxed[phrase.head_lemma] += count > 0

    def statistics(self) -> dict[str, Any]:
        """Return the counts by name; of the heads those that come most often."""
        heads = sorted(self._heads.items(), key=lambda item: (-item[1], item[0]))[:_TOP_HEADS]
        return {
            "box_outcomes": dict(sorted(self._outcomes.items())),
            "images_by_boxes": {
                f"{boxes:02d}": count for boxes, count in sorted(self._boxes_of_image.items())
            },
            "chunks_by_boxes": {
                f"{boxes:02d}": count for boxes, count in sorted(self._boxes_of_chunk.items())
            },
            "scores": {f"{bin:02d}": count for bin, count in sorted(self._scores.items())},
            "whole_image_boxes": self._whole_image,
            "heads": {head: [count, self._heads_boxed[head]] for head, count in heads},
        }


def detections(phrases: Sequence[Phrase], boxes: Sequence[Mapping[str, Any]]) -> list[Detection]:
    """Return what a detector found, phrase by phrase, from a row of labels."""
    boxes_of_phrase: list[list[Mapping[str, Any]]] = [[] for _ in phrases]
    for box in boxes:
        boxes_of_phrase[box["phrase"]].append(box)
    return [_detection(own) for own in boxes_of_phrase]


def _detection(boxes: Sequence[Mapping[str, Any]]) -> Detection:
    sides = [[box[name] for name in ("x0", "y0", "x1", "y1")] for box in boxes]
    scores = [box["score"] for box in boxes]
    return Detection(np.array(sides, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def grounding_json(phrases: Sequence[Phrase], labels: Labels) -> str:
    """Return what a grounded sample's JSON adds, with floats as float32 prints them."""
    return compact_json(
        {
            "phrases": [phrase.to_json() for phrase in phrases],
            "noun_chunks": labels.noun_chunks,
            "ref_exps": labels.ref_exps,
        }
    )


def bucket_of_images(images: Sequence[bytes], num_buckets: int) -> Any:
    """Return the bucket of every image: its hash is uniform as it is."""
    words = np.frombuffer(b"".join(images), ">u4").reshape(-1, 4)[:, 0]
    return (words.astype(np.uint32)) & np.uint32(num_buckets - 1)
