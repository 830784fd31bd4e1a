"""What a filter job is asked to do: one field for every option that its stages use."""

from __future__ import annotations

from dataclasses import dataclass

from filters import Mode
from pipelines.download_job.request import DownloadRequest

_SHARD_ROWS = 10_000
_GROUND_SHARD_ROWS = 2_500


@dataclass(frozen=True, kw_only=True)
class FilterRequest(DownloadRequest):
    """A filter job's options, the download's included."""

    input: tuple[str, ...]  # [SOURCE=]GLOB
    preset: str
    set: tuple[str, ...]  # SOURCE.FILTER.PARAM=VALUE
    columns: str | None  # url=URL,caption=TEXT,…
    nsfw_missing: str | None  # keep | drop
    limit: int | None  # rows of each source
    sample: float | None  # share of the URLs
    funnel: Mode
    rejects: str  # none | sample | all
    seed: int
    max_unreadable: int  # files
    source_rank: str | None  # SOURCE,SOURCE,…
    safety_scope: str  # url | row
    shard_size: int | None  # planned rows of a shard; None: the store profile's

    @property
    def shard_rows(self) -> int:
        """Planned rows of a shard: the given number, else the store profile's."""
        return self.shard_size or (_GROUND_SHARD_ROWS if self.store == "ground" else _SHARD_ROWS)
