"""Small corpora for tests of the job: metadata written, the job run in this process, rows read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

LOOPBACK = ("--allow_address", "127.0.0.1/32", "--host_rate", "127.0.0.1=2000")
"""Flags with which the job may fetch from this machine, quickly."""

_JOINED = {
    "URL": pa.string(),
    "TEXT": pa.string(),
    "WIDTH": pa.int32(),
    "HEIGHT": pa.int32(),
    "similarity": pa.float64(),
    "punsafe": pa.float32(),
}


def joined(url: str | None, caption: str | None, **changes: Any) -> Row:
    """Return a harmless row of `laion2b_en_joined` to change."""
    good = {"WIDTH": 640, "HEIGHT": 480, "similarity": 0.3, "punsafe": 0.01}
    return {"URL": url, "TEXT": caption, **good, **changes}


def write_joined(path: Path, rows: Sequence[Row], row_group_size: int | None = None) -> Path:
    """Write rows of `joined` as one metadata file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), pa.schema(list(_JOINED.items())))
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def run_filter(output: Path, *flags: object) -> Path:
    """Run `pipelines.filter` in this process; it must succeed."""
    from pipelines import filter as job

    code = job.main(["--output", str(output), *map(str, flags)])
    assert code == 0, f"exit code {code}"
    return output


def read_parts(run: Path, folder: str, pattern: str = "*.parquet") -> list[Row]:
    """Return the rows of all parts of a folder, in part order."""
    return [
        row
        for path in sorted((run / folder).glob(pattern))
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


def read_plan(run: Path) -> list[list[Row]]:
    """Return the planned rows shard by shard."""
    shards = []
    for path in sorted((run / "plan").glob("bucket-*.parquet")):
        if path.name.endswith(".dropped.parquet"):
            continue
        file = pq.ParquetFile(path)
        shards += [file.read_row_group(i).to_pylist() for i in range(file.num_row_groups)]
    return shards


def read_dropped(run: Path) -> list[Row]:
    """Return what the mix left out."""
    return read_parts(run, "plan", "*.dropped.parquet")


def read_results(run: Path, stage: str) -> list[Mapping[str, Any]]:
    """Return the results of a stage's done-markers, in item order."""
    paths = sorted((run / "stats" / stage).glob("*.json"))
    return [json.loads(path.read_text())["result"] for path in paths]


def counts(run: Path) -> Mapping[str, Any]:
    """Return the manifest's lines by stage."""
    found: Mapping[str, Any] = json.loads((run / "manifest.json").read_text())["counts"]
    return found


def comparable(rows: Iterable[Row], *without: str) -> list[Row]:
    """Return rows without some columns, NaN replaced by a word that equals itself."""
    return [
        {name: _plain(value) for name, value in row.items() if name not in without} for row in rows
    ]


def _plain(value: Any) -> Any:
    return "nan" if isinstance(value, float) and math.isnan(value) else value
