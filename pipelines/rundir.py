"""Opening an output directory: new, resumed, or somebody else's; and its `run.json`."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from filters import Chain
from pipelines.ground_job.options import GROUND_OPTIONS
from pipelines.options import JOB_OPTIONS
from pipelines.run_inputs import Inputs
from shards.dataset import Dataset
from shards.files.commit import encode
from shards.files.store import Store
from shards.schema import CONTRACT_VERSION

RUN_JSON = "run.json"

# A kill while a run is removed must leave nothing that looks done, so markers come first; the
# filter's before the mix's, because a mix needs the buckets of every part.
_REMOVED_FIRST = "stats/filter"
_FOLDERS = [
    "stats",
    "claims",
    "_items",
    "kept",
    "tombstones",
    "rejects",
    "buckets",
    "phrases",
    "labels",
    "boxes",
    "choice",
    "plan",
    "shards",
    "leases",
    "_attempts",
    "selections",
]
_JOB_BY_OPTION = {"preset": "pipelines.filter", "detector": "pipelines.ground"}
_FILES = ("manifest.json", "README.md", "report.html", RUN_JSON)


def open_output(values: argparse.Namespace) -> Store:
    """Return the output's store. Changes nothing there.

    Raises:
        ValueError: It cannot be written to, or holds files that are not a run's.
    """
    if not values.output:
        raise ValueError("--output is missing; give a folder, gs://BUCKET/… or s3://BUCKET/…")
    store = Store(values.output)
    _check_place(store)
    if not store.exists(RUN_JSON) and (strangers := _strangers(store)):
        raise ValueError(
            f"{store.root}: holds {strangers[0]!r} and is not a run of ours; give another --output"
        )
    _check_job(store, values)
    return store


def _check_job(store: Store, values: argparse.Namespace) -> None:
    """See that the run in the output is of the same job, known by an option that only it has."""
    if not store.exists(RUN_JSON):
        return
    recorded = read_run_json(store)["options"]
    for option, job in _JOB_BY_OPTION.items():
        if hasattr(values, option) and option not in recorded:
            raise ValueError(
                f"--output {store.root} holds a run of another job, not of {job}; give another "
                "--output"
            )


def _check_place(store: Store) -> None:
    """See that a local output is or can become a folder, before anything is read."""
    place = store.local_path("")
    if place is None:
        return
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        why = "is not a folder" if not os.path.isdir(place) else "cannot be written to"
        raise ValueError(f"--output {store.root}: {place} {why}; give another --output")


def _strangers(store: Store) -> list[str]:
    files = [entry.name for entry in store.list("")]
    folders = [name.strip("/") for name in store.folders("")]
    return [name for name in [*files, *folders] if name not in (*_FILES, *_FOLDERS)]


def clear(store: Store, inputs: Inputs) -> None:
    """Remove the run that is in the output, for `--overwrite`.

    Raises:
        ValueError: The new run reads from it.
    """
    for file in inputs.files:
        if file.path.startswith(f"{store.root}/"):
            raise ValueError(
                f"--overwrite would remove the input {file.path}; give another --output"
            )
    clear_files(store)


def clear_files(store: Store) -> None:
    """Remove everything of the run that is in the output."""
    for folder in (_REMOVED_FIRST, *_FOLDERS):
        store.delete_tree(folder)
    for name in _FILES:
        store.delete(name)


def write_run_json(
    store: Store,
    values: argparse.Namespace,
    inputs: Inputs,
    rules: Mapping[str, Mapping[str, str]],
    chains: Mapping[str, Chain],
    command: Sequence[str],
) -> None:
    """Record what this run is, unless an earlier start of it did."""
    recorded = {
        "contract_version": CONTRACT_VERSION,
        "started_s": round(time.time(), 3),
        "command": list(command),
        "inputs": [
            {"source": f.source, "name": f.name, "path": f.path, "size": f.size, "rows": f.rows}
            for f in inputs.files
        ],
        "unreadable_inputs": {each.name: each.why for each in inputs.unreadable},
        "options": {
            option.name: getattr(values, option.name)
            for option in JOB_OPTIONS
            if option.affects_output
        },
        "rule_settings": {source: dict(settings) for source, settings in rules.items()},
        "rules": {source: chain.spec() for source, chain in chains.items()},
        "library_changes": [],
    }
    store.create(RUN_JSON, encode(recorded))


def write_ground_json(
    store: Store, values: argparse.Namespace, dataset: Dataset, command: Sequence[str]
) -> None:
    """Record what a grounding run is, unless an earlier start of it did."""
    recorded = {
        "contract_version": CONTRACT_VERSION,
        "started_s": round(time.time(), 3),
        "command": list(command),
        "input": {
            "spec": dataset.spec,
            "fingerprint": dataset.fingerprint,
            "samples": dataset.samples,
        },
        "options": {
            option.name: getattr(values, option.name)
            for option in GROUND_OPTIONS
            if option.affects_output
        },
        "library_changes": [],
    }
    store.create(RUN_JSON, encode(recorded))


def read_run_json(store: Store) -> dict[str, Any]:
    """Return what `write_run_json` recorded.

    Raises:
        ValueError: This is not a run directory.
    """
    try:
        recorded: dict[str, Any] = json.loads(store.read(RUN_JSON))
    except FileNotFoundError:
        raise ValueError(
            f"{store.root}: no run.json there; start a run with python -m pipelines.filter"
        ) from None
    return recorded


def record_library_changes(store: Store, changes: Sequence[str]) -> None:
    """Note in `run.json` that the user accepted other library versions."""
    if changes:
        recorded = read_run_json(store)
        noted = sorted({*recorded["library_changes"], *changes})
        store.write(RUN_JSON, encode({**recorded, "library_changes": noted}))
