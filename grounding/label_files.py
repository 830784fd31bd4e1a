"""The labels of a grounding job, before thresholds and selection: every phrase and every box.

Goes in: the folder of a job that ran at least to its labels. Comes out: a record per sample of its
input, with all boxes above the job's floor, and who found them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shards.files import parquet
from shards.files.store import Store
from shards.grounded import BoxRow, Grounding, Phrase

_MARKERS = "stats/labels"


@dataclass(frozen=True)
class Labels:
    """The finished parts of a job's labels."""

    store: Store
    files: tuple[str, ...]  # labels/000123-00.parquet, in order
    detector: str | None  # its name
    fingerprint: str  # hex, of the files

    def read(self) -> Iterator[tuple[str, Grounding]]:
        """Yield key and phrases of every sample; boxes are rows of `noun_chunks`.

        A phrase that was dropped keeps its reason. There are no expressions: they are made of what
        passes the thresholds.
        """
        shard, phrases = "", dict[str, list[Phrase]]()
        for file in self.files:
            name = file.removeprefix("labels/").rpartition("-")[0]
            if name != shard:
                shard, phrases = name, read_phrases(self.store, name)
            for row in read_labels(self.store, file, phrases):
                yield row["key"], _grounding(phrases[row["key"]], row["boxes"])


def open_labels(folder: str | os.PathLike[str]) -> Labels:
    """Find the labels of a job.

    Raises:
        ValueError: There are none.
    """
    store = Store(folder)
    markers = [json.loads(store.read(entry.name)) for entry in store.list(_MARKERS, ".json")]
    results = [marker["result"] for marker in markers]
    files = sorted((file["name"], file["sha256"]) for result in results for file in result["files"])
    if not files:
        raise ValueError(
            f"{store.root}: no labels; type: python -m pipelines.ground --stop_after labels "
            f"--output {store.root} …"
        )
    return Labels(
        store,
        tuple(name for name, _ in files),
        results[0].get("detector"),
        hashlib.sha256(json.dumps(files).encode()).hexdigest(),
    )


def read_phrases(store: Store, shard: str) -> dict[str, list[Phrase]]:
    """Return the phrases of a shard's samples by key, in the order of the samples."""
    with store.open(f"phrases/{shard}.parquet") as file:
        rows = parquet.read(file).to_pylist()
    return {row["key"]: [Phrase(**record) for record in row["phrases"]] for row in rows}


def read_labels(
    store: Store, name: str, phrases: Mapping[str, Sequence[Phrase]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of labels, as `shards.schema.LABELS` describes them.

    Files of format 1 number the phrases that were kept; they are read as if they numbered all.

    Args:
        store: The job's folder.
        name: The file in it.
        phrases: Of the shard's samples, as `read_phrases` returns them.

    Raises:
        ValueError: The file is of a later format.
    """
    with store.open(name) as file:
        table = parquet.read(file)
    written = (table.schema.metadata or {}).get(b"format", b"1").decode()
    if written not in ("1", "2"):
        raise ValueError(
            f"{store.url(name)}: labels of format {written}, and this release reads 1 and 2; "
            "use the release that wrote them"
        )
    for row in table.to_pylist():
        if written == "1":
            kept = [n for n, phrase in enumerate(phrases[row["key"]]) if phrase.is_kept]
            row["boxes"] = [{**box, "phrase": kept[box["phrase"]]} for box in row["boxes"]]
        yield row


def _grounding(phrases: Sequence[Phrase], boxes: Sequence[Mapping[str, Any]]) -> Grounding:
    rows = tuple(_row(phrases[box["phrase"]], box) for box in boxes)
    return Grounding(rows, (), tuple(phrases))


def _row(phrase: Phrase, box: Mapping[str, Any]) -> BoxRow:
    x0, y0, x1, y1 = (float(box[name]) for name in ("x0", "y0", "x1", "y1"))
    return BoxRow(phrase.start, phrase.end, x0, y0, x1, y1, float(box["score"]))
