"""One shard out of its samples, and a run out of such shards."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shards import manifest
from shards.files.commit import Attempt, ItemId
from shards.files.parquet import storage_schema
from shards.files.store import Store
from shards.files.tar import TarWriter, first_member
from shards.outcomes import Outcome
from shards.schema import SIDECAR
from shards.shard_writer import MadeSample, RunWriter, ShardWriter

ONE, TWO = ({"jpg": b"an image", "txt": b"words", "json": b"{}"}, {"txt": b"w" * 600})


def values(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "caption": "words", "source": "own", "source_row": 3, **more}


def test_a_shard_has_its_samples_and_a_row_for_everything_planned(tmp_path: Path) -> None:
    with Attempt(Store(tmp_path), ItemId("pack", "000000")) as attempt:
        with ShardWriter(attempt, "000000") as shard:
            shard.add(values("a", width=4, no_column="passed over"), ONE)
            shard.fail(values("b"), Outcome.HTTP_NOT_FOUND, "404")
            shard.add(values("c"), TWO)
        assert shard.counts() == {
            "planned": 3,
            "samples": 2,
            "outcomes": {"http_not_found": 1},
        }
        tar = Path(attempt.scratch("shards/000000.tar")).read_bytes()
        sidecar = pq.read_table(attempt.scratch("shards/000000.parquet"))
    expected = io.BytesIO()
    by_hand = TarWriter(expected)
    places = [by_hand.add("a", ONE), by_hand.add("c", TWO)]
    by_hand.close()
    assert tar == expected.getvalue()
    assert sidecar.schema == storage_schema(SIDECAR)
    first, second, third = sidecar.to_pylist()
    assert (first["tar_offset"], first["tar_size"]) == places[0]
    assert first_member(tar[places[0][0] :][: places[0][1]]) == b"an image"
    assert (first["status"], first["outcome"], first["width"]) == ("success", "success", 4)
    assert (second["status"], second["error_message"]) == ("failed_to_download", "404")
    assert (second["tar_offset"], second["tar_size"], second["source_row"]) == (None, None, 3)
    assert (third["tar_offset"], third["tar_size"]) == places[1]


def test_where_writing_fails_there_is_no_sidecar(tmp_path: Path) -> None:
    with Attempt(Store(tmp_path), ItemId("pack", "000000")) as attempt:
        with pytest.raises(KeyError), ShardWriter(attempt, "000000") as shard:
            shard.add({"caption": "without a key"}, ONE)
        assert not Path(attempt.scratch("shards/000000.parquet")).exists()


def test_a_run_has_full_shards_in_key_order(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", "grounded", "jpg", 2)
    for key in "cab":
        run.add(MadeSample(values(key), ONE))
    run.add(MadeSample(values("d"), outcome=Outcome.DECODE_FAILED, message="why"))
    assert run.finish() == {"planned": 4, "samples": 3, "outcomes": {"decode_failed": 1}}
    written = manifest.read(run.store)
    assert [(entry.planned, entry.samples) for entry in written.shards] == [(2, 2), (2, 1)]
    assert (written.level, written.extension, written.samples) == ("grounded", "jpg", 3)
    keys = [
        pq.read_table(tmp_path / "run" / entry.sidecar).column("key").to_pylist()
        for entry in written.shards
    ]
    assert keys == [["a", "c"], ["b", "d"]]


def test_a_run_needs_an_empty_folder_and_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no record can be used"):
        RunWriter(tmp_path / "run", "grounded", "jpg", 2).finish()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").touch()
    with pytest.raises(ValueError, match="is not empty; name another folder"):
        RunWriter(tmp_path / "run", "grounded", "jpg", 2)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        RunWriter(tmp_path / "other", "grounded", "jpg", 0)
