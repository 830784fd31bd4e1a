"""Metadata of people's own: any table, and the rows of an earlier run."""

from __future__ import annotations

from pipelines.metadata.source import COLUMNS, REQUIRED, SETTABLE, Source

SOURCES = (
    Source(
        name="generic",
        summary="Any parquet, CSV or TSV; name its columns with --columns.",
        columns={
            "url": ("url",),
            "caption": ("caption", "text", "txt"),
            **{name: (name,) for name in SETTABLE if name not in REQUIRED},
        },
        rank=90,
    ),
    Source(
        name="run",
        summary="The kept rows and tombstones of another run's directory.",
        columns={name: (name,) for name in COLUMNS},
        rank=99,
        canonical=True,
    ),
)
