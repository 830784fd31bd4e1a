"""The declaration of GLIP, our port of which is the package `grounding.glip`."""

from __future__ import annotations

from typing import Any

from grounding.detector import Detector
from grounding.detectors.forms import DetectorForm, Settings, torch_device

_PIXELS = ("short_side", "long_side")


def load(checkpoint: str, settings: Settings) -> Detector:
    """Load a checkpoint.

    Raises:
        ValueError: A file is missing or is not what it should be, or an option is wrong.
    """
    from grounding.glip.detector import GlipDetector

    options: dict[str, Any] = {
        name: _pixels(name, value) if name in _PIXELS else value
        for name, value in settings.options.items()
    }
    return GlipDetector(
        checkpoint,
        device=torch_device(settings.device),
        precision=settings.precision,
        batch=settings.batch,
        **options,
    )


def _pixels(name: str, value: Any) -> int:
    try:
        pixels = int(value)
    except ValueError:
        pixels = 0
    if pixels < 1:
        raise ValueError(f"glip option {name}={value}: give a number of pixels")
    return pixels


DETECTORS = (
    DetectorForm(
        form="glip:CHECKPOINT",
        about="GLIP v1 (T-A, B, C, T and L) in plain PyTorch; official and mmdetection checkpoints",
        options=("variant", "vocab", *_PIXELS),
        load=load,
    ),
)
