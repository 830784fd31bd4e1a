"""What every fetch engine is told, and the rules that it asks about each image's true size."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pyarrow as pa

from filters import Chain
from pipelines.fetch import FetchConfig
from shards.image import StoreSpec


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How to fetch, what to store, and which images to refuse."""

    fetch: FetchConfig
    spec: StoreSpec
    rules: Chain  # those that decide on width and height


class DecodedRules:
    """The rules that decide on an image's size, asked one image at a time."""

    def __init__(self, rules: Chain) -> None:
        self._filters = rules.filters
        self.reason = functools.lru_cache(maxsize=4096)(self._reason)

    def _reason(self, width: int, height: int) -> str | None:
        facts = pa.record_batch(
            [pa.array([width], pa.int32()), pa.array([height], pa.int32())], ["width", "height"]
        )
        for rule in self._filters:
            verdict = int(rule.verdicts(facts)[0])
            if verdict > 0:
                return rule.reasons[verdict - 1]
        return None
