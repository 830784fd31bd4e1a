"""One contract for local disk, gs:// and s3://: what every store promises the writer protocol."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.shards.emulators import gs_emulator, s3_emulator

from shards.files.store import Store

RACERS = 16


@pytest.fixture(scope="module", params=["local", "gs", "s3"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where this module's runs live, once per kind of store."""
    if request.param == "local":
        yield str(tmp_path_factory.mktemp("home"))
        return
    with (gs_emulator if request.param == "gs" else s3_emulator)() as bucket:
        yield bucket


@pytest.fixture
def store(home: str, request: pytest.FixtureRequest) -> Store:
    """An empty run directory; its name has the characters a glob would stumble over."""
    return Store(f"{home}/run [{request.node.originalname}]*")


def test_absent(store: Store) -> None:
    assert store.stat("a/b") is None
    assert not store.exists("a/b")
    assert store.list("a") == []
    store.delete("a/b")
    store.delete_tree("a")
    for read in (store.read, lambda name: store.read_range(name, 0, 1), _read_opened(store)):
        with pytest.raises(FileNotFoundError, match="a/b"):
            read("a/b")


def _read_opened(store: Store) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        with store.open(name) as file:
            return file.read()

    return read


def test_write_replaces_and_reads_back(store: Store) -> None:
    for data in (b"", b"first", bytes(range(256)) * 40, b"last"):
        store.write("deep/down/file.bin", data)
        assert store.read("deep/down/file.bin") == data
        assert _read_opened(store)("deep/down/file.bin") == data
        entry = store.stat("deep/down/file.bin")
        assert entry is not None and (entry.name, entry.size) == ("deep/down/file.bin", len(data))


def test_a_folder_is_not_a_file(store: Store) -> None:
    store.write("folder/file", b"x")
    assert store.stat("folder") is None
    assert not store.exists("folder")


def test_list_is_flat_sorted_and_fresh(store: Store) -> None:
    for name in ("s/2.tar", "s/10.tar", "s/2.parquet", "s/below/3.tar", "s2/4.tar", "s/.5.tar.ab"):
        store.write(name, b"12")
    assert [entry.name for entry in store.list("s")] == ["s/10.tar", "s/2.parquet", "s/2.tar"]
    assert [entry.name for entry in store.list("s", ".tar")] == ["s/10.tar", "s/2.tar"]
    assert {entry.size for entry in store.list("s")} == {2}
    Store(store.root).write("s/1.tar", b"by another launcher")
    assert store.list("s", ".tar")[0].name == "s/1.tar"
    assert store.list("s/2.tar") == []


def test_list_of_the_root(store: Store) -> None:
    store.write("run.json", b"{}")
    store.write("shards/000000.tar", b"")
    assert [entry.name for entry in store.list("")] == ["run.json"]


def test_times_are_the_stores_and_comparable(store: Store) -> None:
    store.write("lease", b"1")
    first = store.stat("lease")
    store.write("lease", b"2")
    second = store.stat("lease")
    assert first is not None and second is not None
    assert 0 <= second.modified_s - first.modified_s < 60
    assert store.list("")[0].modified_s == second.modified_s


def test_exactly_one_of_many_creators_wins(store: Store) -> None:
    with ThreadPoolExecutor(RACERS) as pool:
        for turn in range(5):
            name = f"claims/{turn}.json"
            bodies = [b"attempt %d " % racer * 500 for racer in range(RACERS)]
            won = list(pool.map(lambda body, name=name: store.create(name, body), bodies))
            assert won.count(True) == 1
            assert store.read(name) == bodies[won.index(True)]
            assert not store.create(name, b"late")
    assert len(store.list("claims")) == 5


def test_ranges(store: Store) -> None:
    data = bytes(range(256)) * 16
    store.write("buckets/part.arrows", data)
    assert store.read_range("buckets/part.arrows", 250, 10) == data[250:260]
    assert store.read_range("buckets/part.arrows", len(data), 0) == b""
    for start, length in ((len(data) - 5, 6), (len(data), 1), (len(data) + 9, 1)):
        with pytest.raises(OSError, match="buckets/part"):
            store.read_range("buckets/part.arrows", start, length)


@pytest.mark.parametrize("threads", [1, 3, 64])
def test_many_ranges_come_in_order(store: Store, threads: int) -> None:
    data = os.urandom(4000)
    store.write("part", data)
    ranges = [("part", start, start % 7) for start in range(0, 200)]
    expected = [data[start : start + length] for _, start, length in ranges]
    assert list(store.read_ranges(ranges, threads=threads)) == expected
    assert list(store.read_ranges([], threads=threads)) == []


