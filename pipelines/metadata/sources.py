"""The sources by name, and how a file's columns are matched to ours.

Goes in: a source, and the names of a file's columns. Comes out: which of them is which of ours.
A source is added by a file in `pipelines.metadata.corpora`; nothing here knows any by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipelines.metadata import corpora
from pipelines.metadata.source import REQUIRED, SETTABLE, Source
from shards.declarations import declared
from shards.suggest import suggest


def by_rank(sources: Mapping[str, Source]) -> dict[str, Source]:
    """Return sources in the order of their ranks.

    Raises:
        ValueError: Two have one rank, so that neither would win.
    """
    ordered = sorted(sources.values(), key=lambda source: source.rank)
    for one, other in itertools.pairwise(ordered):
        if one.rank == other.rank:
            raise ValueError(f"the sources {one.name} and {other.name} both have rank {one.rank}")
    return {source.name: source for source in ordered}


SOURCES: Mapping[str, Source] = by_rank(declared(corpora, "SOURCES", Source))
"""Every source by name, in the order of ranks."""


def with_columns(source: Source, columns: Mapping[str, str]) -> Source:
    """Return the generic source with a user's column names (or positions, for headerless text).

    Raises:
        ValueError: A canonical name is unknown, or names and positions are mixed.
    """
    for name in columns:
        if name not in SETTABLE:
            raise ValueError(
                f"--columns: {name!r} is not a column of ours; {suggest(name, SETTABLE)}"
            )
    positions = [actual.isdigit() for actual in columns.values()]
    if any(positions) and not all(positions):
        raise ValueError("--columns: give either column names or positions (0, 1, …), not both")
    named = {name: (actual,) for name, actual in columns.items()}
    headerless = bool(positions) and all(positions)
    merged = named if headerless else {**source.columns, **named}
    return replace(source, columns=merged, headerless=headerless)


def resolve(source: Source, names: Iterable[str], where: str) -> dict[str, tuple[str, ...]]:
    """Match a file's columns to ours, whatever their casing.

    Args:
        source: The format the file claims to have.
        names: The file's column names.
        where: The file, for errors.

    Returns:
        Canonical name to the file's own names: one, or several of which the highest counts.

    Raises:
        ValueError: A required column is absent, or two columns could be meant.
    """
    names = list(names)
    resolved: dict[str, tuple[str, ...]] = {}
    for canonical, wanted in source.columns.items():
        matches = [name for name in names if name.casefold() in {w.casefold() for w in wanted}]
        exact = [name for name in matches if name in wanted]
        if canonical in source.highest:
            resolved[canonical] = tuple(matches)
        elif len(matches) > 1 and len(exact) != 1:
            raise ValueError(
                f"{where}: {' and '.join(map(repr, matches))} could both be {canonical!r}; "
                f"say which with --columns {canonical}=NAME"
            )
        elif matches:
            resolved[canonical] = tuple((exact or matches)[:1])
    for canonical in REQUIRED:
        if not resolved.get(canonical):
            raise ValueError(
                f"{where}: source {source.name!r} needs a column for {canonical!r} "
                f"({' or '.join(source.columns.get(canonical, ()))}); the file has "
                f"{', '.join(names) or 'none'}; use another source or generic with --columns"
            )
    return {canonical: actual for canonical, actual in resolved.items() if actual}
