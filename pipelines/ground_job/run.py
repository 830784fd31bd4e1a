"""The stages of a grounding job, each from the previous one's files to its own.

What a stage of any job does is in `pipelines.harness.staged`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grounding import selection
from grounding.selection import Cut, Histogram
from pipelines.ground_job import settings
from pipelines.ground_job.boxes import SIZES, BoxesItem
from pipelines.ground_job.choose import by_image
from pipelines.ground_job.labels import PART_ROWS, LabelOutcome, PartItem
from pipelines.ground_job.options import GROUND_OPTIONS
from pipelines.ground_job.phrases import PhraseOutcome, ShardItem
from pipelines.ground_job.request import GroundRequest
from pipelines.ground_job.select import SelectItem
from pipelines.harness import accounting, planfile, rundir
from pipelines.harness.items import BucketItem, PlannedShard, bucket_items, planned_shards
from pipelines.harness.launch import Done, read_results
from pipelines.harness.staged import StagedRun, shard_entry, total
from shards import manifest
from shards.card import render
from shards.dataset import Dataset
from shards.files import commit, parquet
from shards.identity import Domain, choice, fraction_threshold
from shards.manifest import Manifest

YIELDS = "stats/yields.json"
"""From captions to boxes: what each step left, the scores, the commonest heads with a box."""


@dataclass
class GroundRun(StagedRun):
    """A grounding job under way."""

    request: GroundRequest
    dataset: Dataset
    detector: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # what the summary tells

    def write_run_json(self, command: Sequence[str]) -> None:
        """Record what this run is, unless an earlier start of it did."""
        read = {
            "spec": self.dataset.spec,
            "fingerprint": self.dataset.fingerprint,
            "samples": self.dataset.samples,
        }
        options = self.request.recorded(GROUND_OPTIONS)
        rundir.write_run_json(self.store, "ground", command, options, {"input": read})

    def phrases(self) -> None:
        """Extract the phrases of every caption."""
        mark = settings.phrases_fingerprint(self.request, self.dataset)
        config = settings.phrases_config(self.request, self.dataset)
        results = self.plan_and_run(mark, config, shard_items(self.dataset, self.request))
        samples = sum(done.result["samples"] for done in results)
        outcomes = total(results, "outcomes")
        with_phrases = outcomes.pop(PhraseOutcome.WITH_PHRASES, 0)
        self.close_stage("phrases", samples, with_phrases, outcomes)
        self.facts["chunks_kept"] = sum(done.result["chunks_kept"] for done in results)
        self.facts["chunks_dropped"] = dict(sorted(total(results, "chunks_dropped").items()))

    def labels(self) -> None:
        """Run the detector over every image with phrases."""
        mark = settings.labels_fingerprint(self.request, self.dataset, self.fingerprints["phrases"])
        config = settings.labels_config(self.request, self.dataset)
        results = self.plan_and_run(mark, config, self._parts())
        outcomes = total(results, "outcomes")
        samples = sum(outcomes.values())
        labelled = outcomes.pop(LabelOutcome.LABELLED, 0)
        self.close_stage("labels", samples, labelled, outcomes)
        names = {done.result["detector"] for done in results}
        self.detector = min(names, default="")
        self.facts["detector_problems"] = dict(sorted(total(results, "problems").items()))
        self.facts["upsampled"] = sum(done.result["upsampled"] for done in results)

    def boxes(self) -> None:
        """Apply thresholds and suppression, and cut by image."""
        mark = settings.boxes_fingerprint(self.request, self.fingerprints["labels"])
        config = settings.boxes_config(self.request, self.dataset)
        results = self.plan_and_run(mark, config, self._boxes_items())
        labelled = sum(done.result["labelled"] for done in results)
        eligible = sum(done.result["eligible"] for done in results)
        self.close_stage("boxes", labelled, eligible, total(results, "left_out"))
        for name in ("box_outcomes", "images_by_boxes", "chunks_by_boxes", "scores"):
            self.facts[name] = dict(sorted(total(results, name).items()))
        self.facts["whole_image_boxes"] = sum(done.result["whole_image_boxes"] for done in results)
        self.facts["heads"] = _heads(results)

    def choose(self) -> Histogram:
        """Let every image count once; returns the histogram of all of them."""
        mark = settings.choose_fingerprint(self.request, self.fingerprints["boxes"])
        results = self.plan_and_run(
            mark, settings.choose_config(self.request), self._choose_items()
        )
        eligible = sum(done.result["eligible"] for done in results)
        chosen = sum(done.result["chosen"] for done in results)
        self.close_stage("choose", eligible, chosen, total(results, "left_out"))
        histogram = Histogram.empty()
        for done in results:
            counts = np.frombuffer(self.store.read(f"choice/{done.name}.hist"), "<i8")
            histogram.counts[:] += counts.reshape(histogram.counts.shape)
        self.facts["images"] = {"one_box": histogram.single, "two_boxes": histogram.multi}
        return histogram

    def select(self, histogram: Histogram) -> None:
        """Apply the two-box rule and plan the new shards."""
        cut = self._cut(histogram)
        mark = settings.select_fingerprint(self.request, self.fingerprints["choose"])
        names = planfile.read_names(self.store, "choose")
        items = (SelectItem(name=name) for name in names)
        config = settings.select_config(self.request, cut)
        results = self.plan_and_run(mark, config, items, per_file=1)
        chosen = sum(done.result["chosen"] for done in results)
        planned = sum(done.result["planned"] for done in results)
        self.close_stage("select", chosen, planned, total(results, "left_out"))
        images = sum(done.result["images"] for done in results)
        multi = sum(done.result["images_two_boxes"] for done in results)
        above, whole = settings.share(self.request)
        if whole * multi <= above * images:
            raise accounting.AccountingError(
                f"{multi} of {images} selected images have two boxes, which is not above "
                f"{above}/{whole}; please report this with the run's stats folder"
            )
        self.facts["selected"] = {"images": images, "two_boxes": multi}

    def pack(self) -> None:
        """Write the new shards."""
        mark = settings.pack_fingerprint(self.request, self.fingerprints["select"])
        config = settings.pack_config(self.request, self.dataset, self.detector)
        results = self.plan_and_run(mark, config, self._pack_items())
        planned = sum(done.result["planned"] for done in results)
        samples = sum(done.result["samples"] for done in results)
        self.close_stage("pack", planned, samples, total(results, "outcomes"))
        written = Manifest(
            stage="ground",
            extension=self._extension(),
            level="grounded",
            counts=self.counts(),
            fingerprints=dict(self.fingerprints),
            shards=tuple(shard_entry(done) for done in results),
        )
        self.store.write(YIELDS, commit.encode(self.facts))
        self.store.write("README.md", render(written).encode())
        manifest.write(self.store, written)

    def _parts(self) -> Iterator[PartItem]:
        for record in planfile.read_all(self.store, "phrases"):
            for number, first in enumerate(range(0, record["rows"], PART_ROWS)):
                yield PartItem(
                    name=f"{record['name']}-{number:02d}",
                    shard=record["shard"],
                    shard_name=record["name"],
                    first=first,
                    rows=min(PART_ROWS, record["rows"] - first),
                )

    def _boxes_items(self) -> Iterator[BoxesItem]:
        parts = planfile.read_all(self.store, "labels")
        for name, group in itertools.groupby(parts, key=lambda record: record["shard_name"]):
            records = list(group)
            names = tuple(record["name"] for record in records)
            yield BoxesItem(name=name, shard=records[0]["shard"], parts=names)

    def _choose_items(self) -> Iterator[BucketItem]:
        results = read_results(self.store, "boxes", trim=lambda result: {SIZES: result[SIZES]})
        files = [f"boxes/{done.name}.arrows" for done in results]
        return bucket_items(files, [done.result[SIZES] for done in results])

    def _pack_items(self) -> Iterator[PlannedShard]:
        results = read_results(self.store, "select")
        planned = ((done.name, done.result["planned"]) for done in results)
        return planned_shards(planned, self.request.shard_size)

    def _cut(self, histogram: Histogram) -> Cut:
        target = self.request.target or histogram.single + histogram.multi
        share = settings.share(self.request)
        cut = selection.cut(histogram, target, share, self.request.policy, exact=self.request.exact)
        if self.request.exact:
            cut = cut.exactly(self._boundary(cut))
        self.facts["target"] = target
        return cut

    def _boundary(self, cut: Cut) -> Iterator[tuple[int, int, str]]:
        """Yield the images in the buckets that are kept in part."""
        for name in planfile.read_names(self.store, "choose"):
            with self.store.open(f"choice/{name}.parquet") as file:
                table = parquet.read(file, ["image", "num_boxes"]).combine_chunks()
            boxes, keys = by_image(table)
            ranks = selection.ranks(keys, self.request.seed)
            for row in np.flatnonzero(cut.on_boundary(ranks, boxes)).tolist():
                yield int(ranks[row]), int(boxes[row]), keys[row].as_py()

    def _extension(self) -> str:
        if self.dataset.kind == "run":
            return manifest.read(self.dataset.store).extension or "jpg"
        return "jpg"


def shard_items(dataset: Dataset, request: GroundRequest) -> Iterator[ShardItem]:
    """Yield the input's shards: a sample of them by hash, or as far as the limit goes."""
    left = dataset.samples if request.limit is None else request.limit
    ids = np.stack([np.arange(len(dataset.shards))] * 2, axis=1).astype(np.uint64)
    drawn = choice(Domain.SAMPLE, request.seed, ids)
    for shard, (name, count) in enumerate(zip(dataset.shards, dataset.counts, strict=True)):
        is_out = request.sample is not None and drawn[shard] >= fraction_threshold(request.sample)
        rows = min(left, count)
        if is_out or not rows:
            continue
        left -= rows
        yield ShardItem(name=name, shard=shard, rows=rows)


def _heads(results: Sequence[Done]) -> dict[str, list[int]]:
    """Return how often the commonest heads came, and how often with a box."""
    came: Counter[str] = Counter()
    boxed: Counter[str] = Counter()
    for done in results:
        for head, (count, with_box) in done.result["heads"].items():
            came[head] += count
            boxed[head] += with_box
    return {head: [count, boxed[head]] for head, count in came.most_common(50)}
