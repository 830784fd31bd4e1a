"""Two detectors in agreement: the first one's boxes that a second one finds as well.

Wraps two detectors into one. A box stays where the second has a box for the same span that
overlaps it by at least 0.5; its score stays the first's, so the first's threshold still holds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from grounding import geometry
from grounding.detector import Detection, Detector, Span, problems_of

MIN_IOU = 0.5


class AgreementDetector:
    """Keeps the boxes of `first` that `second` confirms."""

    def __init__(self, first: Detector, second: Detector) -> None:
        self._first = first
        self._second = second

    @property
    def name(self) -> str:
        """Both names and the overlap that counts as agreement."""
        return f"{self._first.name}; confirmed at iou {MIN_IOU} by {self._second.name}"

    @property
    def fingerprint(self) -> str:
        """Of both and of the rule."""
        parts = ("agreement", self._first.fingerprint, self._second.fingerprint, MIN_IOU)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def languages(self) -> frozenset[str] | None:
        """Languages that both read."""
        first, second = self._first.languages, self._second.languages
        if first is None or second is None:
            return second if first is None else first
        return first & second

    @property
    def problems(self) -> Counter[str]:
        """Of both."""
        return problems_of(self._first) + problems_of(self._second)

    def upsamples(self, width: int, height: int) -> bool:
        """Whether the first one, whose boxes they are, enlarges the image."""
        return self._first.upsamples(width, height)

    def detect(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return the confirmed boxes of every span."""
        firsts = self._first.detect(images, captions, spans)
        seconds = self._second.detect(images, captions, spans)
        return [
            [self._confirmed(one, other) for one, other in zip(first, second, strict=True)]
            for first, second in zip(firsts, seconds, strict=True)
        ]

    def _confirmed(self, first: Detection, second: Detection) -> Detection:
        confirmed = (geometry.iou(first.boxes_xyxy, second.boxes_xyxy) >= MIN_IOU).any(axis=1)
        return Detection(first.boxes_xyxy[confirmed], first.scores[confirmed])
