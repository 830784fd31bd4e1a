"""GRIT parquet, the form in which Kosmos-2's grounded pairs were published: read and write.

Goes in and comes out: rows with caption, address and the boxes of noun chunks and of referring
expressions. What a run does not know is null; a row that cannot be used gets a reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grounding.samples import unparsed_phrase
from shards.files import parquet
from shards.grounded import BadGroundingError, BoxRow, GroundedSample, Grounding, Span, box_rows
from shards.sample import ImageSample

_ROWS = pa.list_(pa.list_(pa.float64()))

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("clip_similarity_vitb32", pa.float64()),
        pa.field("clip_similarity_vitl14", pa.float64()),
        pa.field("id", pa.int64()),  # COYO's
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int64()),  # of the image at that address, pixels
        pa.field("height", pa.int64()),
        pa.field("noun_chunks", _ROWS),  # rows [start, end, x0, y0, x1, y1, score]
        pa.field("ref_exps", _ROWS),
    ]
)
"""The columns of the published files."""

_SIMILARITIES = {
    "clip-vit-b-32": "clip_similarity_vitb32",
    "clip-vit-l-14": "clip_similarity_vitl14",
}
_ID_SOURCE = "coyo700m"  # the source whose keys are GRIT's ids
_BATCH_ROWS = 4096
_MAX_INT64 = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GritRecord:
    """One row. `ref_exps` repeats the chunk where no expression was found around it."""

    key: str | None
    clip_similarity_vitb32: float | None
    clip_similarity_vitl14: float | None
    id: int | None
    url: str | None
    caption: str
    width: int | None  # pixels
    height: int | None
    noun_chunks: tuple[BoxRow, ...]
    ref_exps: tuple[BoxRow, ...]

    def grounding(self) -> Grounding:
        """Return the boxes with records of their phrases.

        The file has no phrases without boxes and no heads: heads are by rule, and the expression
        of a chunk is the shortest one around it that has its first box.
        """
        spans = dict.fromkeys(row.span for row in self.noun_chunks)
        phrases = tuple(
            unparsed_phrase(self.caption, span, self._expression(span)) for span in sorted(spans)
        )
        return Grounding(self.noun_chunks, self.ref_exps, phrases)

    def _expression(self, chunk: Span) -> Span | None:
        box = next(row.box_xyxy for row in self.noun_chunks if row.span == chunk)
        around = [
            row.span
            for row in self.ref_exps
            if row.box_xyxy == box and row.start <= chunk[0] and chunk[1] <= row.end
        ]
        return min(around, key=lambda span: (span[1] - span[0], span), default=None)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    file: str
    row: int  # from 0
    reason: str  # caption_missing, rows_malformed, span_outside, box_outside or box_corners
    detail: str


def write(samples: Iterable[GroundedSample], path: str | os.PathLike[str]) -> int:
    """Write a grounded shard set as one file and return its number of rows.

    Args:
        samples: As `grounding.samples.samples` yields them.
        path: A local file, replaced at the end.
    """
    final = os.fspath(path)
    unfinished = f"{final}.unfinished"
    rows = parquet.write(unfinished, _tables(samples), SCHEMA)
    os.replace(unfinished, final)
    return rows


def read(path: str | os.PathLike[str]) -> Iterator[GritRecord | BadRow]:
    """Yield every row of a file in order, or why it cannot be used.

    Columns besides caption, noun chunks and expressions may be absent.

    Raises:
        ValueError: The file is not such a parquet file.
    """
    name = os.fspath(path)
    try:
        file = pq.ParquetFile(name)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{name}: not a readable parquet file ({error})") from error
    with file:
        present = set(file.schema_arrow.names)
        if missing := {"caption", "noun_chunks", "ref_exps"} - present:
            raise ValueError(f"{name}: no columns {sorted(missing)}, so it is not a GRIT file")
        columns = [column for column in SCHEMA.names if column in present]
        number = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            for values in batch.to_pylist():
                yield _record(values, name, number)
                number += 1


def _record(values: Mapping[str, Any], file: str, row: int) -> GritRecord | BadRow:
    caption = values["caption"]
    if not isinstance(caption, str) or not caption:
        return BadRow(file, row, "caption_missing", f"the caption is {caption!r:.60}")
    known: dict[str, Any] = {name: values.get(name) for name in SCHEMA.names}
    try:
        for name in ("noun_chunks", "ref_exps"):
            known[name] = box_rows(values[name], caption)
    except BadGroundingError as error:
        return BadRow(file, row, error.reason, error.detail)
    return GritRecord(**known)


def _tables(samples: Iterable[GroundedSample]) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for sample in samples:
        rows.append(_row(sample.common, sample.grounding))
        if len(rows) == _BATCH_ROWS:
            yield pa.Table.from_pylist(rows, SCHEMA)
            rows = []
    yield pa.Table.from_pylist(rows, SCHEMA)


def _row(common: ImageSample, grounding: Grounding) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    if common.similarity_scorer in _SIMILARITIES:
        row[_SIMILARITIES[common.similarity_scorer]] = common.similarity
    if common.source == _ID_SOURCE:
        row["id"] = _whole(common.source_key)
    return row | {
        "key": common.key,
        "url": common.url,
        "caption": common.caption,
        "width": common.original_width,
        "height": common.original_height,
        "noun_chunks": [list(box) for box in grounding.noun_chunks],
        "ref_exps": [list(box) for box in grounding.ref_exps],
    }


def _whole(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    value = int(text)
    return value if value <= _MAX_INT64 else None
