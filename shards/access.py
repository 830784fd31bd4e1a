"""Random access to the samples of a dataset: shard number and row in, stored bytes out.

Local tars are mapped into memory, tars of object stores are read by ranges ahead of their use.
Whatever is wrong with the data becomes a `SampleError` that names shard and key; everything
else that is raised is a mistake in a program.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shards.dataset import Dataset
from shards.files.tar_members import BLOCK, Fetch, TarDamageError, mapped, members, split_name
from shards.reading.sample_error import Reason, SampleError
from shards.reading.shard_index import ShardIndex, load_index

__all__ = ["RawSample", "Reason", "SampleError", "SampleReader"]

_GROUP_ROWS = 16  # consecutive places that one thread reads
_SPAN_BYTES = 8 << 20  # of one ranged read

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp"})

# Fewest and most images of a sample, by level.
_MANY = 1 << 30
_NUM_IMAGES = {
    "image_text": (1, 1),
    "grounded": (1, 1),
    "dialogue": (0, _MANY),
    "document": (0, _MANY),
    "text": (0, 0),
}

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class RawSample:
    """One sample as it is stored."""

    key: str
    images: tuple[bytes, ...]  # encoded files, in the order of their numbers
    extensions: tuple[str, ...]  # of the images' members: ("jpg",) or ("0.jpg", "1.jpg")
    text: bytes  # content of .txt
    json: bytes  # content of .json
    dataset: str  # spec, for messages
    shard: str  # name, for messages

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON.

        Raises:
            SampleError: It is not a JSON object.
        """
        try:
            values = json.loads(self.json)
        except (ValueError, RecursionError) as error:
            detail = f"{type(error).__name__}: {error}"
            raise SampleError("json_damaged", self.dataset, self.shard, self.key, detail) from error
        if not isinstance(values, dict):
            detail = f"a {type(values).__name__} where an object belongs"
            raise SampleError("json_damaged", self.dataset, self.shard, self.key, detail)
        return values


