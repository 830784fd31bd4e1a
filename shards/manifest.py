"""The manifest: which shards a run has, with counts and checksums. Readers start here.

It is written last and says what is there, so nobody needs a glob. It holds no clock facts: the same
run gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shards.files.commit import encode
from shards.files.store import Store
from shards.schema import CONTRACT_VERSION, LEVELS

NAME = "manifest.json"


@dataclass(frozen=True)
class ShardEntry:
    """One shard."""

    name: str  # six digits or more
    generation: int
    planned: int  # rows of the sidecar
    samples: int  # samples of the tar
    tar_size: int  # bytes
    tar_sha256: str
    sidecar_size: int
    sidecar_sha256: str

    @staticmethod
    def of_result(name: str, generation: int, result: Mapping[str, Any]) -> ShardEntry:
        """Return the entry of a shard from the recorded result of the item that wrote it."""
        files = {file["name"].rpartition(".")[2]: file for file in result["files"]}
        return ShardEntry(
            name=name,
            generation=generation,
            planned=result["planned"],
            samples=result["samples"],
            tar_size=files["tar"]["size"],
            tar_sha256=files["tar"]["sha256"],
            sidecar_size=files["parquet"]["size"],
            sidecar_sha256=files["parquet"]["sha256"],
        )

    @property
    def tar(self) -> str:
        """Name of the tar in the run."""
        return f"shards/{self.name}.tar"

    @property
    def sidecar(self) -> str:
        """Name of the sidecar in the run."""
        return f"shards/{self.name}.parquet"


@dataclass(frozen=True)
class Manifest:
    """What a run holds."""

    stage: str  # the last that is done: filter, mix, download, ground or pack
    extension: str | None  # of stored images; None before there are any, and of texts
    counts: Mapping[str, Any]  # per stage, as the accounting closed
    fingerprints: Mapping[str, str]  # per stage
    shards: tuple[ShardEntry, ...]
    contract_version: int = CONTRACT_VERSION
    level: str = "image_text"  # one of `schema.LEVELS`: what the samples hold

    @property
    def samples(self) -> int:
        """Samples over all shards."""
        return sum(shard.samples for shard in self.shards)


def write(store: Store, manifest: Manifest) -> None:
    """Write the manifest, replacing an earlier stage's."""
    store.write(NAME, encode(asdict(manifest)))


def read(store: Store) -> Manifest:
    """Read a run's manifest.

    Raises:
        ValueError: There is none, or it is of another contract version or an unknown level.
    """
    try:
        values = json.loads(store.read(NAME))
    except FileNotFoundError:
        raise ValueError(
            f"{store.url(NAME)}: no manifest; the run is not finished. Run the same command "
            "again to finish it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{store.url(NAME)} is not JSON ({error}); write the run again") from error
    version = values.get("contract_version") if isinstance(values, dict) else None
    if version != CONTRACT_VERSION:
        raise ValueError(
            f"{store.url(NAME)}: contract version {version}, this is version "
            f"{CONTRACT_VERSION}; use the release that wrote it, or write the run again"
        )
    # Runs written before there were levels hold images and captions.
    level = values.get("level", "image_text")
    if level not in LEVELS:
        raise ValueError(
            f"{store.url(NAME)}: level {level!r} is not one of {', '.join(LEVELS)}; "
            "use the release that wrote it"
        )
    try:
        values["shards"] = tuple(ShardEntry(**shard) for shard in values["shards"])
        return Manifest(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{store.url(NAME)}: another layout ({error}); use the release that wrote it, or write "
            "the run again"
        ) from error
