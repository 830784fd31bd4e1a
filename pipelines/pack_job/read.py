"""One read item: a part of an input unit becomes records with keys, or reasons.

Goes in: the annotations, and every image once, for its sha256. Comes out: `buckets/N.arrows`, the
records cut by key. A large file that cannot be cut is several items: each reads all of it and
takes every n-th record, because what costs time are the images.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.harness.buckets import append_sorted
from pipelines.harness.leases import Running
from pipelines.pack_job.formats import FORMATS
from pipelines.pack_job.images import size_of
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, BadRecordError, Record, with_images
from pipelines.pack_job.tables import READ
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.identity import image_key, key_words

STAGE = "read"
SIZES = "sizes"  # in the marker: bytes of each bucket's segment

_SAME_SHAPE = 0.01  # relative difference of aspect ratios of an image and its resized copy


@dataclass(frozen=True, kw_only=True)
class ReadItem:
    """Every `parts`-th record of a unit, from `part` on."""

    name: str
    unit: Unit
    number: int  # of the unit
    part: int
    parts: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """What a read item needs to know."""

    format: str
    options: ReadOptions
    max_images: int  # of a document
    limit: int | None  # records of a unit
    num_buckets: int
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Read one part and commit its segments."""
        started_s = time.time()
        item = ReadItem(**{**record, "unit": Unit(**record["unit"])})
        left_out: Counter[str] = Counter()
        facts: Counter[str] = Counter(records=0, images_missing=0, images_over_limit=0)
        rows = []
        for number, record_or_bad in self._records(item):
            facts["records"] += 1
            running.rows_done += 1
            try:
                row = self._row(record_or_bad, facts)
                rows.append(row | {"unit": item.number, "number": number})
            except BadRecordError as error:
                left_out[error.reason] += 1
        table = pa.Table.from_pylist(rows, READ)
        with Attempt(store, running.item) as attempt:
            with open(attempt.path(f"buckets/{item.name}.arrows"), "wb") as file:
                sizes = append_sorted(file, table, self._buckets(table), self.num_buckets)
            result = {
                **facts,
                "readable": len(rows),
                "left_out": dict(sorted(left_out.items())),
                SIZES: sizes,
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))

    def _records(self, item: ReadItem) -> Iterator[tuple[int, Record | Bad]]:
        reader = FORMATS[self.format].reader
        limit = None if self.limit is None else self.limit - item.unit.first_row
        records = enumerate(itertools.islice(reader(item.unit, self.options), limit))
        return ((n, record) for n, record in records if n % item.parts == item.part)

    def _row(self, record: Record | Bad, facts: Counter[str]) -> dict[str, Any]:
        if isinstance(record, Bad):
            raise BadRecordError(record.reason, record.detail)
        if record.origin.coco_id in self.options.exclude:
            raise BadRecordError("excluded", f"image {record.origin.image_id}")
        images = [self.options.images.get(name) for name in record.images]
        if "items" in record.fields:
            keep = [image is not None for image in images]
            facts["images_missing"] += keep.count(False)
            if not any(keep):
                raise BadRecordError("image_missing", f"none of {record.images}")
            over = np.cumsum(keep) > self.max_images
            facts["images_over_limit"] += int((over & keep).sum())
            keep = [kept and not late for kept, late in zip(keep, over.tolist(), strict=True)]
            record = with_images(record, keep)
            images = [image for image, kept in zip(images, keep, strict=True) if kept]
        return _planned(record, images)

    def _buckets(self, table: pa.Table) -> Any:
        keys = pa.concat_arrays([pa.array([], pa.string()), *table.column("key").chunks])
        if not len(keys):
            return np.zeros(0, np.uint32)
        return (key_words(keys)[:, 0] & np.uint64(self.num_buckets - 1)).astype(np.uint32)


def _planned(record: Record, images: Sequence[bytes | None]) -> dict[str, Any]:
    present = [image for image in images if image is not None]
    if len(present) < len(images):
        raise BadRecordError("image_missing", f"not all of {record.images}")
    if record.size_px is not None:
        _check_shape(record.size_px, present[0])
    record_json = record.to_json().decode()  # first: half a surrogate pair has no key either
    return {
        "key": image_key(hashlib.sha256(b"".join(present)).hexdigest(), record.text),
        "source": record.origin.source,
        "source_file": record.origin.source_file,
        "source_row": record.origin.source_row,
        "image_sha256": [hashlib.sha256(image).hexdigest() for image in present],
        "record": record_json,
    }


def _check_shape(size_px: tuple[int, int], image: bytes) -> None:
    """Refuse an image of another shape: it is another image, or was turned or cut."""
    actual_px = size_of(image)
    if actual_px is None:
        return  # not an image: decoding will say why
    if min(size_px) <= 0:
        raise BadRecordError("image_differs", f"{size_px} px are annotated")
    ratio = (size_px[0] * actual_px[1]) / (size_px[1] * actual_px[0])
    if abs(ratio - 1) > _SAME_SHAPE:
        annotated, actual = (f"{width} x {height}" for width, height in (size_px, actual_px))
        detail = f"{annotated} px are annotated, the image has {actual}"
        raise BadRecordError("image_differs", detail)
