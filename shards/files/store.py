"""A run directory, wherever it is: local disk, `gs://` or `s3://` behind one small class.

In: a root (path or URL) and names relative to it. Out: bytes, files and listings.
Two operations carry the writer protocol: `create` has exactly one winner among any
number of racing callers, and `write` / `publish` replace an object whole or not at all.
Nothing is cached, because other launchers write into the same directory.
"""

from __future__ import annotations

import builtins
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from shards.files._local import LocalFiles
from shards.files._objects import SCHEMES, ObjectFiles


@dataclass(frozen=True)
class Entry:
    """One file of a store."""

    name: str  # relative to the root, as every method takes it
    size: int  # bytes
    modified_s: float  # Unix seconds by the store's own clock; whole seconds on S3


class Store:
    """The files under one root. Picklable and cheap: a worker opens its own connection.

    Args:
        root: A local path (`file://` allowed), `gs://bucket/folder` or `s3://bucket/folder`.

    Raises:
        ValueError: The root names something else, such as an `http://` address.
    """

    root: str

    def __init__(self, root: str | os.PathLike[str]) -> None:
        text = os.fspath(root)
        scheme, colon, rest = text.partition("://")
        self._files: LocalFiles | ObjectFiles
        if not colon or scheme == "file":
            if not text or (colon and not rest):
                raise ValueError("a run directory needs a name; type a path, gs://… or s3://…")
            self.root = os.path.abspath(rest if colon else text)
            self._files = LocalFiles()
        elif scheme in SCHEMES and rest.strip("/"):
            self.root = f"{scheme}://{rest.rstrip('/')}"
            self._files = ObjectFiles(scheme)
        else:
            raise ValueError(
                f"{text}: a run directory is a local path, gs://BUCKET/… or s3://BUCKET/…"
            )

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def url(self, name: str) -> str:
        """Return the full path or URL of a name; `""` is the root itself.

        Raises:
            ValueError: The name is absolute or leaves the root; names also come out of files.
        """
        if not name:
            return self.root
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{self.root}: {name!r} is not a name inside this directory")
        return f"{self.root.rstrip('/')}/{name.rstrip('/')}"

    def local_path(self, name: str) -> str | None:
        """Return the path of a name on local disk, None on object stores."""
        return self.url(name) if isinstance(self._files, LocalFiles) else None

    def exists(self, name: str) -> bool:
        """Tell whether a file has this name; a folder does not count."""
        return self.stat(name) is not None

    def stat(self, name: str) -> Entry | None:
        """Return size and time of a file, None where there is no such file."""
        size_and_time = self._files.stat(self.url(name))
        return None if size_and_time is None else Entry(name, *size_and_time)

    def list(self, folder: str, suffix: str = "") -> builtins.list[Entry]:
        """Return the files directly in a folder, sorted by name; [] where it is absent.

        Names that begin with a dot are left out: they are files being written.
        """
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        return sorted(
            (
                Entry(prefix + name, size, modified_s)
                for name, size, modified_s in self._files.list(self.url(folder))
                if name.endswith(suffix) and not name.startswith(".")
            ),
            key=lambda entry: entry.name,
        )

    def folders(self, folder: str) -> Sequence[str]:
        """Return the names of the folders directly in a folder, sorted; [] where it is absent."""
        return sorted(
            f"{folder.rstrip('/')}/{name}" for name in self._files.folders(self.url(folder))
        )

    def read(self, name: str) -> bytes:
        """Return a whole file. Raises `FileNotFoundError` with its URL where it is absent."""
        return self._files.read(self.url(name))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from byte `start`.

        Raises:
            OSError: The file ends earlier than that.
        """
        assert min(start, length) >= 0
        if not length:
            return b""
        url = self.url(name)
        data = self._files.read_range(url, start, length)
        if len(data) != length:
            raise OSError(
                f"{url}: wanted {length} bytes at offset {start}, got {len(data)}; "
                "the file is cut short or its offsets belong to another version of it"
            )
        return data

    def read_ranges(
        self, ranges: Sequence[tuple[str, int, int]], threads: int = 64
    ) -> Iterator[bytes]:
        """Yield the bytes of every `(name, start, length)`, in order.

        At most `threads` ranges are being read or waiting to be taken, which bounds memory.
        """
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(max_workers=max(1, min(threads, len(ranges)))) as pool:
            try:
                for byte_range in ranges:
                    if len(waiting) >= threads:
                        yield waiting.popleft().result()
                    waiting.append(pool.submit(self.read_range, *byte_range))
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def open(self, name: str) -> BinaryIO:
        """Return a seekable file open for reading, as pyarrow takes it."""
        return self._files.open(self.url(name))

    def write(self, name: str, data: bytes) -> None:
        """Make `data` the whole content of a file; readers see the old or the new, never a mix.

        Raises:
            ValueError: The place cannot be written to (permissions, no such bucket).
            OSError: The write itself failed (disk full, network).
        """
        self._files.write(self.url(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if it is absent; among racing callers exactly one gets True.

        On False the file exists; read it to learn who won. (After an answer lost on the
        network it may be the caller's own, so compare content, not the return value, where
        the difference matters.) Raises as `write` does.
        """
        return self._files.create(self.url(name), data)

    def put(self, local_file: str, name: str) -> None:
        """Move a finished local file into the store: the local file is gone afterwards.

        A rename on the same file system, else a copy or upload; durable when it returns.
        Raises as `write` does; the local file is then still there.
        """
        self._files.put(local_file, self.url(name))

    def publish(self, source: str, name: str) -> None:
        """Give a file of this store a second name, replacing whatever had it, atomically.

        A hard link where the file system has them, else a copy; server-side on object stores.

        Raises:
            FileNotFoundError: There is no `source`.
        """
        self._files.publish(self.url(source), self.url(name))

    def delete(self, name: str) -> None:
        """Remove a file; absent is fine."""
        self._files.delete(self.url(name))

    def delete_tree(self, folder: str) -> None:
        """Remove a folder and all below it; absent is fine. Never the root itself."""
        assert folder.strip("/"), "deleting the root is not a store's business"
        self._files.delete_tree(self.url(folder))
