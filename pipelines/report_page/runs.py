"""What a report is about, opened once: runs, selections of runs and img2dataset folders."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.harness import rundir
from shards import manifest, selection
from shards.dataset import Dataset, open_dataset
from shards.files.store import Store
from shards.manifest import Manifest

_JOBS = {"ground": "pipelines.ground", "pack": "pipelines.pack"}  # by a manifest's stage


@dataclass(frozen=True)
class ReportedRun:
    """One argument of the command."""

    spec: str  # as typed
    store: Store
    manifest: Manifest | None  # None: an img2dataset folder
    recorded: Mapping[str, Any]  # `run.json`; empty where there is none
    dataset: Dataset | None  # None where there are no samples

    @property
    def name(self) -> str:
        """The last part of the spec."""
        return self.spec.rstrip("/").rpartition("/")[2]

    @property
    def command(self) -> str:
        """What was typed to make it; empty where nobody recorded that."""
        if self.manifest is None or "command" not in self.recorded:
            return ""
        job = _JOBS.get(self.manifest.stage, "pipelines.filter")
        return f"python -m {job} {shlex.join(self.recorded['command'])}"

    @property
    def started(self) -> str:
        """When the command began, in UTC; empty where nobody recorded that."""
        if "started_s" not in self.recorded:
            return ""
        began = datetime.datetime.fromtimestamp(self.recorded["started_s"], datetime.UTC)
        return began.strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def page(self) -> str:
        """Name of its report in the store.

        Raises:
            ValueError: Nothing may be written there.
        """
        if self.manifest is None:
            raise ValueError(
                f"{self.spec}: nothing is written into a folder of img2dataset; give --output FILE"
            )
        if self.dataset is not None and self.dataset.selection is not None:
            return f"selections/{self.dataset.selection}/report.html"
        return "report.html"


def open_run(spec: str) -> ReportedRun:
    """Open a finished run, also one stopped between stages, `OUT@NAME` or an img2dataset folder.

    Raises:
        ValueError: It is not one of these; the message says what to do.
    """
    root, chosen = selection.split_spec(spec)
    store = Store(root)
    run_manifest = manifest.read(store) if store.exists(manifest.NAME) else None
    is_empty = run_manifest is not None and chosen is None and not run_manifest.samples
    return ReportedRun(
        spec=spec,
        store=store,
        manifest=run_manifest,
        recorded=rundir.read_run_json(store) if store.exists(rundir.RUN_JSON) else {},
        dataset=None if is_empty else open_dataset(spec),
    )