def test_an_absent_range_is_an_error_in_its_place(store: Store) -> None:
    store.write("there", b"abc")
    reads = store.read_ranges([("there", 0, 2), ("missing", 0, 2), ("there", 1, 2)], threads=2)
    assert next(reads) == b"ab"
    with pytest.raises(FileNotFoundError, match="missing"):
        next(reads)


def test_put_moves_a_local_file(store: Store, tmp_path: Path) -> None:
    spool = tmp_path / "spool.tar"
    for data in (b"short", os.urandom(6 << 20)):
        spool.write_bytes(data)
        store.put(str(spool), "attempt/000001.tar")
        assert not spool.exists()
        assert store.read("attempt/000001.tar") == data
    with pytest.raises(FileNotFoundError, match="spool"):
        store.put(str(spool), "attempt/000002.tar")


def test_publish_gives_a_second_name_any_number_of_times(store: Store) -> None:
    store.write("attempt/a.tar", b"winner")
    store.write("shards/b.tar", b"wrong and longer")
    for _ in range(3):
        store.publish("attempt/a.tar", "shards/a.tar")
        store.publish("attempt/a.tar", "shards/b.tar")
    assert store.read("shards/a.tar") == store.read("shards/b.tar") == b"winner"
    assert store.read("attempt/a.tar") == b"winner"
    store.delete_tree("attempt")
    assert store.read("shards/a.tar") == b"winner"
    with pytest.raises(FileNotFoundError, match="attempt/a"):
        store.publish("attempt/a.tar", "shards/c.tar")
    assert not store.exists("shards/c.tar")


def test_publishing_leaves_nothing_behind(store: Store) -> None:
    store.write("attempt/a.tar", b"1")
    store.publish("attempt/a.tar", "shards/a.tar")
    store.publish("attempt/a.tar", "shards/a.tar")
    store.create("shards/b.tar", b"2")
    store.create("shards/b.tar", b"3")
    if (path := store.local_path("shards")) is not None:
        assert sorted(os.listdir(path)) == ["a.tar", "b.tar"]
    assert [entry.name for entry in store.list("shards")] == ["shards/a.tar", "shards/b.tar"]


def test_writing_over_a_published_file_spares_its_source(store: Store) -> None:
    store.write("attempt/a", b"source")
    store.publish("attempt/a", "final/a")
    store.write("final/a", b"other")
    assert store.read("attempt/a") == b"source"


def test_delete(store: Store) -> None:
    for name in ("t/1", "t/u/2", "t/u/v/3", "tt/4"):
        store.write(name, b"x")
    store.delete("t/1")
    store.delete("t/1")
    assert not store.exists("t/1")
    store.delete_tree("t")
    store.delete_tree("t")
    assert [store.exists(name) for name in ("t/u/2", "t/u/v/3", "tt/4")] == [False, False, True]


def test_a_store_travels_in_a_pickle(store: Store) -> None:
    store.write("a", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store and copy.root == store.root
    assert copy.read("a") == b"1"


def test_a_store_works_in_another_process(store: Store) -> None:
    store.write("a", b"1")
    code = (
        "import sys; from shards.files.store import Store; store = Store(sys.argv[1]);"
        "assert store.read('a') == b'1'; assert not store.create('a', b'');"
        "store.write('b', b'from the child')"
    )
    subprocess.run([sys.executable, "-c", code, store.root], check=True, timeout=60)
    assert store.read("b") == b"from the child"


def test_pyarrow_reads_through_open(store: Store) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"x": range(1000)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=100)
    store.write("kept/part.parquet", sink.getvalue().to_pybytes())
    with store.open("kept/part.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(3).equals(table.slice(300, 100))


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "a/../../b"])
def test_names_stay_inside(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="inside"):
        store.write(name, b"")


def test_missing_bucket_is_named(home: str) -> None:
    scheme, colon, _ = home.partition("://")
    if not colon:
        pytest.skip("a local path has no bucket")
    store = Store(f"{scheme}://no-such-bucket/run")
    assert not store.exists("run.json")
    for write in (store.write, store.create):
        with pytest.raises(ValueError, match=f"no bucket {scheme}://no-such-bucket"):
            write("run.json", b"{}")
