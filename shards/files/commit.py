"""The writer protocol: how an item's files appear in a run all at once and exactly once.

attempt -> claim -> publish -> done. An attempt is a private folder. A claim names the
winning attempt of an item whose bytes differ between attempts (downloads, labels); pure
items need none, because any attempt has the same bytes. Publishing gives the winner's
files their final names and can be repeated by anyone. The done-marker is written last:
it exists exactly when the item is finished. Nothing here looks at the clock to decide.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shards.commandline import UserError
from shards.files.store import Store

Result = dict[str, Any]

_HASH_BLOCK = 1 << 20


class ClaimVoidError(UserError):
    """A claim's files are neither published nor in the attempt that it names."""


@dataclass(frozen=True)
class FileRecord:
    """One file of an attempt."""

    name: str  # final name in the run directory
    size: int  # bytes
    sha256: str  # hex


@dataclass(frozen=True)
class ItemId:
    """One work item of one stage; `generation` counts the sweeps of `--retry_failed`."""

    stage: str
    item: str
    generation: int = 0

    @property
    def marker(self) -> str:
        """Name of the done-marker."""
        return f"stats/{self.stage}/{self.item}.g{self.generation}.json"

    @property
    def claim(self) -> str:
        """Name of the claim."""
        return f"claims/{self.stage}/{self.item}.g{self.generation}.json"

    @property
    def attempts(self) -> str:
        """Folder of the item's attempts: what is left there tells how often it died."""
        return f"_attempts/{self.stage}/{self.item}"

    @property
    def lease(self) -> str:
        """Name of the lease of whoever works on the item now."""
        return f"leases/{self.stage}/{self.item}.json"


