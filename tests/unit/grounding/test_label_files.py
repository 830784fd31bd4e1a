"""Files of labels in both formats: rows in, the phrases that their boxes are of out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from grounding.label_files import read_labels
from shards.files import parquet
from shards.files.store import Store
from shards.grounded import Phrase
from shards.schema import LABELS


def phrase(start: int, drop_reason: str | None = None) -> Phrase:
    return Phrase(
        start=start,
        end=start + 2,
        head_start=start,
        head_end=start + 2,
        head_lemma="x",
        root_pos="NOUN",
        drop_reason=drop_reason,
    )


PHRASES = {"a": [phrase(0, "pronoun"), phrase(3), phrase(6, "abstract"), phrase(9)], "b": []}


def written(folder: Path, numbers: list[int], metadata: dict[str, str] | None) -> Store:
    box = {"x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0, "score": 0.5}
    rows: list[dict[str, Any]] = [
        {"key": "a", "outcome": "labelled", "boxes": [{"phrase": n, **box} for n in numbers]},
        {"key": "b", "outcome": "image_damaged", "boxes": []},
    ]
    schema = parquet.storage_schema(LABELS).with_metadata(metadata)
    parquet.write(str(folder / "labels"), [pa.Table.from_pylist(rows, schema)], schema)
    return Store(folder)


@pytest.mark.parametrize(
    ("metadata", "numbers"),
    [(None, [0, 1, 1]), (LABELS.metadata, [1, 3, 3])],
    ids=["numbers of kept phrases", "numbers of all phrases"],
)
def test_boxes_are_of_the_same_phrases_in_both_formats(
    metadata: dict[str, str] | None, numbers: list[int], tmp_path: Path
) -> None:
    store = written(tmp_path, numbers, metadata)
    before = store.read("labels")
    first, second = read_labels(store, "labels", PHRASES)
    assert [box["phrase"] for box in first["boxes"]] == [1, 3, 3]
    assert (first["key"], second["outcome"], second["boxes"]) == ("a", "image_damaged", [])
    assert store.read("labels") == before


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    store = written(tmp_path, [0], {"format": "3"})
    with pytest.raises(ValueError, match="labels: labels of format 3, and this release reads"):
        list(read_labels(store, "labels", PHRASES))
