"""One labels item: a detector looks for the phrases of up to 1,000 samples in their images.

Goes in: a part of an input shard and its phrases. Comes out: `labels/N-PP.parquet` with every box
above the floor, so that thresholds can change without the detector. A claim fixes the numbers of a
GPU, which may differ from run to run; all stages after it are pure.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from grounding.detector import Detection, Detector, Span, problems_of
from pipelines.ground_job.detecting import DetectorSpec
from pipelines.ground_job.foreign import image_hash
from pipelines.ground_job.phrases import PhraseOutcome
from pipelines.harness.leases import Running
from shards.access import RawSample, SampleReader
from shards.dataset import Dataset
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.grounded import Phrase
from shards.image import ImageError, decode
from shards.reading.sample_error import SampleError
from shards.schema import LABELS

STAGE = "labels"
PART_ROWS = 1000
"""Samples of a part: what is lost where a process dies."""

_MOST_UPSAMPLED = 0.5


class LabelOutcome(StrEnum):
    """What became of a sample with phrases."""

    LABELLED = "labelled"
    IMAGE_DAMAGED = "image_damaged"
    SAMPLE_DAMAGED = "sample_damaged"
    NOT_FINITE = "detector_not_finite"  # it answered with NaN or infinity


@dataclass(frozen=True, kw_only=True)
class PartItem:
    """Some samples of an input shard."""

    name: str
    shard: int
    shard_name: str
    first: int  # row
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """What a labels item needs to know."""

    dataset: Dataset
    detector: DetectorSpec
    floor: float  # boxes with a lower score are not recorded
    batch: int  # images that the detector is given at a time
    allow_upsampled: bool
    upsampled_from: int = 100  # images from which on a share of enlarged ones means something
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Label one part and commit it."""
        return _Part(self, store, PartItem(**record), running).process()


@dataclass
class _Waiting:
    """A sample whose image is decoded and waits for the detector."""

    row: int
    image: npt.NDArray[np.uint8]
    caption: str
    spans: dict[int, Span]  # of the phrases to look for, by their number among all


