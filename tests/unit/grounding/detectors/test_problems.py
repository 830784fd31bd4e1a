"""What a detector could not look at is not lost behind a wrapper."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from grounding.detector import problems_of
from grounding.detectors.agreement import AgreementDetector
from grounding.detectors.blobs import BlobDetector
from grounding.detectors.rescore import RescoreDetector


class Counting(BlobDetector):
    problems: ClassVar[Any] = Counter({"output_not_finite": 2})


def test_agreement_tells_the_problems_of_both() -> None:
    assert problems_of(BlobDetector()) == Counter()
    both = AgreementDetector(Counting(), Counting())
    assert problems_of(both) == Counter({"output_not_finite": 4})


def test_a_rescorer_tells_the_problems_of_its_detector() -> None:
    made = RescoreDetector(
        Counting(),
        lambda crops, texts: np.ones(len(texts), np.float32),
        clip_name="clip",
        clip_fingerprint="03",
    )
    assert problems_of(made) == Counter({"output_not_finite": 2})
