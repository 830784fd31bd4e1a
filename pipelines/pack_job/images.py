"""Where a set's images are: folders and tars, asked by name.

Goes in: names as the annotations have them. Comes out: the encoded files. A name that leads out
of its folder is refused: annotations come from strangers.
"""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.pack_job.records import BadRecordError
from shards.files.store import Store
from shards.files.tar_members import Fetch, TarDamageError, mapped, members

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_NAME_BYTES = 255  # of a part of a path, on common file systems


@dataclass(frozen=True)
class Images:
    """Images of a set; the first place that has a name answers."""

    places: tuple[str, ...]  # folders and .tar files: paths, gs://… or s3://…

    def get(self, name: str) -> bytes | None:
        """Return the file of that name, None where there is none.

        Raises:
            BadRecordError: `image_name`.
        """
        _check(name)
        return _read(self.places, name)

    def size_px(self, name: str) -> tuple[int, int] | None:
        """Return upright width and height; None where there is no readable image."""
        data = self.get(name)
        return None if data is None else size_of(data)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return upright width and height of an encoded image, None where it has none."""
    from shards.image import ImageError, probe  # loads Pillow

    try:
        head = probe(data)
    except ImageError:
        return None
    return None if head is None else (head.width, head.height)


def check_places(places: Sequence[str]) -> None:
    """Raise ValueError for a place that is not there."""
    for place in places:
        if "://" not in place and not os.path.exists(place):
            raise ValueError(f"--images {place}: there is no such folder or tar")
        if "://" not in place and not os.path.isdir(place) and not place.endswith(".tar"):
            raise ValueError(f"--images {place}: neither a folder nor a .tar file")


def _check(name: str) -> None:
    parts = name.split("/")
    try:
        fits = max(len(part.encode()) for part in parts) <= _NAME_BYTES
    except UnicodeEncodeError:
        fits = False
    if not name or name.startswith("/") or ".." in parts or "\0" in name or not fits:
        raise BadRecordError("image_name", f"{name[:120]!r} is not a name within a folder")


@functools.lru_cache(maxsize=2)  # captions of one image follow each other
def _read(places: tuple[str, ...], name: str) -> bytes | None:
    for place in places:
        if place.endswith(".tar"):
            fetch, index = _tar(place)
            if name in index:
                return fetch(*index[name])
            continue
        try:
            return Store(place).read(name)
        except _ABSENT:
            continue
    return None


@functools.lru_cache(maxsize=64)
def _tar(place: str) -> tuple[Fetch, dict[str, tuple[int, int]]]:
    """Return how to read a tar and where its members lie; its headers are walked once."""
    folder, name = posixpath.split(place)
    store = Store(folder or ".")
    entry = store.stat(name)
    if entry is None:
        raise ValueError(f"--images {place}: there is no such tar")
    local = store.local_path(name)
    fetch = (
        mapped(local)
        if local is not None
        else lambda start, end: store.read_range(name, start, end - start)
    )
    try:
        index = {
            posixpath.normpath(member): (start, end)
            for member, _, start, end in members(fetch, 0, entry.size)
        }
    except TarDamageError as error:
        raise ValueError(f"--images {place}: {error}; get the file again") from error
    return fetch, index
