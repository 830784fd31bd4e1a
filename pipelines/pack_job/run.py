"""The stages of a packing job, each from the previous one's files to its own.

What a stage of any job does is in `pipelines.harness.staged`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipelines.harness import planfile, rundir
from pipelines.harness.items import BucketItem, PlannedShard, bucket_items, planned_shards
from pipelines.harness.launch import Done, read_results
from pipelines.harness.staged import StagedRun, shard_entry, total
from pipelines.pack_job.read import SIZES
from pipelines.pack_job.settings import Request
from shards import manifest
from shards.card import render
from shards.manifest import Manifest

STAGES = ("read", "mix", "pack")

_IMAGE_FACTS = ("images", "images_missing", "images_over_limit", "images_broken")


@dataclass
class PackRun(StagedRun):
    """A packing job under way."""

    request: Request
    facts: Counter[str] = field(default_factory=Counter)  # of images

    def read(self) -> None:
        """Read the annotations, and every image for its sha256."""
        request = self.request
        results = self.plan_and_run(request.fingerprint, request.read, request.read_items())
        records = sum(done.result["records"] for done in results)
        readable = sum(done.result["readable"] for done in results)
        self.close_stage("read", records, readable, total(results, "left_out"))
        self._count(results)

    def mix(self) -> None:
        """Deduplicate, order and plan the shards."""
        fingerprint = self.request.mix_fingerprint(self.fingerprints["read"])
        results = self.plan_and_run(fingerprint, self.request.mix, self._mix_items(), per_file=1)
        readable = sum(done.result["readable"] for done in results)
        planned = sum(done.result["planned"] for done in results)
        self.close_stage("mix", readable, planned, total(results, "left_out"))
        if not planned:
            why = ", ".join(f"{n} {c:,}" for n, c in self.lines[0].left_out.items()) or "no record"
            raise ValueError(f"no record can be used ({why}); see docs/packing.md for the reasons")

    def pack(self) -> None:
        """Write the shards."""
        fingerprint = self.request.pack_fingerprint(self.fingerprints["mix"])
        results = self.plan_and_run(fingerprint, self.request.pack, self._pack_items())
        planned = sum(done.result["planned"] for done in results)
        samples = sum(done.result["samples"] for done in results)
        self.close_stage("pack", planned, samples, total(results, "outcomes"))
        self._count(results)
        written = Manifest(
            stage="pack",
            extension=self.request.spec.encode_format,
            level=self.request.format.level,
            counts=self.counts(),
            fingerprints=dict(self.fingerprints),
            shards=tuple(shard_entry(done) for done in results),
        )
        self.store.write("README.md", render(written).encode())
        manifest.write(self.store, written)

    def summary(self) -> list[str]:
        """Return the accounting of the stages, and what became of images."""
        lines = [f"{'stage':<10}{'in':>14}{'out':>14}  left out"]
        for line in self.lines:
            left = ", ".join(f"{name} {count:,}" for name, count in line.left_out.items() if count)
            lines.append(f"{line.stage:<10}{line.into:>14,}{line.out:>14,}  {left or 'nothing'}")
        images = ", ".join(f"{name} {self.facts[name]:,}" for name in _IMAGE_FACTS)
        return [
            *lines,
            f"{self.request.format.level} samples; {images}",
            f"output: {self.store.root}",
        ]

    def plan(self) -> list[str]:
        """Return what would be done."""
        request = self.request
        size = sum(unit.size for unit in request.units)
        items = sum(1 for _ in request.read_items())
        done = [stage for stage in STAGES if planfile.read_head(self.store, stage)]
        return [
            f"{request.format.name}: {request.format.about}; samples of level "
            f"{request.format.level}",
            f"{len(request.units):,} parts of the input, {size / 1e6:,.1f} MB of annotations, "
            f"{items:,} items to read",
            f"images in {', '.join(request.pack.images.places) or 'no folder: the set has none'}",
            f"planned or done already: {', '.join(done) or 'nothing'}",
        ]

    def write_run_json(self, command: Sequence[str]) -> None:
        """Record what this run is, unless an earlier start of it did."""
        inputs = [
            {"name": unit.name, "size": unit.size, "sha256": unit.identity}
            for unit in self.request.units
        ]
        rundir.write_run_json(self.store, "pack", command, self.request.options, {"inputs": inputs})

    def _count(self, results: Sequence[Done]) -> None:
        for done in results:
            self.facts.update({name: done.result.get(name, 0) for name in _IMAGE_FACTS})

    def _mix_items(self) -> Iterator[BucketItem]:
        results = read_results(self.store, "read", trim=lambda result: {SIZES: result[SIZES]})
        files = [f"buckets/{done.name}.arrows" for done in results]
        return bucket_items(files, [done.result[SIZES] for done in results])

    def _pack_items(self) -> Iterator[PlannedShard]:
        results = read_results(self.store, "mix")
        planned = ((done.name, done.result["planned"]) for done in results)
        return planned_shards(planned, self.request.mix.shard_size)
