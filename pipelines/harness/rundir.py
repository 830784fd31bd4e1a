"""Opening an output directory: new, resumed, or somebody else's; and its `run.json`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from shards.files.commit import encode
from shards.files.store import Store
from shards.schema import CONTRACT_VERSION

RUN_JSON = "run.json"
_START_AGAIN = "remove this run, or start again with another --output"

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
_JOB_BY_OPTION = {"preset": "filter", "detector": "ground", "format": "pack"}
"""Runs begun by an older version do not name their job; an option that only it has does."""
_FIELDS = {"contract_version": int, "command": list, "library_changes": list}
"""What else the `run.json` of every job has."""
_FILES = ("manifest.json", "README.md", "report.html", RUN_JSON)


def open_output(output: str | None, job: str, *, overwrite: bool = False) -> Store:
    """Return the output's store. Changes nothing there.

    Args:
        output: What `--output` says.
        job: Name of the job that wants to write there.
        overwrite: Whether it will remove an earlier run of its own, which may then be of any
            version of the contract.

    Raises:
        ValueError: It cannot be written to, or holds other files, another job's run, or a run that
            this release cannot resume.
    """
    if not output:
        raise ValueError("--output is missing; give a folder, gs://BUCKET/… or s3://BUCKET/…")
    store = Store(output)
    _check_place(store)
    if not store.exists(RUN_JSON):
        if strangers := _strangers(store):
            raise ValueError(
                f"{store.root}: holds {strangers[0]!r} and is not a run of ours; give another "
                "--output"
            )
        return store
    recorded = _read(store)
    if (other := _job_of(store, recorded)) != job:
        raise ValueError(
            f"--output {store.root} holds a run of pipelines.{other}, not of pipelines.{job}; give "
            "another --output"
        )
    if not overwrite:
        _check_release(store, recorded)
    return store


def _job_of(store: Store, recorded: Mapping[str, Any]) -> str:
    """Return which job a run is of, given its `run.json`."""
    options = recorded["options"]
    by_option = next((job for option, job in _JOB_BY_OPTION.items() if option in options), None)
    job = recorded.get("job", by_option)
    if job not in _JOB_BY_OPTION.values():
        raise ValueError(
            f"{store.url(RUN_JSON)}: this release does not know the job {job!r}; use the release "
            "that wrote the run, or start again with another --output"
        )
    return str(job)


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


def clear(store: Store) -> None:
    """Remove everything of the run that is in the output, for `--overwrite`."""
    for folder in (_REMOVED_FIRST, *_FOLDERS):
        store.delete_tree(folder)
    for name in _FILES:
        store.delete(name)


def write_run_json(
    store: Store,
    job: str,
    command: Sequence[str],
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Record what this run is, unless an earlier start of it did.

    Args:
        store: The run.
        job: Name of the job.
        command: Its command line.
        options: Those that affect the output.
        facts: What else the job wants to know when it resumes: inputs, rules.
    """
    recorded = {
        "contract_version": CONTRACT_VERSION,
        "job": job,
        "started_s": round(time.time(), 3),
        "command": list(command),
        "options": dict(options),
        **facts,
        "library_changes": [],
    }
    store.create(RUN_JSON, encode(recorded))


def read_run_json(store: Store, needed: Sequence[str] = ()) -> dict[str, Any]:
    """Return what `write_run_json` recorded.

    Args:
        store: The run.
        needed: Facts of its job that must be there.

    Raises:
        ValueError: This is not a run directory, or it is damaged or of another contract version.
    """
    recorded = _read(store)
    _job_of(store, recorded)
    _check_release(store, recorded)
    for name in needed:
        if name not in recorded:
            raise ValueError(f"{store.url(RUN_JSON)} has no field {name!r}; {_START_AGAIN}")
    return recorded


def _read(store: Store) -> dict[str, Any]:
    place = store.url(RUN_JSON)
    try:
        recorded: Any = json.loads(store.read(RUN_JSON))
    except FileNotFoundError:
        raise ValueError(
            f"{store.root}: no run.json there; start a run with python -m pipelines.filter"
        ) from None
    except ValueError as error:
        raise ValueError(f"{place} is not JSON ({error}); {_START_AGAIN}") from error
    if not isinstance(recorded, dict) or not isinstance(recorded.get("options"), dict):
        raise ValueError(f"{place} is not the record of a run; {_START_AGAIN}")
    return recorded


def _check_release(store: Store, recorded: Mapping[str, Any]) -> None:
    for name, kind in _FIELDS.items():
        if not isinstance(recorded.get(name), kind):
            raise ValueError(f"{store.url(RUN_JSON)} has no field {name!r}; {_START_AGAIN}")
    version = recorded["contract_version"]
    if version != CONTRACT_VERSION:
        raise ValueError(
            f"{store.url(RUN_JSON)}: contract version {version}, this release writes version "
            f"{CONTRACT_VERSION}; use the release that wrote the run, or start again with another "
            "--output"
        )


def record_library_changes(store: Store, changes: Sequence[str]) -> None:
    """Note in `run.json` that the user accepted other library versions."""
    if changes:
        recorded = read_run_json(store)
        noted = sorted({*recorded["library_changes"], *changes})
        store.write(RUN_JSON, encode({**recorded, "library_changes": noted}))
