"""A detector without a model: it answers with annotated boxes, to check alignment end to end.

Its file has one JSON object per line:

    {"image": "<sha256 of the decoded pixels>", "caption": "a dog and two people",
     "spans": [[0, 5, [[x1, y1, x2, y2]]], [10, 20, [[x1, y1, x2, y2, 0.7], [...]]]]}

`image` is what `pixels_sha256` returns, or null; `caption` is the exact caption, or null; one of
them is there. `spans` are code points, end-exclusive, with boxes in [0, 1] of the image and, where
a fifth number says it, a score below 1.

A question is answered by the line with its image and caption, else by one with its image and no
caption, else by its caption alone, so that a caption still finds its boxes after the image was
resized. A span gets the boxes of exactly that span; others, and questions without a line, get none.
A caption that several lines give different boxes finds none of them without its image: that is an
error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from grounding.detector import Detection, Span
from grounding.detectors.boxes import nothing
from grounding.detectors.forms import DetectorForm

Box = tuple[float, ...]
"""xyxy in [0, 1], or these four and a score; without one it is 1."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """Spans of one caption with their boxes; a line of the file."""

    spans: Mapping[Span, tuple[Box, ...]]
    image: str | None = None  # sha256 of the decoded pixels
    caption: str | None = None


def pixels_sha256(image: npt.NDArray[np.uint8]) -> str:
    """Return the name of a decoded image: sha256 of its size and its RGB values."""
    head = f"{image.shape[1]}x{image.shape[0]}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()


def write(path: str | Path, lines: Iterable[Annotated]) -> None:
    """Write a file of annotated captions."""
    with Path(path).open("w", encoding="utf-8") as file:
        for line in lines:
            spans = [[start, end, boxes] for (start, end), boxes in line.spans.items()]
            record = {"image": line.image, "caption": line.caption, "spans": spans}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(path: str | Path) -> list[Annotated]:
    """Read a file of annotated captions.

    Raises:
        ValueError: No such file, or a line is not what the module's docstring says.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"the oracle's file {path} cannot be read: {error.strerror}") from error
    captions = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                captions.append(_annotated(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}, line {number} is not an annotation: {error!r}"
                ) from error
    return captions


class OracleDetector:
    """Answers with what its file says."""

    languages: frozenset[str] | None = None

    def __init__(self, path: str | Path) -> None:
        lines = read(path)
        self._fingerprint = hashlib.sha256(b"oracle 1\n" + Path(path).read_bytes()).hexdigest()
        self.name = f"oracle:{Path(path).name} (annotated boxes, no model)"
        self._path = path
        self._by_key: dict[tuple[str | None, str | None], Annotated] = {}
        self._by_caption: dict[str, Annotated] = {}  # of lines that have an image as well
        self._ambiguous: set[str] = set()  # those of them with different boxes
        for line in lines:
            self._add(line)

    @property
    def fingerprint(self) -> str:
        """Of the file."""
        return self._fingerprint

    def upsamples(self, width: int, height: int) -> bool:
        """Never: it does not look."""
        return False

    def detect(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return the annotated boxes of every span.

        Raises:
            ValueError: A caption has several lines with different boxes, and none is this image's.
        """
        detections = []
        for image, caption, of_image in zip(images, captions, spans, strict=True):
            line = self._line(pixels_sha256(image), caption)
            detections.append([_detection(line.spans.get((a, b), ())) for a, b in of_image])
        return detections

    def _add(self, line: Annotated) -> None:
        key = (line.image, line.caption)
        if self._by_key.setdefault(key, line).spans != line.spans:
            raise ValueError(f"{self._path} has two answers for {key}; leave one")
        if line.image is None or line.caption is None:
            return
        if self._by_caption.setdefault(line.caption, line).spans != line.spans:
            self._ambiguous.add(line.caption)

    def _line(self, image: str, caption: str) -> Annotated:
        for key in ((image, caption), (image, None), (None, caption)):
            if key in self._by_key:
                return self._by_key[key]
        if caption in self._ambiguous:
            raise ValueError(
                f"{self._path} has several images for {caption!r}, and none has the pixels "
                f"{image}; was the image resized? Make captions unique"
            )
        return self._by_caption.get(caption, Annotated(spans={}, caption=caption))


def _annotated(record: Mapping[str, Any]) -> Annotated:
    image, caption = record.get("image"), record.get("caption")
    if image is None and caption is None:
        raise ValueError("it has neither image nor caption")
    spans = {}
    for start, end, boxes in record["spans"]:
        if not 0 <= start < end <= (end if caption is None else len(caption)):
            raise ValueError(f"span {start}-{end} is not inside the caption")
        spans[int(start), int(end)] = tuple(_box(box) for box in boxes)
    return Annotated(spans=spans, image=image, caption=caption)


def _box(box: Sequence[float]) -> Box:
    left, top, right, bottom, *score = (float(number) for number in box)
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError(f"box {list(box)} is not xyxy in [0, 1]")
    if len(score) > 1 or any(not 0 <= number <= 1 for number in score):
        raise ValueError(f"box {list(box)} is not xyxy and a score in [0, 1]")
    return left, top, right, bottom, *score


def _detection(boxes: Sequence[Box]) -> Detection:
    if not boxes:
        return nothing()
    corners = np.array([box[:4] for box in boxes], np.float32)
    return Detection(corners, np.array([(*box, 1.0)[4] for box in boxes], np.float32))


DETECTORS = (
    DetectorForm(
        form="oracle:FILE",
        about="annotated boxes, with scores where they have some, to check alignment",
        load=lambda file, settings: OracleDetector(file),
    ),
)
