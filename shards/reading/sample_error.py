"""What is wrong with a sample: one error with a closed list of reasons."""

from __future__ import annotations

from typing import Literal

Reason = Literal["tar_damaged", "json_damaged", "sample_incomplete"]
"""`tar_damaged`: a shard's files are missing, cut short or hold something else than their index
says. `json_damaged`: the JSON cannot be read. `sample_incomplete`: the sample lacks members."""


class SampleError(ValueError):
    """A sample that cannot be used; a trainer counts it under its reason and continues.

    Args:
        reason: Why.
        dataset: Its spec, as typed.
        shard: The shard's name.
        key: The sample's; None where the shard as a whole cannot be read.
        detail: What is wrong.
    """

    def __init__(
        self, reason: Reason, dataset: str, shard: str, key: str | None, detail: str
    ) -> None:
        super().__init__(reason, dataset, shard, key, detail)  # `args` make it picklable
        self.reason: Reason = reason
        self.dataset = dataset
        self.shard = shard
        self.key = key
        self.detail = detail

    def __str__(self) -> str:
        sample = "" if self.key is None else f", sample {self.key}"
        return f"{self.dataset}: shard {self.shard}{sample}: {self.reason}: {self.detail}"
