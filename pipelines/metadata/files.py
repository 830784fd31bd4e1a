"""The files a run reads: found by glob, described by footer, identified by content.

Goes in: what `--input` says. Comes out: `InputFile` records in (source, name) order,
which never depends on the order of flags or of a directory listing.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.metadata.filesystems import failures_of, filesystem_of, open_input, open_unpacked

FOOTER_THREADS = 32
TEXT_EXTENT_BYTES = 64 << 20
SCAN_BYTES = 4 << 20
_BARE_RETURN = re.compile(rb"\r(?!\n)")
TEXT_DELIMITERS = {".csv": ",", ".tsv": "\t"}
COMPRESSIONS = (".gz", ".zst", ".bz2")
DAMAGE = (pa.ArrowInvalid, pa.ArrowNotImplementedError, EOFError, zlib.error)
"""What readers and decompressors raise about a file's content, besides `OSError`."""

_SUFFIXES = (".parquet", *TEXT_DELIMITERS)


@dataclass(frozen=True)
class Extent:
    """The smallest part of a file that can be read on its own."""

    rows: int | None  # None: only parsing tells
    start: int  # parquet: row group; text: first byte
    end: int | None  # one past the last row group or byte; None: to the end of the file


@dataclass(frozen=True)
class InputFile:
    """One metadata file."""

    source: str
    name: str  # relative to the source's common folder; stands in `source_file`
    path: str  # full path or URL
    size: int  # bytes
    identity: str  # sha256 of the parquet footer; etag or modification time of text
    extents: tuple[Extent, ...]
    columns: tuple[str, ...]  # names; positions where the file has no header
    tombstones: str = ""  # URL of a tombstone file that belongs to it (source `run`)

    @property
    def rows(self) -> int | None:
        """Rows of the file, None where only parsing tells."""
        known = [extent.rows for extent in self.extents if extent.rows is not None]
        return sum(known) if len(known) == len(self.extents) else None


@dataclass(frozen=True)
class Unreadable:
    """A file whose footer or header could not be read; its rows cannot be counted."""

    source: str
    name: str
    why: str


def expand(source: str, pattern: str) -> list[str]:
    """Return the full paths that a glob (or a folder, or one file) names, sorted.

    Raises:
        ValueError: It names nothing, or a file type that we cannot read.
    """
    try:
        filesystem, path = filesystem_of(pattern)
        if filesystem.isdir(path):
            path = path.rstrip("/") + "/*"
        matches = [
            match if "file" in filesystem.protocol else filesystem.unstrip_protocol(match)
            for match in filesystem.glob(path)
        ]
    except FileNotFoundError:  # the bucket is absent
        matches = []
    except (ImportError, ValueError) as error:
        raise ValueError(f"--input {source}={pattern}: {error}") from error
    except failures_of(pattern) as error:
        raise ValueError(
            f"--input {source}={pattern}: {str(error) or type(error).__name__}; check the address "
            "and the credentials of this environment"
        ) from error
    files = sorted(matches) if "*" not in posixpath.basename(path) else _readable(matches)
    if not files:
        raise ValueError(
            f"--input {source}={pattern}: no such file; check the path, and quote a glob so that "
            "the shell does not expand it"
        )
    for file in files:
        if not file.removesuffix(_compression(file)).lower().endswith(_SUFFIXES):
            raise ValueError(f"{file}: not a .parquet, .csv or .tsv file")
    return files


def _readable(paths: Sequence[str]) -> list[str]:
    suffixes = (*_SUFFIXES, *(text + zipped for text in TEXT_DELIMITERS for zipped in COMPRESSIONS))
    return sorted(path for path in paths if path.lower().endswith(suffixes))


def _compression(path: str) -> str:
    return next((suffix for suffix in COMPRESSIONS if path.lower().endswith(suffix)), "")


def text_delimiter(path: str) -> str | None:
    """Return the delimiter of a text file, None for parquet."""
    stem = path.removesuffix(_compression(path)).lower()
    return next((mark for suffix, mark in TEXT_DELIMITERS.items() if stem.endswith(suffix)), None)


def is_compressed(path: str) -> bool:
    """Tell whether a text file must be read from its start."""
    return bool(_compression(path))


@contextmanager
def open_text(path: str) -> Iterator[BinaryIO]:
    """Open a text file for reading from its start, decompressed."""
    if path.lower().endswith(".zst"):
        # Arrow's own decoder: fsspec needs a package for it and gives no lines.
        with open_input(path) as packed, pa.CompressedInputStream(packed, "zstd") as raw:
            yield cast(BinaryIO, io.BufferedReader(raw))
    else:
        with open_unpacked(path) as file:
            yield file


def relative_names(paths: Sequence[str]) -> list[str]:
    """Return each path relative to the deepest folder that holds them all."""
    inner = [path.partition("://")[2] or path for path in paths]
    common = posixpath.commonpath([posixpath.dirname(path) for path in inner]) if inner else ""
    return [path[len(common) :].lstrip("/") for path in inner]