class SampleReader:
    """Reads samples of a dataset by place. One per process; may be pickled to another.

    Args:
        dataset: What to read.
        threads: Ranged reads under way at a time, where the tars are in an object store.
        indexes: Indexes of shards held; half a megabyte each at 10,000 samples.
        maps: Mapped tars held; a file descriptor each.
    """

    def __init__(
        self, dataset: Dataset, threads: int = 16, *, indexes: int = 256, maps: int = 256
    ) -> None:
        self.dataset = dataset
        self.threads = threads
        self._indexes: _Held[int, ShardIndex | SampleError] = _Held(indexes)
        self._maps: _Held[int, Fetch] = _Held(maps)
        self._local = dataset.store.local_path("") is not None

    def __reduce__(self) -> tuple[type[SampleReader], tuple[Dataset, int]]:
        return SampleReader, (self.dataset, self.threads)

    def read(self, shard: int, row: int) -> RawSample:
        """Return one sample.

        Args:
            shard: Number of the shard in the dataset.
            row: Number of the sample among the shard's kept ones, in key order.

        Raises:
            SampleError: The sample cannot be used.
        """
        index = self._index(shard)
        key, start, end = index.keys[row].as_py(), int(index.starts[row]), int(index.ends[row])
        try:
            if self._local:
                fetch = self._maps.get(shard, self._map)
            else:
                data = self.dataset.store.read_range(self.dataset.tar(shard), start, end - start)
                fetch = _within(data, start)
            return self._parse(shard, key, fetch, start, end)
        except (OSError, TarDamageError) as error:
            raise self._error("tar_damaged", shard, key, str(error)) from error

    def read_many(self, places: Iterable[tuple[int, int]]) -> Iterator[RawSample | SampleError]:
        """Yield the sample of every place, or what is wrong with it, in order.

        From object stores, up to `threads` reads run ahead of what was taken, and places that
        follow each other in a shard are read together.
        """
        if self._local:
            return (self._try(shard, row) for shard, row in places)
        return self._read_ahead(places)

    def iterate(self, shard: int) -> Iterator[RawSample | SampleError]:
        """Yield every kept sample of a shard, or what is wrong with it, in key order."""
        return self.read_many((shard, row) for row in range(self.dataset.counts[shard]))

    def _try(self, shard: int, row: int) -> RawSample | SampleError:
        try:
            return self.read(shard, row)
        except SampleError as error:
            return error

    def _read_ahead(self, places: Iterable[tuple[int, int]]) -> Iterator[RawSample | SampleError]:
        waiting: deque[Future[list[RawSample | SampleError]]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for shard, rows in _groups(places):
                    if len(waiting) >= self.threads:
                        yield from waiting.popleft().result()
                    waiting.append(pool.submit(self._read_group, shard, rows))
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read_group(self, shard: int, rows: range) -> list[RawSample | SampleError]:
        try:
            index = self._index(shard)
        except SampleError:
            return [self._try(shard, row) for row in rows]
        raws: list[RawSample | SampleError] = []
        for span in _spans(index, rows):
            start, end = int(index.starts[span[0]]), int(index.ends[span[-1]])
            try:
                data = self.dataset.store.read_range(self.dataset.tar(shard), start, end - start)
            except OSError:  # each alone, to learn which of them it is
                raws += [self._try(shard, row) for row in span]
                continue
            fetch = _within(data, start)
            raws += [self._parse_row(shard, index, row, fetch) for row in span]
        return raws

    def _parse_row(
        self, shard: int, index: ShardIndex, row: int, fetch: Fetch
    ) -> RawSample | SampleError:
        key, start, end = index.keys[row].as_py(), int(index.starts[row]), int(index.ends[row])
        try:
            return self._parse(shard, key, fetch, start, end)
        except TarDamageError as error:
            return self._error("tar_damaged", shard, key, str(error))
        except SampleError as error:
            return error

    def _index(self, shard: int) -> ShardIndex:
        index = self._indexes.get(shard, self._load_index)
        if isinstance(index, SampleError):
            # A new one: an error raised again and again would grow by a traceback each time.
            raise self._error(index.reason, shard, None, index.detail)
        return index

    def _load_index(self, shard: int) -> ShardIndex | SampleError:
        try:
            return load_index(self.dataset, shard)
        except SampleError as error:
            return error

    def _map(self, shard: int) -> Fetch:
        path = self.dataset.store.local_path(self.dataset.tar(shard))
        assert path is not None
        return mapped(path)

    def _parse(self, shard: int, key: str, fetch: Fetch, start: int, end: int) -> RawSample:
        # An index may be older than its tar, where a shard was copied or fetched again. So every
        # member must have the key, and the last must end where the index says: the bytes of
        # another sample under this key would be training data that nobody notices.
        images: list[tuple[int, str, bytes]] = []
        text = fields = None
        reached = start
        for name, _, content, content_end in members(fetch, start, end):
            stem, extension = split_name(name)
            reached = content_end + -content_end % BLOCK  # members are padded to whole blocks
            if stem != key:
                raise TarDamageError(f"{name} at byte {start}, where {key} should begin")
            if extension == "txt":
                text = _content(fetch, content, content_end)
            elif extension == "json":
                fields = _content(fetch, content, content_end)
            else:
                number, _, kind = extension.rpartition(".")
                if kind in IMAGE_EXTENSIONS and (not number or number.isdecimal()):
                    data = _content(fetch, content, content_end)
                    images.append((int(number or 0), extension, data))
        if reached != end:
            raise TarDamageError(f"the archive ends at byte {reached}, within {key}")
        if text is None or fields is None:
            missing = ".txt" if text is None else ".json"
            raise self._error("sample_incomplete", shard, key, f"it has no {missing}")
        images.sort()  # by number: a tar may hold "10.jpg" before "2.jpg"
        self._check_images(shard, key, [number for number, _, _ in images])
        return RawSample(
            key,
            tuple([data for _, _, data in images]),
            tuple([extension for _, extension, _ in images]),
            text,
            fields,
            self.dataset.spec,
            self.dataset.shards[shard],
        )

    def _check_images(self, shard: int, key: str, numbers: Sequence[int]) -> None:
        fewest, most = _NUM_IMAGES[self.dataset.level]
        if fewest <= len(numbers) <= most and numbers == list(range(len(numbers))):
            return
        detail = f"images {numbers} in a sample of level {self.dataset.level}"
        raise self._error("sample_incomplete", shard, key, detail)

    def _error(self, reason: Reason, shard: int, key: str | None, detail: str) -> SampleError:
        return SampleError(reason, self.dataset.spec, self.dataset.shards[shard], key, detail)


class _Held(Generic[_Key, _Value]):
    """The most recently used values; each is made once, by the first thread to ask for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._making: dict[_Key, Future[_Value]] = {}

    def get(self, key: _Key, make: Callable[[_Key], _Value]) -> _Value:
        try:  # no lock where the value is there: this is asked twice for every sample
            value = self._values[key]
            self._values.move_to_end(key)
            return value
        except KeyError:
            return self._wait_or_make(key, make)

    def _wait_or_make(self, key: _Key, make: Callable[[_Key], _Value]) -> _Value:
        with self._lock:
            if key in self._values:
                return self._values[key]
            under_way = self._making.get(key)
            promised = self._making.setdefault(key, Future())
        if under_way is not None:
            return under_way.result()
        try:
            value = make(key)
        except BaseException as error:
            with self._lock:
                del self._making[key]  # the next to ask tries again
            promised.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._values[key] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        promised.set_result(value)
        return value


def _content(fetch: Fetch, start: int, end: int) -> bytes:
    data = fetch(start, end)
    if len(data) != end - start:
        raise TarDamageError(f"cut short in the member at byte {start}")
    return data


def _within(data: bytes, offset: int) -> Fetch:
    return lambda start, end: data[start - offset : end - offset]


def _groups(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, range]]:
    """Yield runs of places that follow each other in one shard."""
    shard, first, after = -1, 0, 0
    for number, row in places:
        if number == shard and row == after and after - first < _GROUP_ROWS:
            after += 1
            continue
        if shard >= 0:
            yield shard, range(first, after)
        shard, first, after = number, row, row + 1
    if shard >= 0:
        yield shard, range(first, after)


def _spans(index: ShardIndex, rows: range) -> Iterator[range]:
    """Cut rows where their bytes do not touch, or would be too many for one read."""
    first = rows.start
    for row in rows[1:]:
        length = index.ends[row] - index.starts[first]
        if index.starts[row] != index.ends[row - 1] or length > _SPAN_BYTES:
            yield range(first, row)
            first = row
    yield range(first, rows.stop)
