"""Selections: decisions about a finished run's samples that leave its tars alone.

`OUT@NAME` is the run `OUT` with only the samples that `selections/NAME/` keeps. `write` takes
the decisions shard by shard, `finish` seals them; a selection belongs to one state of its run
and says so when the run has changed since.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shards import layout
from shards.files import parquet
from shards.files.commit import encode
from shards.files.store import Store
from shards.schema import CONTRACT_VERSION, SELECTION

_FOLDER = "selections"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class SelectedShard:
    """What a selection decides about one shard."""

    name: str
    kept: int  # samples
    size: int  # bytes of the decisions' file
    sha256: str  # hex, of that file


@dataclass(frozen=True)
class Selection:
    """A finished selection."""

    name: str
    run_sha256: str  # of the manifest (img2dataset folders: the statistics) that it was made for
    shards: tuple[SelectedShard, ...]  # in the run's order
    contract_version: int = CONTRACT_VERSION


def split_spec(spec: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Return root and selection of `OUT@NAME`; None where it names no selection.

    An `@` in the name of a folder that exists is part of the path.

    Raises:
        ValueError: What follows the `@` cannot be a selection's name.
    """
    text = os.fspath(spec)
    root, at, name = text.rpartition("@")
    if not at or not root or "/" in name or layout.is_folder(text):
        return text, None
    _check_name(name, text)
    return root, name


def write(store: Store, name: str, shard_name: str, table: pa.Table) -> None:
    """Write the decisions about one shard, replacing earlier ones.

    Args:
        store: The run.
        name: The selection's.
        shard_name: As the run's manifest has it.
        table: Columns `key`, `keep`, `reason`; a row for every sample of the shard, in any
            order. Rows about planned rows that became no sample are left out.

    Raises:
        ValueError: A sample has no row, a key has two, or a column is wrong.
    """
    _check_name(name, name)
    where = f"selection {name!r} of {store.root}, shard {shard_name}"
    decisions = _checked(table, where)
    samples = _sample_keys(store, shard_name)
    _positions(decisions.column("key"), samples, where)
    # Nothing else may stand in the file: `finish` counts its rows.
    decisions = decisions.filter(pc.is_in(decisions.column("key"), value_set=samples))
    with tempfile.NamedTemporaryFile() as file:
        parquet.write(file.name, [decisions], SELECTION)
        store.write(_file(name, shard_name), file.read())


def finish(store: Store, name: str) -> Selection:
    """Seal a selection whose shards are all written.

    Raises:
        ValueError: A shard of the run has no decisions.
    """
    stored = layout.find(store)
    shards = []
    for shard in stored.names:
        try:
            data = store.read(_file(name, shard))
        except FileNotFoundError:
            raise ValueError(
                f"{store.url(_file(name, shard))}: no decisions about shard {shard}; "
                "write them, then finish the selection"
            ) from None
        kept = pc.sum(parquet.read(io.BytesIO(data)).column("keep")).as_py() or 0
        shards.append(SelectedShard(shard, kept, len(data), hashlib.sha256(data).hexdigest()))
    made = Selection(name, stored.sha256, tuple(shards))
    store.write(_manifest(name), encode(asdict(made)))
    return made


def names(store: Store) -> Sequence[str]:
    """Return the names of the finished selections of a run."""
    folders = [folder.rpartition("/")[2] for folder in store.folders(_FOLDER)]
    return [name for name in folders if store.exists(_manifest(name))]


def read(store: Store, name: str) -> Selection:
    """Read a finished selection.

    Raises:
        ValueError: There is none of this name, or it was made for another state of the run.
    """
    return read_for(store, name, layout.find(store).sha256)[0]


