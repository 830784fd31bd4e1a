"""The pack formats by name.

A format is added by a file in `pipelines.pack_job.readers`; nothing here knows any by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.pack_job import readers
from pipelines.pack_job.format import Format
from shards.declarations import declared

FORMATS: Mapping[str, Format] = dict(sorted(declared(readers, "FORMATS", Format).items()))
"""Every format, in the order of their names."""
