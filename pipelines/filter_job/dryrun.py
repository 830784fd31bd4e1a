"""`--dry_run`: what a run would read and write, from footers and one row group per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipelines.filter_job.inputs import Inputs
from pipelines.filter_job.items import FilterItem, num_buckets
from pipelines.metadata.files import InputFile
from pipelines.metadata.pieces import Piece
from pipelines.metadata.reader import PieceReader
from pipelines.metadata.sources import resolve
from shards.image import StoreSpec
from shards.text import drop_invalid

FILES_LOOKED_AT = 100
_ROWS_LOOKED_AT = 100_000
_TOP_HOSTS = 8

_BYTES_PER_PIXEL = 0.25
"""A JPEG of quality 90 over web photos: 87 KB at a short side of 512."""
_TYPICAL_ASPECT = 1.33
_KEPT_BYTES_PER_ROW = 200


def lines(
    inputs: Inputs,
    items: Sequence[FilterItem],
    spec: StoreSpec,
    shard_rows: int,
    done: Sequence[str],
) -> list[str]:
    """Return the plan as lines to print."""
    rows = sum(item.rows for item in items)
    uncounted = sum(file.rows is None for file in inputs.files)
    size = sum(file.size for file in inputs.files)
    side = spec.image_size
    image_bytes = int(side * side * _TYPICAL_ASPECT * _BYTES_PER_PIXEL)
    hosts, sampled = _hosts(inputs)
    return [
        f"input: {len(inputs.files):,} files, {size:,} bytes, {rows:,} rows"
        + (f" and {uncounted} files without a row count" if uncounted else ""),
        f"filter: {len(items):,} items, {num_buckets(inputs.files):,} buckets",
        f"shards: at most {-(-rows // shard_rows):,} of {shard_rows:,} planned rows",
        f"disk: about {rows * _KEPT_BYTES_PER_ROW:,} bytes of metadata, "
        f"{rows * image_bytes:,} bytes of images if every row succeeded "
        f"({image_bytes:,} an image at {side} px)",
        f"stages planned before: {', '.join(done) or 'none'}",
        f"top hosts of {sampled:,} rows looked at:",
        *[f"  {100 * count / max(sampled, 1):5.1f} %  {host}" for host, count in hosts],
    ]


def _hosts(inputs: Inputs) -> tuple[list[tuple[str, int]], int]:
    hosts: Counter[str] = Counter()
    sampled = 0
    for file in inputs.files[:FILES_LOOKED_AT]:
        source = inputs.sources[file.source]
        resolved = {"url": resolve(source, file.columns, file.path)["url"]}
        for batch, _ in PieceReader(_first_piece(file), resolved):
            urls = drop_invalid(batch.column(0))[0] if batch.num_columns else []
            hosts.update(_host(url.as_py()) for url in urls if url.is_valid)
            sampled += len(batch)
    return hosts.most_common(_TOP_HOSTS), sampled


def _first_piece(file: InputFile) -> Piece:
    piece = Piece(source=file.source, name=file.name, path=file.path, columns=file.columns, rows=0)
    if not file.extents:
        return piece
    first = file.extents[0]
    rows = _ROWS_LOOKED_AT if first.rows is None else min(first.rows, _ROWS_LOOKED_AT)
    return replace(piece, start=first.start, end=first.end, rows=rows)


def _host(url: str | bytes) -> str:
    text = url.decode("utf-8", "replace") if isinstance(url, bytes) else url
    return text.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