def read_for(store: Store, name: str, run_sha256: str) -> tuple[Selection, str]:
    """Read a selection of a run whose checksum is known, and the sha256 of its manifest."""
    try:
        data = store.read(_manifest(name))
    except FileNotFoundError:
        known = ", ".join(names(store)) or "none"
        raise ValueError(
            f"{store.root}: no finished selection {name!r}; there are: {known}"
        ) from None
    values: dict[str, Any] = json.loads(data)
    if values["contract_version"] != CONTRACT_VERSION:
        raise ValueError(
            f"{store.url(_manifest(name))}: contract version {values['contract_version']}, this "
            f"is version {CONTRACT_VERSION}; make the selection again"
        )
    if values["run_sha256"] != run_sha256:
        raise ValueError(
            f"{store.root}: selection {name!r} was made for another state of this run (sha256 "
            f"{values['run_sha256'][:12]}…, now {run_sha256[:12]}…); make the selection again"
        )
    values["shards"] = tuple(SelectedShard(**shard) for shard in values["shards"])
    return Selection(**values), hashlib.sha256(data).hexdigest()


def kept(store: Store, name: str, shard_name: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which samples of a shard a selection keeps.

    Args:
        store: The run.
        name: The selection's.
        shard_name: The shard's.
        keys: Of the shard's samples.

    Raises:
        ValueError: A sample has no decision.
        OSError: The file of decisions cannot be read.
    """
    where = f"selection {name!r} of {store.root}, shard {shard_name}"
    data = store.read(_file(name, shard_name))
    table = parquet.read(io.BytesIO(data), ["key", "keep"])
    positions = _positions(table.column("key"), keys, where)
    decisions = table.column("keep").combine_chunks().to_numpy(zero_copy_only=False)
    result: npt.NDArray[np.bool_] = decisions[positions].astype(bool)
    return result


def _checked(table: pa.Table, where: str) -> pa.Table:
    schema = parquet.storage_schema(SELECTION)
    if missing := set(schema.names) - set(table.column_names):
        raise ValueError(
            f"{where}: columns {table.column_names} lack {sorted(missing)}; "
            f"a selection has {schema.names}"
        )
    try:
        decisions = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{where}: {error}; a selection has {schema}") from error
    if decisions.column("key").null_count or decisions.column("keep").null_count:
        raise ValueError(f"{where}: a row has no key or no decision; fill `key` and `keep`")
    decisions = decisions.sort_by("key")
    if pc.count_distinct(decisions.column("key")).as_py() != decisions.num_rows:
        raise ValueError(f"{where}: a key has two rows; decide once about each sample")
    return decisions


def _positions(decided: pa.ChunkedArray, keys: pa.Array, where: str) -> npt.NDArray[np.int64]:
    """Return the row of each sample's decision."""
    places = pc.index_in(keys, value_set=decided.combine_chunks())
    if places.null_count:
        first = keys.filter(pc.is_null(places))[0].as_py()
        raise ValueError(
            f"{where}: {places.null_count} of {len(keys)} samples have no row, the first is "
            f"{first}; decide about every sample of the shard"
        )
    rows: npt.NDArray[np.int64] = places.to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def _sample_keys(store: Store, shard: str) -> pa.Array:
    kinds: tuple[layout.Kind, ...] = ("run", "img2dataset")
    for kind in kinds:
        try:
            with store.open(layout.sidecar_name(kind, shard)) as file:
                table = parquet.read(file, ["key", "status"])
        except FileNotFoundError:
            continue
        success = pc.equal(table.column("status").cast(pa.string()), "success")
        return table.column("key").cast(pa.string()).filter(success).combine_chunks()
    raise ValueError(f"{store.root}: there is no shard {shard}; take the names of the manifest")


def _check_name(name: str, spec: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{spec}: {name!r} is not a selection's name (letters, digits, '.', '_', '-'); "
            "type OUT@NAME"
        )


def _file(name: str, shard: str) -> str:
    return f"{_FOLDER}/{name}/{shard}.parquet"


def _manifest(name: str) -> str:
    return f"{_FOLDER}/{name}/manifest.json"