class _Part:
    def __init__(
        self, config: LabelsConfig, store: Store, item: PartItem, running: Running
    ) -> None:
        self.config, self.store, self.item, self.running = config, store, item, running
        self.rows: dict[int, dict[str, Any]] = {}
        self.detector: Detector = config.detector.load()
        self.problems_before = problems_of(self.detector)

    def process(self) -> Result:
        started_s = time.time()
        wanted = self._wanted()
        reader = SampleReader(self.config.dataset)
        raws = reader.read_many((self.item.shard, row) for row in wanted)
        waiting: list[_Waiting] = []
        for (row, phrases), raw in zip(wanted.items(), raws, strict=True):
            ready = self._ready(row, raw, phrases)
            waiting += [ready] if ready is not None else []
            if len(waiting) >= self.config.batch:
                self._detect(waiting)
                waiting = []
        self._detect(waiting)
        self._check_upsampled()
        return self._commit(started_s)

    def _wanted(self) -> dict[int, list[Phrase]]:
        """Return the rows of this part that have something to look for, with all phrases."""
        name = f"phrases/{self.item.shard_name}.parquet"
        with self.store.open(name) as file:
            table = parquet.read(file)
        part = table.slice(self.item.first, self.item.rows).to_pylist()
        return {
            self.item.first + nth: [Phrase(**record) for record in row["phrases"]]
            for nth, row in enumerate(part)
            if row["outcome"] == PhraseOutcome.WITH_PHRASES
        }

    def _ready(
        self, row: int, raw: RawSample | SampleError, phrases: Sequence[Phrase]
    ) -> _Waiting | None:
        if isinstance(raw, SampleError):
            self._fail(row, raw.key or "", LabelOutcome.SAMPLE_DAMAGED)
            return None
        try:
            fields, image = raw.fields(), decode(raw.images[0])
        except SampleError:
            self._fail(row, raw.key, LabelOutcome.SAMPLE_DAMAGED)
            return None
        except ImageError:
            self._fail(row, raw.key, LabelOutcome.IMAGE_DAMAGED)
            return None
        height, width = image.shape[:2]
        self.rows[row] = {
            "key": raw.key,
            "outcome": LabelOutcome.LABELLED,
            "image": image_hash(fields, raw.images[0]),
            "width": width,
            "height": height,
            "upsampled": self.detector.upsamples(width, height),
            "boxes": [],
        }
        spans = {n: phrase.span for n, phrase in enumerate(phrases) if phrase.is_kept}
        return _Waiting(row, image, raw.text.decode(), spans)

    def _fail(self, row: int, key: str, outcome: LabelOutcome) -> None:
        unknown = dict.fromkeys(("image", "width", "height", "upsampled"))
        self.rows[row] = {"key": key, "outcome": outcome, **unknown, "boxes": []}

    def _detect(self, waiting: Sequence[_Waiting]) -> None:
        if not waiting:
            return
        batch = self.detector.detect(
            [sample.image for sample in waiting],
            [sample.caption for sample in waiting],
            [[*sample.spans.values()] for sample in waiting],
        )
        for sample, detections in zip(waiting, batch, strict=True):
            assert len(detections) == len(sample.spans), (self.detector.name, len(detections))
            if all(_is_finite(detection) for detection in detections):
                by_phrase = dict(zip(sample.spans, detections, strict=True))
                self.rows[sample.row]["boxes"] = _boxes(by_phrase, self.config.floor)
            else:
                self._fail(sample.row, self.rows[sample.row]["key"], LabelOutcome.NOT_FINITE)
        self.running.rows_done += len(waiting)

    def _check_upsampled(self) -> None:
        """Stop before weeks are spent on images that the detector has to enlarge."""
        seen = [row["upsampled"] for row in self.rows.values() if row["upsampled"] is not None]
        if (
            len(seen) >= self.config.upsampled_from
            and sum(seen) > _MOST_UPSAMPLED * len(seen)
            and not self.config.allow_upsampled
        ):
            raise ValueError(
                f"shard {self.item.shard_name}: {sum(seen)} of {len(seen)} images are smaller than "
                f"{self.detector.name} looks at; small things are lost. Store larger images "
                "(--store ground), a smaller input of the detector, or --allow_upsampled"
            )

    def _commit(self, started_s: float) -> Result:
        rows = [self.rows[row] for row in sorted(self.rows)]
        outcomes = Counter(str(row["outcome"]) for row in rows)
        schema = parquet.storage_schema(LABELS)
        columns = {
            name: [str(row[name]) if name == "outcome" else row[name] for row in rows]
            for name in schema.names
        }
        table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
        problems = problems_of(self.detector) - self.problems_before
        with Attempt(self.store, self.running.item) as attempt:
            parquet.write(attempt.path(f"labels/{self.item.name}.parquet"), [table], LABELS)
            result = {
                "samples": len(rows),
                "outcomes": dict(sorted(outcomes.items())),
                "upsampled": sum(bool(row["upsampled"]) for row in rows),
                "boxes": sum(len(row["boxes"]) for row in rows),
                "detector": self.detector.name,
                "problems": dict(sorted(problems.items())),
            }
            return commit(attempt, result, claimed=True, run=run_facts(started_s))


def _is_finite(detection: Detection) -> bool:
    return bool(np.isfinite(detection.boxes_xyxy).all() and np.isfinite(detection.scores).all())


def _boxes(detections: Mapping[int, Detection], floor: float) -> list[dict[str, Any]]:
    return [
        {
            "phrase": number,
            **dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True)),
            "score": float(score),
        }
        for number, detection in detections.items()
        for box, score in zip(detection.boxes_xyxy, detection.scores, strict=True)
        if score > floor
    ]
