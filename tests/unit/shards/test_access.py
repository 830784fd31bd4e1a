"""Every place leads to the sample as it was written; every damage is one of three reasons."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.shards.toy_shards import (
    BY_LEVEL,
    ToySample,
    captioned,
    decisions,
    documents,
    select,
    write_run,
)

from shards import selection
from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import Dataset, open_dataset
from shards.files.store import Store
from shards.schema import LEVELS


def places(dataset: Dataset) -> list[tuple[int, int]]:
    return [(shard, row) for shard, count in enumerate(dataset.counts) for row in range(count)]


def sample_at(reader: SampleReader, shard: int, row: int) -> RawSample:
    return reader.read(shard, row)


@pytest.mark.parametrize("level", LEVELS)
def test_what_was_written_is_read(level: str, tmp_path: Path) -> None:
    samples = {sample.key: sample for sample in BY_LEVEL[level](20)}
    run = write_run(tmp_path / "run", list(samples.values()), level=level, uneven=True)
    reader = SampleReader(open_dataset(run))
    found = list(reader.read_many(places(reader.dataset)))
    assert sorted(sample.key for sample in found) == sorted(samples)
    for sample in found:
        written = samples[sample.key]
        assert sample.images == written.images
        assert sample.text.decode() == written.caption
        fields = sample.fields()
        assert fields["caption"] == written.caption
        assert {name: fields[name] for name in written.fields} == written.fields


def test_more_than_ten_images_keep_their_order(tmp_path: Path) -> None:
    images = tuple(documents(12)[number].images[0] for number in range(12))
    sample = ToySample("many", images, {"items": [{"image": i} for i in range(12)]})
    reader = SampleReader(open_dataset(write_run(tmp_path / "run", [sample], level="document")))
    assert reader.read(0, 0).images == images
    assert reader.read(0, 0).extensions[-1] == "11.jpg"


def test_any_order_and_a_pickled_reader_give_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(30), shard_size=7)
    reader = SampleReader(open_dataset(run))
    expected = {place: sample_at(reader, *place) for place in places(reader.dataset)}
    shuffled = list(expected)
    random.Random(0).shuffle(shuffled)
    again = pickle.loads(pickle.dumps(reader))
    assert list(again.read_many(shuffled)) == [expected[place] for place in shuffled]
    for shard in range(len(reader.dataset.shards)):
        in_order = [sample for (number, _), sample in expected.items() if number == shard]
        assert list(again.iterate(shard)) == in_order
        assert [sample.key for sample in in_order] == sorted(s.key for s in in_order)


def test_a_selection_leaves_rows_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(20), shard_size=6, uneven=True)
    select(run)
    everything, half = (SampleReader(open_dataset(f"{run}{at}")) for at in ("", "@half"))
    keep = {
        row["key"]: row["keep"]
        for shard in half.dataset.shards
        for row in decisions(Store(run), shard).to_pylist()
    }
    all_found = list(everything.read_many(places(everything.dataset)))
    expected = [sample.key for sample in all_found if keep[sample.key]]
    assert [sample.key for sample in half.read_many(places(half.dataset))] == expected


def test_a_selection_changed_after_its_end_is_an_error(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(6))
    select(run)
    selection.write(Store(run), "half", "000000", decisions(Store(run), "000000", every=3))
    with pytest.raises(ValueError, match=r"2 samples are kept, 3 were .* finish it again") as info:
        SampleReader(open_dataset(f"{run}@half")).read(0, 0)
    assert not isinstance(info.value, SampleError)


def test_few_shards_are_held(tmp_path: Path) -> None:
    dataset = open_dataset(write_run(tmp_path / "run", captioned(12), shard_size=2))
    reader = SampleReader(dataset, indexes=2, maps=1)
    for _ in range(2):
        assert len(list(reader.read_many(places(reader.dataset)))) == 12
    assert (len(reader._indexes._values), len(reader._maps._values)) == (2, 1)


def test_a_row_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    reader = SampleReader(open_dataset(write_run(tmp_path / "run", captioned(3))))
    with pytest.raises(IndexError):
        reader.read(0, 3)
    with pytest.raises(IndexError):
        list(reader.read_many([(1, 0)]))


# Damage: what is done to a run of three samples, and the reason that row 1 and shard get.


def _tar(run: Path) -> Path:
    return run / "shards/000000.tar"


def _place(run: Path, row: int) -> tuple[int, int]:
    table = pq.read_table(run / "shards/000000.parquet").to_pylist()
    return table[row]["tar_offset"], table[row]["tar_size"]


def _cut(run: Path) -> None:
    offset, size = _place(run, 1)
    _tar(run).write_bytes(_tar(run).read_bytes()[: offset + size - 10_00])


def _empty(run: Path) -> None:
    _tar(run).write_bytes(b"")


def _swap(run: Path) -> None:
    data = bytearray(_tar(run).read_bytes())
    (one, _), (other, _) = _place(run, 1), _place(run, 2)
    data[one : one + 512], data[other : other + 512] = (
        data[other : other + 512],
        data[one : one + 512],
    )
    _tar(run).write_bytes(data)


def _flip(run: Path) -> None:
    data = bytearray(_tar(run).read_bytes())
    data[_place(run, 1)[0] + 5] ^= 1
    _tar(run).write_bytes(data)


def _zeros(run: Path) -> None:
    data = bytearray(_tar(run).read_bytes())
    start, size = _place(run, 1)
    data[start : start + size] = bytes(size)
    _tar(run).write_bytes(data)


def _sidecar(run: Path) -> None:
    (run / "shards/000000.parquet").write_bytes(b"PAR1 is not enough")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (_cut, "beyond|cut short"),
    "empty": (_empty, "an empty file"),
    "absent": (lambda run: _tar(run).unlink(), "No such file"),
    "another sample": (_swap, "should begin|beyond"),
    "a flipped bit": (_flip, "checksum"),
    "zeros": (_zeros, "ends"),
    "sidecar": (_sidecar, "[Pp]arquet"),
    "sidecar absent": (lambda run: (run / "shards/000000.parquet").unlink(), "No such file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_tars(name: str, tmp_path: Path) -> None:
    damage, expected = DAMAGES[name]
    run = write_run(tmp_path / "run", captioned(3))
    key = SampleReader(open_dataset(run)).read(0, 1).key
    damage(run)
    reader = SampleReader(open_dataset(run))
    with pytest.raises(SampleError, match=expected) as info:
        reader.read(0, 1)
    error = info.value
    assert (error.reason, error.dataset, error.shard) == ("tar_damaged", str(run), "000000")
    assert error.key == (None if "sidecar" in name else key)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    found = list(reader.iterate(0))
    assert len(found) == 3 and str(found[1]) == str(error)
    if name in ("cut", "a flipped bit", "zeros"):
        assert isinstance(found[0], RawSample)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"null", b"[" * 100_000])
def test_damaged_json(data: bytes, tmp_path: Path) -> None:
    reader = SampleReader(open_dataset(write_run(tmp_path / "run", captioned(1))))
    sample = reader.read(0, 0)
    broken = RawSample(**{**vars(sample), "json": data})
    with pytest.raises(SampleError) as info:
        broken.fields()
    assert (info.value.reason, info.value.key) == ("json_damaged", sample.key)


def test_a_sample_with_too_few_images_is_incomplete(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", BY_LEVEL["text"](2), level="image_text")
    (error, _) = SampleReader(open_dataset(run)).iterate(0)
    assert isinstance(error, SampleError) and error.reason == "sample_incomplete"
    assert error.key is not None and "images []" in error.detail
