"""The stages of a packing job, each from the previous one's files to its own.

As in the other jobs a stage is planned from done-markers, run by the launcher and checked, and a
finished one is only read.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipelines import accounting
from pipelines.accounting import Line
from pipelines.launch import Done, Launch, check_fingerprint, plan_stage, read_results, run_stage
from pipelines.pack_job.options import SET_OPTIONS, STORE_OPTIONS
from pipelines.pack_job.read import SIZES
from pipelines.pack_job.settings import Request
from pipelines.progress import Progress
from pipelines.rundir import RUN_JSON
from pipelines.stages import gc_min_age_s, shard_entry
from pipelines.worker import StageConfig
from pipelines.workplan import planfile
from pipelines.workplan.fingerprint import Fingerprint
from pipelines.workplan.items import BucketItem, PlannedShard, bucket_items, planned_shards
from shards import commit, manifest
from shards.card import render
from shards.manifest import Manifest
from shards.schema import CONTRACT_VERSION
from shards.store import Store

STAGES = ("read", "mix", "pack")

_IMAGE_FACTS = ("images", "images_missing", "images_over_limit", "images_broken")


@dataclass
class PackRun:
    """A packing job under way."""

    values: argparse.Namespace
    launch: Launch
    request: Request
    progress: Progress = field(default_factory=Progress)
    fingerprints: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    library_changes: list[str] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)  # of images

    @property
    def store(self) -> Store:
        """The run directory."""
        return self.launch.store

    def read(self) -> None:
        """Read the annotations, and every image for its sha256."""
        found = self.request.fingerprint
        results = self._stage(found, self.request.read, self.request.read_items())
        records = sum(each.result["records"] for each in results)
        readable = sum(each.result["readable"] for each in results)
        self._close("read", records, readable, _total(results, "left_out"))
        self._count(results)

    def mix(self) -> None:
        """Deduplicate, order and plan the shards."""
        found = self.request.mix_fingerprint(self.fingerprints["read"])
        results = self._stage(found, self.request.mix, self._mix_items(), per_file=1)
        readable = sum(each.result["readable"] for each in results)
        planned = sum(each.result["planned"] for each in results)
        self._close("mix", readable, planned, _total(results, "left_out"))
        if not planned:
            why = ", ".join(f"{n} {c:,}" for n, c in self.lines[0].left_out.items()) or "no record"
            raise ValueError(f"no record can be used ({why}); see docs/packing.md for the reasons")

    def pack(self) -> None:
        """Write the shards."""
        found = self.request.pack_fingerprint(self.fingerprints["mix"])
        results = self._stage(found, self.request.pack, self._pack_items())
        planned = sum(each.result["planned"] for each in results)
        samples = sum(each.result["samples"] for each in results)
        self._close("pack", planned, samples, _total(results, "outcomes"))
        self._count(results)
        written = Manifest(
            stage="pack",
            extension=self.request.spec.encode_format,
            level=self.request.format.level,
            counts={line.stage: line.to_json() for line in self.lines},
            fingerprints=dict(self.fingerprints),
            shards=tuple(shard_entry(each) for each in results),
        )
        self.store.write("README.md", render(written).encode())
        manifest.write(self.store, written)

    def summary(self) -> list[str]:
        """Return the accounting of the stages, and what became of images."""
        told = [f"{'stage':<10}{'in':>14}{'out':>14}  left out"]
        for line in self.lines:
            left = ", ".join(f"{name} {count:,}" for name, count in line.left_out.items() if count)
            told.append(f"{line.stage:<10}{line.into:>14,}{line.out:>14,}  {left or 'nothing'}")
        images = ", ".join(f"{name} {self.facts[name]:,}" for name in _IMAGE_FACTS)
        return [
            *told,
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
            f"images in {', '.join(request.pack.images.places) or 'no place: the set has none'}",
            f"planned or done already: {', '.join(done) or 'nothing'}",
        ]

    def write_run_json(self, command: Sequence[str]) -> None:
        """Record what this run is, unless an earlier start of it did."""
        recorded = {
            "contract_version": CONTRACT_VERSION,
            "started_s": round(time.time(), 3),
            "command": list(command),
            "inputs": [
                {"name": unit.name, "size": unit.size, "sha256": unit.identity}
                for unit in self.request.units
            ],
            "options": {
                option.name: getattr(self.values, option.name)
                for option in (*SET_OPTIONS, *STORE_OPTIONS)
            },
            "library_changes": [],
        }
        self.store.create(RUN_JSON, commit.encode(recorded))

    def _stage(
        self,
        found: Fingerprint,
        config: StageConfig,
        items: Iterable[planfile.Plannable],
        per_file: int = planfile.ITEMS_PER_FILE,
    ) -> list[Done]:
        """Plan and run a stage, and return what its items did."""
        self.library_changes += check_fingerprint(
            self.store, found, self.values.allow_library_change
        )
        planned = planfile.read_head(self.store, found.stage) is not None
        self.fingerprints[found.stage] = plan_stage(
            self.store, found, None if planned else items, per_file
        )
        run_stage(self.launch, config, self.progress)
        return read_results(self.store, found.stage)

    def _close(self, stage: str, into: int, out: int, left_out: Counter[str]) -> None:
        """Check a finished stage against the one before, and clean up."""
        self.lines.append(Line(stage, into, out, dict(sorted(left_out.items()))).check())
        accounting.check_chain(self.lines)
        winners = {each.name: each.run["attempt"] for each in read_results(self.store, stage)}
        age_s = gc_min_age_s(self.store, self.values)
        commit.collect_garbage(self.store, stage, winners, age_s)

    def _count(self, results: Sequence[Done]) -> None:
        for each in results:
            self.facts.update({name: each.result.get(name, 0) for name in _IMAGE_FACTS})

    def _mix_items(self) -> Iterator[BucketItem]:
        done = read_results(self.store, "read", trim=lambda result: {SIZES: result[SIZES]})
        files = [f"buckets/{each.name}.arrows" for each in done]
        return bucket_items(files, [each.result[SIZES] for each in done])

    def _pack_items(self) -> Iterator[PlannedShard]:
        done = read_results(self.store, "mix")
        planned = ((each.name, each.result["planned"]) for each in done)
        return planned_shards(planned, self.values.shard_size)


def _total(results: Sequence[Done], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in results:
        total.update(each.result[name])
    return total
