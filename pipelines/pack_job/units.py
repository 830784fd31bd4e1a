"""The parts of an input that are read alone: files, parts of files of lines, and folders.

Goes in: what `--input` says. Comes out: units in an order that depends on names alone, each with
the sha256 of what it holds.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.pack_job.format import Format
from pipelines.pack_job.reading import Unit

PART_BYTES = 8 << 20
"""Lines of a unit. Few, because an item opens the images of all its records."""

_LINES = ".jsonl"  # files that can be cut; what is compressed cannot
_BLOCK = 1 << 20


def units(inputs: Sequence[str], format: Format, limit: int | None) -> list[Unit]:
    """Return the units of all inputs.

    Raises:
        ValueError: An input names nothing of this format, or something twice.
    """
    if not inputs:
        raise ValueError(f"--input is missing; give {format.about}")
    if format.units is not None:
        parts = [part for path in inputs for part in format.units(path, limit)]
    else:
        parts = list(_of_files(inputs, format))
        if limit is not None:
            parts = [part for part in parts if part.first_row < limit]
    return sorted(parts, key=lambda part: (part.name, part.first))


def folder(path: str, *patterns: str) -> Unit:
    """Return a folder as one unit; what lies in it under the patterns is its content.

    Raises:
        ValueError: There is no such folder.
    """
    if not os.path.isdir(path):
        raise ValueError(f"--input {path}: there is no such folder")
    files = sorted(file for pattern in patterns for file in Path(path).glob(pattern))
    size = sum(file.stat().st_size for file in files)
    name = os.path.basename(os.path.normpath(path))
    return Unit(name=name, path=path, size=size, identity=digest(files))


def file_sha256(path: str) -> str:
    """Return the sha256 of a file, hex."""
    return digest([Path(path)], names=False)


def digest(files: Iterable[Path], *, names: bool = True) -> str:
    """Return the sha256 of files one after the other, hex; of their names and sizes, too."""
    sha256 = hashlib.sha256()
    for path in files:
        if names:
            sha256.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                sha256.update(block)
    return sha256.hexdigest()


def _of_files(inputs: Sequence[str], format: Format) -> Iterator[Unit]:
    from pipelines.metadata.files import relative_names  # loads pyarrow

    paths = sorted(path for pattern in inputs for path in _files(pattern, format))
    if len({*paths}) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"--input: {twice} is named twice")
    for name, path in zip(relative_names(paths), paths, strict=True):
        yield from _file_units(name, path)


def _files(pattern: str, format: Format) -> Iterator[str]:
    wanted = os.path.join(pattern, "*") if os.path.isdir(pattern) else pattern
    given = [path for path in sorted(glob.glob(wanted)) if os.path.isfile(path)]
    usable = [path for path in given if path.lower().endswith(format.endings)]
    if not usable:
        endings = ", ".join(format.endings)
        what = f"{given[0]} is none of {endings}" if given else f"no such file of {endings}"
        raise ValueError(f"--input {pattern}: {what}; --format {format.name} reads {format.about}")
    return iter(usable)


def _file_units(name: str, path: str) -> Iterator[Unit]:
    """Yield a file as one unit, or lines cut at their ends; every unit knows the whole's sha256."""
    file_unit = Unit(name=name, path=path, size=os.path.getsize(path), identity=file_sha256(path))
    if not path.lower().endswith(_LINES) or not file_unit.size:
        yield file_unit
        return
    first = first_row = 0
    with open(path, "rb") as file:
        while block := file.read(PART_BYTES):
            block += b"" if block.endswith(b"\n") else file.readline()
            yield replace(
                file_unit, size=len(block), first=first, count=len(block), first_row=first_row
            )
            first += len(block)
            first_row += block.count(b"\n")
