"""What finds phrases in images: one protocol for every detector.

Goes in: images, captions and the phrases' spans in them. Comes out: for every span boxes with
scores. Thresholds, suppression between phrases and selection are not a detector's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]
"""Code points of a caption, end-exclusive."""


@dataclass(frozen=True)
class Detection:
    """What was found for one span."""

    boxes_xyxy: npt.NDArray[np.float32]  # (n, 4) in [0, 1] of the decoded image
    scores: npt.NDArray[np.float32]  # (n,)

    def __len__(self) -> int:
        return len(self.scores)


class Detector(Protocol):
    """Finds phrases in images. Loaded once per process."""

    @property
    def name(self) -> str:
        """Name and settings in one line, as it is stored with every label."""
        ...

    @property
    def fingerprint(self) -> str:
        """Text that changes whenever its numbers may: a digest of weights, options, libraries."""
        ...

    @property
    def languages(self) -> frozenset[str] | None:
        """Languages whose captions it reads; None: any."""
        ...

    def upsamples(self, width: int, height: int) -> bool:
        """Whether an image of this size is enlarged before it is looked at."""
        ...

    def detect(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return, for every image, a detection for every span of its caption, in their order.

        Args:
            images: (H, W, 3) uint8 RGB, as `shards.image.decode` returns them; any sizes.
            captions: One per image.
            spans: Of each caption; they may overlap. Those beyond the text that the detector
                reads get no boxes.
        """
        ...


def problems_of(detector: Detector) -> Counter[str]:
    """Return what a detector could not look at so far, by reason, where it counts that."""
    return Counter(getattr(detector, "problems", None) or {})
