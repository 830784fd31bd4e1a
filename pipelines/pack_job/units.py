"""The parts of an input that are read alone: files, folders, and slices of folders of labels.

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

from pipelines.metadata.files import relative_names
from pipelines.pack_job.formats import Format
from pipelines.pack_job.readers.conversations import LABELS, label_files
from pipelines.pack_job.reading import Unit

LABELS_PER_UNIT = 2000
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
    if format.name == "sft_311k":
        found = [unit for each in inputs for unit in _label_units(each, limit)]
    elif not format.endings:
        found = [_folder(each, "Sentences/*.txt", "Annotations/*.xml", "*.txt") for each in inputs]
    else:
        paths = sorted(path for each in inputs for path in _files(each, format))
        if len({*paths}) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise ValueError(f"--input: {twice} is named twice")
        found = [
            unit
            for name, path in zip(relative_names(paths), paths, strict=True)
            for unit in _file_units(name, path)
            if limit is None or unit.first_row < limit
        ]
    return sorted(found, key=lambda unit: (unit.name, unit.first))


def roots(inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the folders that the names of label folders are relative to."""
    return tuple(str(_root(each)) for each in inputs)


def file_sha256(path: str) -> str:
    """Return the sha256 of a file, hex."""
    return _digest([Path(path)], names=False)


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
    whole = Unit(name=name, path=path, size=os.path.getsize(path), identity=file_sha256(path))
    if not path.lower().endswith(_LINES) or not whole.size:
        yield whole
        return
    first = first_row = 0
    with open(path, "rb") as file:
        while block := file.read(PART_BYTES):
            block += b"" if block.endswith(b"\n") else file.readline()
            yield replace(
                whole, size=len(block), first=first, count=len(block), first_row=first_row
            )
            first += len(block)
            first_row += block.count(b"\n")


def _folder(path: str, *patterns: str) -> Unit:
    if not os.path.isdir(path):
        raise ValueError(f"--input {path}: there is no such folder")
    files = sorted(file for pattern in patterns for file in Path(path).glob(pattern))
    size = sum(file.stat().st_size for file in files)
    name = os.path.basename(os.path.normpath(path))
    return Unit(name=name, path=path, size=size, identity=_digest(files))


def _root(path: str) -> Path:
    folder = Path(os.path.normpath(path))
    return folder.parent if LABELS.fullmatch(folder.name) else folder


def _label_units(path: str, limit: int | None) -> Iterator[Unit]:
    folder, root = Path(os.path.normpath(path)), _root(path)
    if not folder.is_dir():
        raise ValueError(f"--input {path}: there is no such folder")
    folders = (
        [folder]
        if folder != root
        else sorted(
            each
            for each in folder.rglob("labels*")
            if each.is_dir() and LABELS.fullmatch(each.name)
        )
    )
    if not folders:
        raise ValueError(f"--input {path}: no folder labels, labels_en or labels_zh in it")
    for labels in folders:
        files = label_files(labels)[:limit]
        for first in range(0, len(files), LABELS_PER_UNIT):
            part = files[first : first + LABELS_PER_UNIT]
            yield Unit(
                name=str(labels.relative_to(root)),
                path=str(labels),
                size=sum(file.stat().st_size for file in part),
                identity=_digest(part),
                first=first,
                count=len(part),
            )


def _digest(files: Iterable[Path], *, names: bool = True) -> str:
    digest = hashlib.sha256()
    for path in files:
        if names:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
