"""What all jobs share: a run is stages, each planned, run, checked against the one before, cleaned.

A stage is planned from done-markers, run by the launcher, and checked. Running one that is finished
does nothing but read its markers, so a resumed job and a fresh one are the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.harness import accounting, planfile
from pipelines.harness.accounting import Line
from pipelines.harness.fingerprint import Fingerprint
from pipelines.harness.launch import (
    Done,
    Launch,
    check_fingerprint,
    plan_stage,
    read_results,
    run_stage,
)
from pipelines.harness.progress import Progress
from pipelines.harness.worker import StageConfig
from shards.files import commit
from shards.files.store import Store
from shards.manifest import ShardEntry

_GC_MIN_AGE_LOCAL_S = 3600.0
_GC_MIN_AGE_REMOTE_S = 24 * 3600.0


@dataclass
class StagedRun:
    """A job under way: what was planned, done and counted so far."""

    launch: Launch
    progress: Progress = field(default_factory=Progress, kw_only=True)
    # Stage -> digest in force.
    fingerprints: dict[str, str] = field(default_factory=dict, kw_only=True)
    lines: list[Line] = field(default_factory=list, kw_only=True)
    library_changes: list[str] = field(default_factory=list, kw_only=True)

    @property
    def store(self) -> Store:
        """The run directory."""
        return self.launch.store

    def check_fingerprint(self, now: Fingerprint) -> None:
        """Compare a stage with what was planned for it before, and note allowed differences.

        Raises:
            ValueError: The output belongs to another run.
        """
        allowed = self.launch.allow_library_change
        self.library_changes += check_fingerprint(self.store, now, allowed)

    def plan_stage(
        self,
        now: Fingerprint,
        items: Iterable[planfile.Plannable] | None,
        per_file: int = planfile.ITEMS_PER_FILE,
    ) -> None:
        """Record a stage's items, unless they are recorded: then they are not looked at."""
        self.check_fingerprint(now)
        self.fingerprints[now.stage] = plan_stage(self.store, now, items, per_file)

    def run_stage(self, config: StageConfig, generation: int = 0) -> None:
        """See the items of a planned stage done, by this launcher or others."""
        run_stage(self.launch, config, self.progress, generation)

    def plan_and_run(
        self,
        now: Fingerprint,
        config: StageConfig,
        items: Iterable[planfile.Plannable],
        per_file: int = planfile.ITEMS_PER_FILE,
        **reading: Any,
    ) -> list[Done]:
        """Plan and run a stage, and return what its items did."""
        self.plan_stage(now, items, per_file)
        self.run_stage(config)
        return read_results(self.store, now.stage, **reading)

    def check_line(self, line: Line) -> None:
        """Check a finished stage by itself and against the one before."""
        self.lines.append(line.check())
        accounting.check_chain(self.lines)

    def close_stage(self, stage: str, into: int, out: int, left_out: Mapping[str, int]) -> None:
        """Check a finished stage and clean up after it."""
        self.check_line(Line(stage, into, out, dict(sorted(left_out.items()))))
        self.collect_garbage(stage, read_results(self.store, stage, trim=_nothing))

    def collect_garbage(self, stage: str, done: Sequence[Done]) -> None:
        """Remove attempts that lost, once nobody can be writing them."""
        winners = {item.name: item.run["attempt"] for item in done}
        age_s = _gc_min_age_s(self.launch)
        commit.collect_garbage(self.store, stage, winners, age_s)

    def counts(self) -> dict[str, Any]:
        """Return the stages' numbers as a manifest holds them."""
        return {line.stage: line.to_json() for line in self.lines}


def total(results: Sequence[Done], name: str) -> Counter[str]:
    """Add up the items' counts under a name."""
    added: Counter[str] = Counter()
    for done in results:
        added.update(done.result[name])
    return added


def shard_entry(done: Done) -> ShardEntry:
    """Return the manifest's entry of a written shard."""
    return ShardEntry.of_result(done.name, done.generation, done.result)


def _nothing(result: commit.Result) -> commit.Result:
    return {}


def _gc_min_age_s(launch: Launch) -> float:
    """Return the age after which a losing attempt counts as dead, in seconds."""
    if launch.gc_min_age_s is not None:
        return launch.gc_min_age_s
    local = launch.store.local_path("") is not None
    return _GC_MIN_AGE_LOCAL_S if local else _GC_MIN_AGE_REMOTE_S
