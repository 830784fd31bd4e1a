"""The same rows give the same parquet bytes, however they were cut, sliced or encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.files import parquet
from shards.schema import KEPT, NAME, REJECT, SIDECAR

SCHEMA = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("source", NAME),
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("url_hash", pa.binary(16)),
        pa.field("similarity", pa.float32()),
        pa.field("source_row", pa.int64()),
        pa.field("flag", pa.bool_()),
    ]
)
ROWS = 5000
GROUP = 2100


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    some = rng.random(ROWS) < 0.1
    lists = [[["a"], ["b", "a"], [], None][i % 4] for i in range(ROWS)]
    columns = [
        # Long enough for several pages in a row group: where they end depends on chunks.
        pa.array([f"http://a.com/{i}/{'x' * 900}" for i in range(ROWS)], mask=some),
        pa.array(["one" if i % 3 else "two" for i in range(ROWS)], mask=some).dictionary_encode(),
        pa.array(lists, pa.list_(pa.string())),
        pa.array([rng.bytes(16) for _ in range(ROWS)], pa.binary(16), mask=some),
        pa.array(rng.random(ROWS), pa.float32(), mask=some),
        pa.array(np.arange(ROWS)),
        pa.array(rng.random(ROWS) < 0.5, mask=some),
    ]
    return pa.Table.from_arrays([pa.chunked_array([c]) for c in columns], schema=SCHEMA)


def whole(t: pa.Table) -> Iterator[pa.Table]:
    yield t


def few_by_few(t: pa.Table) -> Iterator[pa.Table]:
    yield from (t.slice(i, 7) for i in range(0, ROWS, 7))


def odd_batches(t: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from t.to_batches(max_chunksize=333)


def one_table_of_many_chunks(t: pa.Table) -> Iterator[pa.Table]:
    yield pa.concat_tables([t.slice(0, 1), t.slice(1, 555), t.slice(556, 0), t.slice(556)])


def slices_of_something_larger(t: pa.Table) -> Iterator[pa.Table]:
    larger = pa.concat_tables([t.slice(0, 13), t, t.slice(0, 29)]).combine_chunks()
    yield larger.slice(13, 1500)
    yield larger.slice(1513, ROWS - 1500)


def empty_pieces_between(t: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, ROWS, 1250):
        yield t.slice(0, 0)
        yield t.slice(start, 1250)
    yield t.slice(0, 0)


def through_ipc(t: pa.Table) -> Iterator[pa.RecordBatch]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, t.schema) as writer:
        writer.write_table(t, max_chunksize=777)
    yield from pa.ipc.open_stream(sink.getvalue())


def columns_in_another_order(t: pa.Table) -> Iterator[pa.Table]:
    yield t.select(t.column_names[::-1])


def with_dictionary(t: pa.Table, values: list[str]) -> Iterator[pa.Table]:
    position = t.schema.get_field_index("source")
    strings = t.column("source").cast(pa.string()).combine_chunks()
    indices = pa.array([None if s is None else values.index(s) for s in strings.to_pylist()])
    encoded = pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), pa.array(values))
    yield t.set_column(position, pa.field("source", NAME), encoded)


def dictionary_backwards(t: pa.Table) -> Iterator[pa.Table]:
    yield from with_dictionary(t, ["two", "one"])


def dictionary_with_unused_values(t: pa.Table) -> Iterator[pa.Table]:
    yield from with_dictionary(t, ["none of them", "one", "another", "two"])


def a_dictionary_per_piece(t: pa.Table) -> Iterator[pa.Table]:
    for number, start in enumerate(range(0, ROWS, 700)):
        values = ["one", "two"] if number % 2 else ["two", "x", "one"]
        yield from with_dictionary(t.slice(start, 700), values)


def plain_strings(t: pa.Table) -> Iterator[pa.Table]:
    position = t.schema.get_field_index("source")
    yield t.set_column(position, "source", t.column("source").cast(pa.string()))


LAYOUTS: list[Callable[[pa.Table], Iterator[pa.Table | pa.RecordBatch]]] = [
    few_by_few,
    odd_batches,
    one_table_of_many_chunks,
    slices_of_something_larger,
    empty_pieces_between,
    through_ipc,
    columns_in_another_order,
    dictionary_backwards,
    dictionary_with_unused_values,
    a_dictionary_per_piece,
    plain_strings,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_change_a_byte(layout: Callable, tmp_path: Path) -> None:
    expected, actual = tmp_path / "expected", tmp_path / "actual"
    assert parquet.write(str(expected), whole(table()), SCHEMA, GROUP) == ROWS
    assert parquet.write(str(actual), layout(table()), SCHEMA, GROUP) == ROWS
    assert actual.read_bytes() == expected.read_bytes()


def test_other_rows_give_other_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    parquet.write(str(one), [table()], SCHEMA, GROUP)
    parquet.write(str(other), [table().slice(1)], SCHEMA, GROUP)
    assert one.read_bytes() != other.read_bytes()


def test_rows_come_back_in_groups_of_the_given_size(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write(str(path), table().to_batches(max_chunksize=333), SCHEMA, GROUP)
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [2100, 2100, 800]
    assert file.read().to_pylist() == table().to_pylist()
    assert b"pandas" not in (file.schema_arrow.metadata or {})


@pytest.mark.parametrize("schema", [KEPT, REJECT, SIDECAR], ids=["kept", "reject", "sidecar"])
def test_no_rows_are_a_valid_file(schema: pa.Schema, tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    assert parquet.write(str(path), [], schema) == 0
    assert pq.read_table(path).num_rows == 0
    assert pq.ParquetFile(path).schema_arrow.names == schema.names


def test_a_file_is_read_as_a_whole_or_in_part(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write(str(path), [table()], SCHEMA, GROUP)
    with path.open("rb") as file:
        assert parquet.read(file).to_pylist() == table().to_pylist()
        part = parquet.read(file, ("flag", "url"), row_group=1)
    assert part.column_names == ["flag", "url"]
    assert part.to_pylist() == table().select(["flag", "url"]).slice(GROUP, GROUP).to_pylist()
