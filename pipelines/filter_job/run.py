"""The stages of the filter job, each from the previous one's files to its own.

What a stage of any job does is in `pipelines.harness.staged`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from filters import Chain
from pipelines.download_job.request import download_config, store_spec
from pipelines.fetch import close_shared_fetcher
from pipelines.filter_job import settings, sweeps, totals
from pipelines.filter_job.inputs import Inputs
from pipelines.filter_job.items import SEGMENT_SIZES, MixItem, Segment, filter_items
from pipelines.filter_job.options import JOB_OPTIONS
from pipelines.filter_job.request import FilterRequest
from pipelines.filter_job.totals import FilterTotals
from pipelines.harness import planfile, rundir
from pipelines.harness.accounting import Line
from pipelines.harness.items import planned_shards
from pipelines.harness.launch import Done, read_results
from pipelines.harness.staged import StagedRun, shard_entry
from shards import manifest
from shards.card import render
from shards.files import commit
from shards.files.store import Store
from shards.manifest import Manifest, ShardEntry

CARD = "README.md"


@dataclass
class FilterRun(StagedRun):
    """A filter job under way."""

    request: FilterRequest
    filter_totals: FilterTotals | None = None
    shards: tuple[ShardEntry, ...] = ()

    def check(self, inputs: Inputs, chains: Mapping[str, Chain]) -> None:
        """Stop before anything is written where the output belongs to another run."""
        self.check_fingerprint(settings.filter_fingerprint(self.request, inputs, chains))
        for before, fingerprint_after in (
            ("filter", settings.mix_fingerprint),
            ("mix", settings.download_fingerprint),
        ):
            head = planfile.read_head(self.store, before)
            if head is None:
                return
            self.check_fingerprint(fingerprint_after(self.request, head["fingerprint"]))

    def write_run_json(
        self,
        inputs: Inputs,
        rules: Mapping[str, Mapping[str, str]],
        chains: Mapping[str, Chain],
        command: Sequence[str],
    ) -> None:
        """Record what this run is, unless an earlier start of it did."""
        facts = {
            "inputs": [
                {"source": f.source, "name": f.name, "path": f.path, "size": f.size, "rows": f.rows}
                for f in inputs.files
            ],
            "unreadable_inputs": {file.name: file.why for file in inputs.unreadable},
            "rule_settings": {source: dict(settings) for source, settings in rules.items()},
            "rules": {source: chain.spec() for source, chain in chains.items()},
        }
        rundir.write_run_json(
            self.store, "filter", command, self.request.recorded(JOB_OPTIONS), facts
        )

    def filter(self, inputs: Inputs, chains: Mapping[str, Chain]) -> None:
        """Filter the metadata."""
        self.plan_stage(
            settings.filter_fingerprint(self.request, inputs, chains),
            filter_items(inputs.files, self.request.limit),
        )
        self.run_stage(settings.filter_config(self.request, inputs, chains))
        self.read_filter(len(inputs.unreadable))

    def read_filter(self, unreadable_at_plan: int = 0) -> None:
        """Read and check the finished filter stage."""
        head = planfile.read_head(self.store, "filter")
        if head is None:
            raise ValueError(
                f"{self.store.root}: not a run with filtered rows; start with "
                "python -m pipelines.filter"
            )
        self.fingerprints["filter"] = head["fingerprint"]
        counted = totals.filter_totals(_results(self.store, "filter"))
        lost = len(counted.unreadable_files) + unreadable_at_plan
        if lost > self.request.max_unreadable:
            raise ValueError(
                f"{lost} corrupt files, --max_unreadable allows {self.request.max_unreadable}: "
                f"{', '.join(counted.unreadable_files)}"
            )
        self.filter_totals = counted
        self._close("filter", counted.line)

    def mix(self) -> None:
        """Deduplicate, order and cut into shards."""
        fingerprint = settings.mix_fingerprint(self.request, self.fingerprints["filter"])
        items = None
        if planfile.read_head(self.store, "mix") is None:
            items = _mix_items(read_results(self.store, "filter", trim=_packed_segments))
        self.plan_stage(fingerprint, items, per_file=1)
        self.run_stage(settings.mix_config(self.request))
        self._close("mix", totals.mix_line(_results(self.store, "mix")))
        self.store.delete_tree("buckets")

    def download(self, rules: Chain) -> None:
        """Fetch the images and write the shards."""
        fingerprint = settings.download_fingerprint(self.request, self.fingerprints["mix"])
        items = None
        if planfile.read_head(self.store, "download") is None:
            done = read_results(self.store, "mix")
            planned = ((bucket.name, bucket.result["planned"]) for bucket in done)
            items = planned_shards(planned, self.request.shard_rows)
        self.plan_stage(fingerprint, items)
        self._fetch(rules)
        self._close_download()

    def retry_failed(self, rules: Chain) -> int:
        """Fetch again what failed for a passing reason, and return how many shards had any.

        A sweep is a generation of its own: an unfinished one is finished before a new one begins.
        """
        generation = sweeps.unfinished_or_next(self.store)
        planned = sweeps.plan(self.store, generation, self.fingerprints["download"])
        if planned:
            self._fetch(rules, generation)
            self.lines.pop()
            self._close_download()
        return planned

    def _fetch(self, rules: Chain, generation: int = 0) -> None:
        workers = self.launch.workers if self.launch.local else None
        config = download_config(self.request, rules, workers)
        try:
            self.run_stage(config, generation)
        finally:
            # A local run fetched in this process, whose next run may have other settings.
            close_shared_fetcher()

    def _close_download(self) -> None:
        done = sweeps.newest_results(self.store)
        self.shards = tuple(shard_entry(shard) for shard in done)
        self._close("download", totals.download_line([shard.result for shard in done]))

    def _close(self, stage: str, line: Line) -> None:
        """Check a finished stage against the one before, write the manifest, clean up."""
        self.check_line(line)
        if stage == "download" or planfile.read_head(self.store, _NEXT[stage]) is None:
            self._write_manifest(stage)
        done = (
            sweeps.newest_results(self.store)
            if stage == "download"
            else read_results(self.store, stage, trim=totals.without_segments)
        )
        self.collect_garbage(stage, done)

    def _write_manifest(self, stage: str) -> None:
        written = Manifest(
            stage=stage,
            extension=store_spec(self.request).encode_format if stage == "download" else None,
            counts=self.counts(),
            fingerprints=dict(self.fingerprints),
            shards=self.shards,
        )
        if stage == "download":
            self.store.write(CARD, render(written).encode())
        manifest.write(self.store, written)


_NEXT = {"filter": "mix", "mix": "download"}


def _results(store: Store, stage: str) -> list[commit.Result]:
    done = read_results(store, stage, trim=totals.without_segments)
    return [item.result for item in done]


def _packed_segments(result: commit.Result) -> commit.Result:
    """Return the segment sizes of a filter item as (offset of the run, sizes by bucket)."""
    runs = [(run["offset"], np.array(run["sizes"], np.int64)) for run in result[SEGMENT_SIZES]]
    return {"num_buckets": result["num_buckets"], SEGMENT_SIZES: runs}


def _mix_items(done: Sequence[Done]) -> Iterator[MixItem]:
    """Turn the parts' segment sizes, part by part, into byte ranges, bucket by bucket."""
    files, offsets, sizes = [], [], []
    num_buckets = done[0].result["num_buckets"] if done else 1
    for part in done:
        for offset, matrix in part.result[SEGMENT_SIZES]:
            files.append(f"buckets/{part.name}.arrows")
            offsets.append(offset + np.concatenate([[0], np.cumsum(matrix.sum(axis=1))[:-1]]))
            sizes.append(matrix)
    for bucket in range(num_buckets):
        segments = (
            Segment(
                file=file,
                offset=int(start[bucket]),
                rows_bytes=int(size[bucket, 0]),
                tombstones_bytes=int(size[bucket, 1]),
            )
            for file, start, size in zip(files, offsets, sizes, strict=True)
            if size[bucket].any()
        )
        yield MixItem(name=f"bucket-{bucket:04d}", segments=tuple(segments))