class Attempt:
    """A private folder for the files of one try at an item.

    On local disk the folder lies inside the run, so that publishing is a hard link; for an
    object store it is a temporary folder whose files are uploaded by `seal`. Use as a context
    manager: an attempt that was not sealed leaves nothing behind.
    """

    def __init__(self, store: Store, item: ItemId) -> None:
        self.store = store
        self.item = item
        self.folder = f"{item.attempts}/{secrets.token_hex(6)}"
        self._names: list[str] = []
        self._sealed = False

    def __enter__(self) -> Attempt:
        local = self.store.local_path(self.folder)
        self._directory = local or tempfile.mkdtemp(prefix="groundwork-")
        os.makedirs(self._directory, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        if not self._sealed or self.store.local_path(self.folder) is None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def path(self, name: str) -> str:
        """Return the local file to write for the final name `name`."""
        assert name not in self._names, name
        self._names.append(name)
        return self.scratch(name)

    def scratch(self, name: str) -> str:
        """Return a local file for working data, which is not published."""
        path = os.path.join(self._directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def seal(self) -> tuple[FileRecord, ...]:
        """Hash the files and make them durable; from here on they can be published."""
        records = []
        for name in sorted(self._names):
            path = os.path.join(self._directory, name)
            with open(path, "rb") as file:
                records.append(FileRecord(name, os.path.getsize(path), _sha256(file)))
            self.store.put(path, f"{self.folder}/{name}")
        self._sealed = True
        return tuple(records)


def commit(attempt: Attempt, result: Result, *, claimed: bool, run: Mapping[str, Any]) -> Result:
    """Bring a finished attempt into the run and return the item's recorded result.

    Args:
        attempt: The attempt with all its files written.
        result: Counts of this attempt; `files` is added. Equal for every attempt of a pure item.
        claimed: Whether attempts may differ, so that a claim must choose one.
        run: Clock facts for the marker; outside promise 2.

    Returns:
        The result of the winning attempt, which may be another's.
    """
    store, item = attempt.store, attempt.item
    files = attempt.seal()
    claim: dict[str, Any] = {
        "attempt": attempt.folder,
        "files": [asdict(record) for record in files],
        "result": {**result, "files": [asdict(record) for record in files]},
    }
    if claimed and not store.create(item.claim, encode(claim)):
        winner = json.loads(store.read(item.claim))
        if winner["attempt"] != attempt.folder:
            store.delete_tree(attempt.folder)
        claim = winner
    return _publish_and_mark(store, item, claim, run)


def recorded(store: Store, item: ItemId, run: Mapping[str, Any]) -> Result | None:
    """Return the result of an item that is done, or was claimed and only needs publishing.

    Raises:
        ClaimVoidError: The claimed files are gone.
    """
    done = read_done(store, item)
    if done is not None:
        return done
    if not store.exists(item.claim):
        return None
    return _publish_and_mark(store, item, json.loads(store.read(item.claim)), run)


def read_done(store: Store, item: ItemId) -> Result | None:
    """Return the recorded result of a done item, else None."""
    marker = read_marker(store, item)
    return None if marker is None else marker["result"]


def read_marker(store: Store, item: ItemId) -> dict[str, Any] | None:
    """Return a whole done-marker: `result` (covered by promise 2) and `run` (clock facts)."""
    try:
        marker: dict[str, Any] = json.loads(store.read(item.marker))
    except FileNotFoundError:
        return None
    return marker


def _publish_and_mark(
    store: Store, item: ItemId, claim: Mapping[str, Any], run: Mapping[str, Any]
) -> Result:
    publish(store, claim["attempt"], (FileRecord(**record) for record in claim["files"]))
    result: Result = claim["result"]
    marker = {"result": result, "run": {**run, "attempt": claim["attempt"]}}
    store.create(item.marker, encode(marker))
    return result


def publish(store: Store, folder: str, files: Iterable[FileRecord]) -> None:
    """Give an attempt's files their final names; files that are right already stay untouched.

    Raises:
        ClaimVoidError: A file is neither there nor in the attempt.
    """
    for record in files:
        if is_published(store, record):
            continue
        source = f"{folder}/{record.name}"
        try:
            store.publish(source, record.name)
        except FileNotFoundError:
            if not is_published(store, record):  # another launcher may have cleaned up behind us
                raise ClaimVoidError(
                    f"{store.url(record.name)} is not the file that was claimed (sha256 "
                    f"{record.sha256}) and its source {store.url(source)} is gone; "
                    "remove the item's claim to do it again"
                ) from None


def is_published(store: Store, record: FileRecord) -> bool:
    """Tell whether the final file has the recorded size and sha256."""
    entry = store.stat(record.name)
    if entry is None or entry.size != record.size:
        return False
    with store.open(record.name) as file:
        return _sha256(file) == record.sha256


def collect_garbage(store: Store, stage: str, done: Mapping[str, str], min_age_s: float) -> int:
    """Remove attempts of done items: winners at once (they are published), others when old.

    Args:
        store: The run.
        stage: Stage whose attempts are looked at.
        done: Item name to the winning attempt's folder, from the done-markers.
        min_age_s: Seconds since its last write after which a losing attempt counts as dead.

    Returns:
        Number of attempts removed.
    """
    removed = 0
    now = time.time()
    for parent in store.folders(f"_attempts/{stage}"):
        item = parent.rpartition("/")[2]
        for folder in store.folders(parent) if item in done else ():
            if folder == done[item] or now - _last_write(store, folder) > min_age_s:
                store.delete_tree(folder)
                removed += 1
    return removed


def _last_write(store: Store, folder: str) -> float:
    newest = max((entry.modified_s for entry in store.list(folder)), default=0.0)
    return max([newest, *(_last_write(store, child) for child in store.folders(folder))])


def run_facts(started_s: float) -> dict[str, Any]:
    """Return the clock facts of a marker: who did it, when, for how long."""
    return {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "started_s": round(started_s, 3),
        "seconds": round(time.time() - started_s, 3),
    }


def encode(value: Any) -> bytes:
    """Return JSON in its one form: sorted keys, no NaN, a newline at the end."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    return text.encode() + b"\n"


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(_HASH_BLOCK):
        digest.update(block)
    return digest.hexdigest()
