"""Which detector a job uses, as it is sent to workers: loaded there, once per process."""

from __future__ import annotations

from dataclasses import dataclass

from grounding.detector import Detector


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """A detector by name, with its settings."""

    name: str  # glip:CHECKPOINT, hf:MODEL, blobs, oracle:FILE
    device: str = "auto"
    precision: str = "fp32"
    batch: int = 8
    second: str | None = None  # boxes must be confirmed by this one
    rescore: str | None = None  # CLIP model that scores region and phrase
    options: tuple[tuple[str, str], ...] = ()

    def load(self) -> Detector:
        """Return the detector of this process.

        Raises:
            ValueError: There is none of this name, or its files are not what they should be.
        """
        from grounding.detectors.load import load_detector

        return load_detector(
            self.name,
            device=self.device,
            precision=self.precision,
            batch=self.batch,
            second=self.second,
            rescore=self.rescore,
            **dict(self.options),
        )
