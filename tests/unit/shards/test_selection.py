"""Selections: written by shard, sealed, applied by every reader, and bound to their run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.shards.toy_shards import captioned, decisions, documents, select, write_run

import shards
from shards import manifest, selection
from shards.files.store import Store
from shards.layout import find


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", captioned(20), shard_size=6, uneven=True)


def test_what_is_finished_is_read_back(run: Path) -> None:
    made = select(run)
    assert selection.read(Store(run), "half") == made
    assert [each.name for each in made.shards] == list(find(Store(run)).names)
    written = json.loads((run / "selections/half/manifest.json").read_text())
    assert written["name"] == "half" and written["contract_version"] == 1
    for each in made.shards:
        file = run / f"selections/half/{each.name}.parquet"
        assert file.stat().st_size == each.size
        assert pq.read_schema(file).names == ["key", "keep", "reason"]


def test_bytes_do_not_depend_on_the_order_of_rows(run: Path) -> None:
    first = select(run)
    for shard in find(Store(run)).names:
        table = decisions(Store(run), shard)
        selection.write(Store(run), "half", shard, table.take(list(range(table.num_rows))[::-1]))
    assert selection.finish(Store(run), "half") == first


def test_read_yields_the_kept_records(run: Path) -> None:
    select(run)
    keep = {
        row["key"]: row["keep"]
        for shard in find(Store(run)).names
        for row in decisions(Store(run), shard).to_pylist()
    }
    everything = list(shards.read(run))
    assert list(shards.read(f"{run}@half")) == [r for r in everything if keep[r.sample.key]]


def test_read_of_several_images_says_who_reads_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", documents(3), level="document")
    with pytest.raises(ValueError, match=r"level 'document'.*SampleReader"):
        list(shards.read(run))


def test_a_sample_without_a_decision_names_the_shard(run: Path) -> None:
    table = decisions(Store(run), "000000").slice(2)
    with pytest.raises(ValueError, match=r"shard 000000: .* samples have no row"):
        selection.write(Store(run), "half", "000000", table)


def test_wrong_tables(run: Path) -> None:
    store, table = Store(run), decisions(Store(run), "000000")
    with pytest.raises(ValueError, match="two rows"):
        selection.write(store, "half", "000000", pa.concat_tables([table, table]))
    with pytest.raises(ValueError, match=r"lack.*reason"):
        selection.write(store, "half", "000000", table.drop_columns("reason"))
    nulls = table.set_column(1, "keep", pa.nulls(table.num_rows, pa.bool_()))
    with pytest.raises(ValueError, match="no decision"):
        selection.write(store, "half", "000000", nulls)
    with pytest.raises(ValueError, match="no shard 999999"):
        selection.write(store, "half", "999999", table)


def test_a_shard_without_decisions_cannot_be_finished(run: Path) -> None:
    selection.write(Store(run), "half", "000000", decisions(Store(run), "000000"))
    with pytest.raises(ValueError, match="no decisions about shard 000001"):
        selection.finish(Store(run), "half")


def test_an_unknown_selection_lists_the_known(run: Path) -> None:
    with pytest.raises(ValueError, match="no finished selection 'other'; there are: none"):
        selection.read(Store(run), "other")
    select(run)
    selection.write(Store(run), "begun", "000000", decisions(Store(run), "000000"))
    with pytest.raises(ValueError, match=r"no finished selection 'begun'; there are: half$"):
        selection.read(Store(run), "begun")


def test_another_state_of_the_run_is_refused(run: Path) -> None:
    select(run)
    found = manifest.read(Store(run))
    manifest.write(Store(run), manifest.Manifest(**{**vars(found), "fingerprints": {"mix": "1"}}))
    with pytest.raises(ValueError, match="another state of this run"):
        selection.read(Store(run), "half")


def test_specs(run: Path, tmp_path: Path) -> None:
    assert selection.split_spec(run) == (str(run), None)
    assert selection.split_spec(f"{run}@v1.2") == (f"{run}", "v1.2")
    assert selection.split_spec("gs://user@bucket/run") == ("gs://user@bucket/run", None)
    shutil.copytree(run, tmp_path / "run@home")
    assert selection.split_spec(f"{tmp_path}/run@home") == (f"{tmp_path}/run@home", None)
    assert selection.split_spec(f"{tmp_path}/run@home@v1") == (f"{tmp_path}/run@home", "v1")
    with pytest.raises(ValueError, match="not a selection's name"):
        selection.split_spec(f"{run}@")
