"""Which files a run reads and what corpora they are: from `--input` to footers and columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.filter_job.request import FilterRequest
from pipelines.harness.options import parse_pairs
from pipelines.metadata.files import InputFile, Unreadable, describe, expand
from pipelines.metadata.pieces import whole_file
from pipelines.metadata.reader import PieceReader
from pipelines.metadata.source import Source
from pipelines.metadata.sources import SOURCES, resolve, with_columns
from shards.files.store import Store
from shards.suggest import nearest

_SURELY_MEANT = 0.8


@dataclass(frozen=True)
class Inputs:
    """What a run reads."""

    files: tuple[InputFile, ...]
    unreadable: tuple[Unreadable, ...]
    sources: Mapping[str, Source]

    def check_kept(self, output: Store) -> None:
        """See that `--overwrite` of an output removes nothing that is read.

        Raises:
            ValueError: A file that is read lies in it.
        """
        for file in self.files:
            if file.path.startswith(f"{output.root}/"):
                raise ValueError(
                    f"--overwrite would remove the input {file.path}; give another --output"
                )


def parse_inputs(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return patterns by source; a prefix before the first `=` counts only if it is a source."""
    patterns: dict[str, list[str]] = {}
    for argument in arguments:
        prefix, equals, rest = argument.partition("=")
        source, pattern = (prefix, rest) if equals and prefix in SOURCES else ("generic", argument)
        close = nearest(prefix, SOURCES, _SURELY_MEANT)
        if equals and source != prefix and close:
            raise ValueError(
                f"--input {argument}: no source {prefix!r}; did you mean {close!r}? "
                "(a path that begins like this can be given with ./ before it)"
            )
        patterns.setdefault(source, []).append(pattern)
    if not patterns:
        raise ValueError(
            "--input is missing; type for example --input laion2b_en_joined='meta/*.parquet'"
        )
    return dict(sorted(patterns.items()))


def read_inputs(request: FilterRequest) -> Inputs:
    """Find the input files, read their footers and match their columns.

    Raises:
        ValueError: Nothing found, a required column is absent, or too many corrupt files.
    """
    files: list[InputFile] = []
    unreadable: list[Unreadable] = []
    sources = {}
    for name, patterns in parse_inputs(request.input).items():
        source = SOURCES[name]
        if name == "generic" and request.columns:
            source = with_columns(source, parse_pairs("columns", request.columns))
        sources[name] = source
        described = (
            _describe_runs(patterns)
            if name == "run"
            else describe(name, _expand(name, patterns), source.headerless)
        )
        files += described[0]
        unreadable += described[1]
    if len(unreadable) > request.max_unreadable:
        raise ValueError(
            f"{unreadable[0].why}; unreadable files: {len(unreadable)}, --max_unreadable allows "
            f"{request.max_unreadable}. Repair or remove them, or allow them and have them counted"
        )
    for file in files:
        resolve(sources[file.source], file.columns, file.path)
    if request.limit is not None:
        files = [_counted(file, sources[file.source], request.limit) for file in files]
    return Inputs(tuple(files), tuple(unreadable), sources)


def _counted(file: InputFile, source: Source, limit: int) -> InputFile:
    """Count the records that only parsing can count, as far as a limit needs to know."""
    if file.rows is not None:
        return file
    (extent,) = file.extents
    reader = PieceReader(whole_file(file), resolve(source, file.columns, file.path))
    rows = 0
    for batch, _ in reader:
        rows += len(batch)
        if rows + reader.bad_rows >= limit:
            break
    return replace(file, extents=(replace(extent, rows=rows + reader.bad_rows),))


def _expand(source: str, patterns: Iterable[str]) -> list[str]:
    return [path for pattern in patterns for path in expand(source, pattern)]


def _describe_runs(roots: Sequence[str]) -> tuple[list[InputFile], list[Unreadable]]:
    tombstones: dict[str, str] = {}  # path of a kept part -> its tombstones
    for root in roots:
        store = Store(root)
        markers = store.list("stats/filter", ".json")
        if not markers:
            raise ValueError(f"--input run={root}: no filtered rows there (stats/filter is empty)")
        for part in (marker.name.rpartition("/")[2].partition(".")[0] for marker in markers):
            kept = store.url(f"kept/{part}.parquet")
            tombstones[kept] = store.url(f"tombstones/{part}.parquet")
    files, unreadable = describe("run", list(tombstones))
    return [replace(file, tombstones=tombstones[file.path]) for file in files], unreadable
