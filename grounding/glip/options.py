"""How a GLIP detector runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from grounding.glip.config import PostConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a detector runs; what changes its numbers is in `GlipDetector.name`."""

    short_side: int = 800
    """Pixels of the short side after resizing."""
    long_side: int = 1333
    """Pixels that the long side may have at most."""
    post: PostConfig = field(default_factory=PostConfig)
    """Thresholds and limits."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the matrices; deformable convolutions and outputs are in fp32 in any case."""
    device: str = "cpu"
    """Where the model runs, as torch writes it."""
    batch: int = 8
    """Images at a time; halved where the device's memory is too small."""
    pad_text: bool = False
    """Pad every caption to the longest that the model reads, as the original does."""
    threads: int = 2
    """Threads that resize images."""

    def __post_init__(self) -> None:
        if not 1 <= self.short_side <= self.long_side:
            raise ValueError(
                f"short_side {self.short_side} must be at least 1 and at most "
                f"long_side {self.long_side}"
            )
        if self.batch < 1 or self.threads < 1:
            raise ValueError(f"batch {self.batch} and threads {self.threads} must be at least 1")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"GLIP runs in fp32 or bf16, not in {self.precision!r}")
