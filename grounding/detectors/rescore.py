"""CLIP takes a second look: how well a box's region fits its phrase becomes part of its score.

Wraps a detector. A box is cropped with a margin of 10 % of its sides, and CLIP compares the crop
with the phrase's text. With c = max(0, cosine), the rule is

- `multiply`: new score = score x c,
- `replace`: new score = c.

Cosines of CLIP lie near 0.2 to 0.35 where text and image fit, so a threshold chosen for the
detector no longer holds: choose one again on annotated images. Boxes are neither added nor
dropped, and are sorted by their new scores.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from grounding.detector import Detection, Detector, Span, problems_of

RULES = ("multiply", "replace")
MARGIN = 0.1  # of the box's sides, on each side
_BATCH = 64

Similarity = Callable[[list[Image.Image], list[str]], npt.NDArray[np.float32]]
"""Cosines of crops and texts, pair by pair."""


class RescoreDetector:
    """A detector whose scores are corrected by CLIP."""

    def __init__(
        self,
        detector: Detector,
        similarity: Similarity,
        *,
        clip_name: str,
        clip_fingerprint: str,
        rule: str = "multiply",
    ) -> None:
        if rule not in RULES:
            raise ValueError(f"no rule {rule!r} for rescoring; known: {', '.join(RULES)}")
        self._detector = detector
        self._similarity = similarity
        self._clip_name = clip_name
        self._clip_fingerprint = clip_fingerprint
        self._rule = rule

    @property
    def name(self) -> str:
        """The detector's, and CLIP's with the rule and the margin."""
        return f"{self._detector.name}; rescored by {self._clip_name} ({self._rule}, {MARGIN})"

    @property
    def fingerprint(self) -> str:
        """Of the detector, CLIP and the rule."""
        parts = (self._detector.fingerprint, self._clip_fingerprint, self._rule, MARGIN)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def languages(self) -> frozenset[str] | None:
        """The detector's."""
        return self._detector.languages

    @property
    def problems(self) -> Counter[str]:
        """The detector's."""
        return problems_of(self._detector)

    def upsamples(self, width: int, height: int) -> bool:
        """Whether the detector enlarges the image; CLIP enlarges most crops."""
        return self._detector.upsamples(width, height)

    def detect(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return the detector's boxes with their new scores."""
        detected = self._detector.detect(images, captions, spans)
        return [
            self._rescored(image, [caption[start:end] for start, end in of_image], detections)
            for image, caption, of_image, detections in zip(
                images, captions, spans, detected, strict=True
            )
        ]

    def _rescored(
        self, image: npt.NDArray[np.uint8], phrases: Sequence[str], detections: Sequence[Detection]
    ) -> list[Detection]:
        picture = Image.fromarray(image)
        boxes = [box for detection in detections for box in detection.boxes_xyxy]
        texts = [
            phrase
            for phrase, detection in zip(phrases, detections, strict=True)
            for _ in detection.scores
        ]
        cosines = np.zeros(len(boxes), np.float32)
        for start in range(0, len(boxes), _BATCH):
            part = slice(start, start + _BATCH)
            crops = [_crop(picture, box) for box in boxes[part]]
            cosines[part] = self._similarity(crops, texts[part])
        fits = np.maximum(cosines, 0)
        rescored = []
        for detection in detections:
            own, fits = fits[: len(detection)], fits[len(detection) :]
            scores = own * (detection.scores if self._rule == "multiply" else np.float32(1))
            order = np.argsort(-scores, kind="stable")
            rescored.append(Detection(detection.boxes_xyxy[order], scores[order]))
        return rescored


def load(
    detector: Detector,
    model: str,
    *,
    rule: str = "multiply",
    device: str = "cpu",
) -> RescoreDetector:
    """Wrap a detector with a CLIP of open_clip.

    Args:
        detector: What finds the boxes.
        model: "local-dir:FOLDER" (open_clip's own format), "NAME@FILE" (an architecture with a
            local checkpoint) or "NAME@TAG" (published weights, from the cache or the network).
        rule: How scores are made; see the module's docstring.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: No such model, or it cannot be downloaded.
    """
    import open_clip  # type: ignore[import-untyped]
    import torch

    from grounding.detectors.model_files import library_errors, reason

    name, _, weights = model.partition("@")
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(
            name, pretrained=weights or None, require_pretrained=True, device=device
        )
        tokenizer = open_clip.get_tokenizer(name)
    except library_errors() as error:
        raise ValueError(
            f"no CLIP {model!r} to rescore with ({reason(error)}); give local-dir:FOLDER, "
            "NAME@FILE with a local checkpoint, or NAME@TAG where there is a network"
        ) from error
    clip.eval()

    def similarity(crops: list[Image.Image], texts: list[str]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            pixels = torch.stack([preprocess(crop) for crop in crops]).to(device)
            of_crops = clip.encode_image(pixels, normalize=True)
            of_texts = clip.encode_text(tokenizer(texts).to(device), normalize=True)
            cosines: npt.NDArray[np.float32] = (
                (of_crops * of_texts).sum(dim=1).float().cpu().numpy()
            )
            return cosines

    return RescoreDetector(
        detector,
        similarity,
        clip_name=_short(model),
        clip_fingerprint=_digest(clip, open_clip.__version__),
        rule=rule,
    )


def _crop(picture: Image.Image, box_xyxy: npt.NDArray[np.float32]) -> Image.Image:
    """Return the box with its margin, cut at the image's border, at least one pixel."""
    left, top, right, bottom = (float(side) for side in box_xyxy)
    wide, high = MARGIN * (right - left), MARGIN * (bottom - top)
    width, height = picture.size
    x1 = min(int(max(left - wide, 0) * width), width - 1)
    y1 = min(int(max(top - high, 0) * height), height - 1)
    x2 = min(int(np.ceil((right + wide) * width)), width)
    y2 = min(int(np.ceil((bottom + high) * height)), height)
    return picture.crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))


def _short(model: str) -> str:
    """Return a model's name without the folders of this machine."""
    name, at, weights = model.partition("@")
    if name.startswith("local-dir:"):
        return f"local-dir:{name.rstrip('/').rpartition('/')[2].removeprefix('local-dir:')}"
    return f"{name}{at}{weights.rpartition('/')[2]}"


def _digest(clip: Any, version: str) -> str:
    digest = hashlib.sha256(version.encode())
    for name, tensor in sorted(clip.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()
