"""One pack item: a shard, its images stored as the store's settings say.

Goes in: a row group of the plan, and the images. Comes out: `shards/N.tar` and `shards/N.parquet`.
A sample with an image that cannot be used has that outcome in the sidecar; a document goes
without the image, as long as it has another.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.harness.items import PlannedShard
from pipelines.harness.leases import Running
from pipelines.pack_job.images import Images
from pipelines.pack_job.records import Record, with_images
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.image import ImageError, Stored, StoreSpec, store
from shards.sample import compact_json, contract_fields
from shards.shard_writer import ShardWriter

STAGE = "pack"


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What a pack item needs to know."""

    images: Images
    spec: StoreSpec
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Write one shard and commit it."""
        started_s, item = time.time(), PlannedShard(**record)
        with store.open(item.plan) as file:
            rows = parquet.read(file, row_group=item.row_group).to_pylist()
        assert len(rows) == item.rows, (item, len(rows))
        facts: Counter[str] = Counter(images=0, images_broken=0)
        with Attempt(store, running.item) as attempt:
            with ShardWriter(attempt, item.name) as shard:
                for row in rows:
                    self._add(shard, row, facts)
                    running.rows_done += 1
            result = {**shard.counts(), **facts}
            return commit(attempt, result, claimed=False, run=run_facts(started_s))

    def _add(self, shard: ShardWriter, row: Mapping[str, Any], facts: Counter[str]) -> None:
        """Append a sample, or why it is none."""
        record = Record.from_json(json.loads(row["record"]))
        data = [
            self._image(name, sha256)
            for name, sha256 in zip(record.images, row["image_sha256"], strict=True)
        ]
        sha256 = hashlib.sha256(b"".join(data)).hexdigest()
        tried = [_stored(image, self.spec) for image in data]
        images = [image for image in tried if isinstance(image, Stored)]
        errors = [image for image in tried if isinstance(image, ImageError)]
        if "items" in record.fields and images:
            record = with_images(record, [isinstance(image, Stored) for image in tried])
            facts["images_broken"] += len(errors)
            errors = []
        fields = sample_fields(record, row["key"], sha256, [] if errors else images)
        if errors:
            shard.fail(fields, errors[0].outcome, errors[0].detail)
            return
        facts["images"] += len(images)
        kind = self.spec.encode_format
        names = [kind] if len(images) == 1 else [f"{i}.{kind}" for i in range(len(images))]
        members = {
            **{name: image.data for name, image in zip(names, images, strict=True)},
            "txt": record.text.encode(),
            "json": compact_json(fields).encode(),
        }
        shard.add(fields, members)

    def _image(self, name: str, sha256: str) -> bytes:
        data = self.images.get(name)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            what = "is gone" if data is None else "is another image"
            raise ValueError(
                f"{name} {what} since the records were read; put it back, or begin again with "
                "--overwrite"
            )
        return data


def sample_fields(
    record: Record, key: str, sha256: str, images: Sequence[Stored]
) -> dict[str, Any]:
    """Return a sample's JSON: every field of the contract, its level's, and the image's id."""
    origin, alone = record.origin, images[0] if len(images) == 1 else None
    known = {
        "key": key,
        "caption": record.text,
        "width": alone and alone.width,
        "height": alone and alone.height,
        "original_width": alone and alone.original_width,
        "original_height": alone and alone.original_height,
        "sha256": sha256,
        "language": origin.language,
        "source": origin.source,
        "source_file": origin.source_file,
        "source_row": origin.source_row,
        "source_key": origin.source_key,
    }
    is_text = not record.fields and not record.images  # which adds nothing
    shared = {} if is_text else {"image_id": origin.image_id}
    return {**contract_fields(known), **record.fields, **shared}


def _stored(data: bytes, spec: StoreSpec) -> Stored | ImageError:
    try:
        return store(data, spec)
    except ImageError as error:
        return error
