"""Which shards a folder has: ours by its manifest, img2dataset's by its `*_stats.json` files.

Goes in: the root of a run or of an img2dataset output of format `webdataset`. Comes out: names,
counts and a checksum that changes when they do. Nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shards import manifest
from shards.files.store import Entry, Store

Kind = Literal["run", "img2dataset"]

_STATS = "_stats.json"


@dataclass(frozen=True)
class Layout:
    """The finished shards of a folder, in their order."""

    kind: Kind
    level: str  # one of `schema.LEVELS`
    names: tuple[str, ...]
    samples: tuple[int, ...]  # in each tar
    sha256: str  # hex, of what the rest was read from


def tar_name(kind: Kind, shard: str) -> str:
    """Return the name of a shard's tar in its folder."""
    return f"shards/{shard}.tar" if kind == "run" else f"{shard}.tar"


def sidecar_name(kind: Kind, shard: str) -> str:
    """Return the name of a shard's parquet in its folder; both kinds have `key` and `status`."""
    return f"shards/{shard}.parquet" if kind == "run" else f"{shard}.parquet"


def find(store: Store) -> Layout:
    """Say which shards a folder has.

    Raises:
        ValueError: There is no such folder, nothing finished in it, or no samples yet.
    """
    try:
        data = store.read(manifest.NAME)
    except FileNotFoundError:
        return _without_manifest(store)
    run_manifest = manifest.read(store)
    if run_manifest.stage in ("filter", "mix"):
        raise ValueError(
            f"{store.root}: this run stopped after {run_manifest.stage!r} and has no images yet; "
            f"type: python -m pipelines.download --output={store.root}"
        )
    return Layout(
        kind="run",
        level=run_manifest.level,
        names=tuple(shard.name for shard in run_manifest.shards),
        samples=tuple(shard.samples for shard in run_manifest.shards),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _without_manifest(store: Store) -> Layout:
    entries = store.list("")
    if not entries and not _is_folder(store):
        raise ValueError(f"{store.root}: there is no such folder; check the path")
    if any(entry.name == "run.json" for entry in entries):
        raise ValueError(
            f"{store.root}: this run has no {manifest.NAME}, so it is not finished; "
            "run the command that began it again to finish it"
        )
    stats = [entry for entry in entries if entry.name.endswith(_STATS)]
    if not stats:
        raise ValueError(
            f"{store.root}: neither a run ({manifest.NAME}) nor an img2dataset folder "
            f"(*{_STATS}, one beside each finished tar); give the folder that holds them"
        )
    return _img2dataset(store, stats, {entry.name for entry in entries})


def _is_folder(store: Store) -> bool:
    local = store.local_path("")
    return os.path.isdir(local) if local is not None else bool(store.folders(""))


def _img2dataset(store: Store, stats: Sequence[Entry], present: set[str]) -> Layout:
    names = tuple(entry.name.removesuffix(_STATS) for entry in stats)
    for name in names:
        if f"{name}.tar" not in present:
            raise ValueError(
                f"{store.root}: {name}{_STATS} says that the shard is done, but there is no "
                f"{name}.tar; only img2dataset's output_format=webdataset can be read"
            )
    samples, digest = [], hashlib.sha256()
    ranges = [(entry.name, 0, entry.size) for entry in stats]
    for entry, data in zip(stats, store.read_ranges(ranges), strict=True):
        samples.append(_successes(store.url(entry.name), data))
        digest.update(f"{entry.name}\0{len(data)}\0".encode() + data)
    return Layout("img2dataset", "image_text", names, tuple(samples), digest.hexdigest())


def _successes(url: str, data: bytes) -> int:
    try:
        values: Any = json.loads(data)
        return int(values["successes"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{url}: not img2dataset's statistics of a shard ({type(error).__name__}: {error}); "
            "remove it and let img2dataset write this shard again"
        ) from error


def is_folder(root: str) -> bool:
    """Tell whether there is a folder with this path or URL."""
    store = Store(root)
    return _is_folder(store) or bool(store.list(""))
