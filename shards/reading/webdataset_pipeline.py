"""The pipeline that `shards.adapters.webdataset` returns. Imports the library: a leaf."""

from __future__ import annotations

from webdataset import DataPipeline, FluidInterface  # type: ignore[import-untyped]


class SamplePipeline(DataPipeline, FluidInterface):  # type: ignore[misc]
    """A pipeline of raw samples with the library's fluid methods: `.decode("pil").to_tuple(…)`."""
