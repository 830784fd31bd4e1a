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
        shard, phrases = "", dict[str, Sequence[Mapping[str, Any]]]()
        for file in self.files:
            name = file.removeprefix("labels/").rpartition("-")[0]
            if name != shard:
                shard, rows = name, _rows(self.store, f"phrases/{name}.parquet")
                phrases = {row["key"]: row["phrases"] for row in rows}
            for row in _rows(self.store, file):
                yield row["key"], _grounding(phrases[row["key"]], row["boxes"])


def open_labels(folder: str | os.PathLike[str]) -> Labels:
    """Find the labels of a job.

    Raises:
        ValueError: There are none.
    """
    store = Store(folder)
    markers = [json.loads(store.read(each.name)) for each in store.list(_MARKERS, ".json")]
    results = [marker["result"] for marker in markers]
    files = sorted((file["name"], file["sha256"]) for each in results for file in each["files"])
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


def _grounding(
    phrases: Sequence[Mapping[str, Any]], boxes: Sequence[Mapping[str, Any]]
) -> Grounding:
    records = tuple(Phrase(**each) for each in phrases)
    asked = [each for each in records if each.drop_reason is None]
    rows = tuple(_row(asked[box["phrase"]], box) for box in boxes)
    return Grounding(rows, (), records)


def _row(phrase: Phrase, box: Mapping[str, Any]) -> BoxRow:
    x0, y0, x1, y1 = (float(box[name]) for name in ("x0", "y0", "x1", "y1"))
    return BoxRow(phrase.start, phrase.end, x0, y0, x1, y1, float(box["score"]))


def _rows(store: Store, name: str) -> list[dict[str, Any]]:
    with store.open(name) as file:
        rows: list[dict[str, Any]] = parquet.read(file).to_pylist()
    return rows