def describe(
    source: str, paths: Sequence[str], headerless: bool = False
) -> tuple[list[InputFile], list[Unreadable]]:
    """Read the footers (parquet) or headers (text) of a source's files, many at a time.

    A file that appears twice is an error; one that cannot be opened as what it claims to be
    is returned as unreadable, so that the caller can decide what its budget allows.
    """
    unique = sorted(set(paths))
    if len(unique) != len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"--input {source}: {twice} is named twice")
    names = relative_names(unique)
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        described = list(
            pool.map(
                lambda pair: _describe_one(source, pair[0], pair[1], headerless),
                zip(names, unique, strict=True),
            )
        )
    readable = [file for file in described if isinstance(file, InputFile)]
    return readable, [file for file in described if isinstance(file, Unreadable)]


def _describe_one(source: str, name: str, path: str, headerless: bool) -> InputFile | Unreadable:
    try:
        if text_delimiter(path) is None:
            return _describe_parquet(source, name, path)
        return _describe_text(source, name, path, headerless)
    except (*DAMAGE, UnicodeDecodeError, csv.Error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's, about the disk or the network; decompressors give no number
        return Unreadable(source, name, f"{path}: {str(error).splitlines()[0]}")


def _describe_parquet(source: str, name: str, path: str) -> InputFile:
    with open_input(path, cache_type="none") as file:
        size = file.seek(0, 2)
        if size < 12:
            raise pa.ArrowInvalid(f"{size} bytes cannot be a parquet file")
        file.seek(size - 8)
        footer_size = int.from_bytes(file.read(4), "little")
        if footer_size > size - 12:
            raise pa.ArrowInvalid("the footer is longer than the file, or there is none")
        file.seek(size - 8 - footer_size)
        footer = file.read(footer_size + 8)
        # The parquet reader wants a magic number at the start, too.
        metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
    extents = tuple(
        Extent(metadata.row_group(i).num_rows, i, i + 1) for i in range(metadata.num_row_groups)
    )
    names = tuple(metadata.schema.to_arrow_schema().names)
    return InputFile(source, name, path, size, hashlib.sha256(footer).hexdigest(), extents, names)


def _describe_text(source: str, name: str, path: str, headerless: bool) -> InputFile:
    filesystem, inner = filesystem_of(path)
    info: dict[str, Any] = filesystem.info(inner)
    delimiter = text_delimiter(path)
    assert delimiter is not None
    first = _first_record(path, delimiter)
    marked = len(codecs.BOM_UTF8) if first.startswith(codecs.BOM_UTF8) else 0
    body = marked if headerless else len(first)
    cells = _cells(first[marked:].decode(errors="replace" if headerless else "strict"), delimiter)
    columns = map(str, range(len(cells))) if headerless else cells
    changed = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("updated")
    size = int(info["size"])
    extents: tuple[Extent, ...] = (Extent(None, body, None),)
    if not is_compressed(path):
        if size == body:  # a header and nothing else
            extents = ()
        elif delimiter == "\t":
            extents = _line_extents(path, body)
    return InputFile(source, name, path, size, f"changed {changed}", extents, tuple(columns))


def _first_record(path: str, delimiter: str) -> bytes:
    """Return the bytes of the first record, which in CSV goes on while a quote is open."""
    with open_text(path) as file:
        first = file.readline()
        while delimiter != "\t" and first.count(b'"') % 2 and (more := file.readline()):
            first += more
    if not first:
        raise pa.ArrowInvalid("the file is empty")
    bare = _BARE_RETURN.search(first)
    ends_there = bare and (delimiter == "\t" or first.count(b'"', 0, bare.end()) % 2 == 0)
    return first[: bare.end()] if bare and ends_there else first


def _cells(record: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return record.rstrip("\r\n").split("\t")
    return next(csv.reader(io.StringIO(record, newline="")), [])


def _line_extents(path: str, body: int) -> tuple[Extent, ...]:
    """Cut a TSV file at line ends into extents of about `TEXT_EXTENT_BYTES`, counting lines.

    Only TSV: a quoted CSV field may hold line ends, so CSV cannot be cut without parsing it.
    Nor can a file with bare carriage returns, which the parser takes for line ends.
    """
    extents: list[Extent] = []
    with open_input(path) as file:
        file.seek(body)
        start, lines, ends_line = body, 0, True
        while block := file.read(SCAN_BYTES):
            if block.endswith(b"\r") or file.tell() - start >= TEXT_EXTENT_BYTES:
                block += b"" if block.endswith(b"\n") else file.readline()
            if b"\r" in block and _BARE_RETURN.search(block):
                return (Extent(None, body, None),)
            lines += block.count(b"\n")
            ends_line = block.endswith(b"\n")
            if ends_line and file.tell() - start >= TEXT_EXTENT_BYTES:
                extents.append(Extent(lines, start, file.tell()))
                start, lines = file.tell(), 0
        if file.tell() > start:
            extents.append(Extent(lines + (not ends_line), start, file.tell()))
    return tuple(extents)
