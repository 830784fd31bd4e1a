"""A toy detector for rendered scenes of coloured shapes; for the demo and for tests only.

It reads colour words and shape words in a phrase ("a red circle", "every square", "two shapes")
and finds the connected regions of the image that have that colour and that form. No weights, no
torch, the same answer everywhere. On photographs its boxes mean nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grounding.detector import Detection, Span
from grounding.detectors.boxes import nothing
from grounding.detectors.forms import DetectorForm

COLOURS = {  # those of the rendered scenes
    "red": (214, 48, 49),
    "blue": (9, 132, 227),
    "green": (0, 148, 90),
    "yellow": (253, 203, 40),
    "purple": (108, 72, 200),
    "orange": (230, 126, 34),
}
FILLS = {"circle": 0.785, "square": 1.0, "triangle": 0.5}  # share of its own box that each covers
_ANY_SHAPE = frozenset({"shape", "figure", "object", "thing"})
_MAX_DISTANCE = 70.0  # of RGB values: JPEG moves a colour, it does not reach its neighbour
_MIN_AREA = 0.002  # of the image: less is the fringe between two colours
_VERSION = 1


@dataclass(frozen=True)
class _Region:
    colour: str
    shape: str
    box_xyxy: tuple[float, float, float, float]  # in [0, 1]
    score: float


class BlobDetector:
    """Finds coloured shapes by name."""

    name = "blobs (a toy for rendered scenes)"
    languages: frozenset[str] | None = frozenset({"en"})

    @property
    def fingerprint(self) -> str:
        """Of the tables and the version of the rule."""
        parts = (_VERSION, COLOURS, FILLS, _MAX_DISTANCE, _MIN_AREA)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def upsamples(self, width: int, height: int) -> bool:
        """Never: it looks at the pixels as they are."""
        return False

    def detect(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        captions: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> list[list[Detection]]:
        """Return the regions that each phrase names, best first."""
        return [
            _named(_regions(image), [caption[start:end] for start, end in of_image])
            for image, caption, of_image in zip(images, captions, spans, strict=True)
        ]


def _named(regions: Sequence[_Region], phrases: Sequence[str]) -> list[Detection]:
    detections = []
    for phrase in phrases:
        words = re.findall(r"[a-z]+", phrase.lower())
        singular = {word.removesuffix("s") for word in words}
        colours = set(words) & COLOURS.keys()
        shapes = singular & FILLS.keys()
        if not colours and not shapes and not singular & _ANY_SHAPE:
            detections.append(nothing())
            continue
        named = [
            region
            for region in regions
            if (not colours or region.colour in colours) and (not shapes or region.shape in shapes)
        ]
        named.sort(key=lambda region: (-region.score, region.box_xyxy))
        boxes = np.array([region.box_xyxy for region in named], np.float32).reshape(-1, 4)
        scores = np.array([region.score for region in named], np.float32)
        detections.append(Detection(boxes, scores))
    return detections


def _regions(image: npt.NDArray[np.uint8]) -> list[_Region]:
    """Return every region of a known colour that is large enough to be a shape."""
    height, width = image.shape[:2]
    palette = np.array(list(COLOURS.values()), np.float32)
    distances = np.linalg.norm(image[:, :, None, :].astype(np.float32) - palette, axis=3)
    nearest = np.where(distances.min(axis=2) <= _MAX_DISTANCE, distances.argmin(axis=2), -1)
    regions = []
    for number, colour in enumerate(COLOURS):
        for rows, columns in _connected(nearest == number):
            if len(rows) < _MIN_AREA * width * height:
                continue
            left, top, right, bottom = (
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            )
            fill = len(rows) / ((right - left) * (bottom - top))
            shape = min(FILLS, key=lambda name: abs(FILLS[name] - fill))
            purity = 1 - distances[rows, columns, number].mean() / _MAX_DISTANCE
            score = purity * (1 - abs(FILLS[shape] - fill))
            box = (left / width, top / height, right / width, bottom / height)
            regions.append(_Region(colour, shape, box, float(score)))
    return regions


def _connected(
    mask: npt.NDArray[np.bool_],
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yield rows and columns of the pixels of each region whose pixels touch by a side."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)  # runs, row by row
    runs = [(int(row), int(a), int(b)) for (row, a), (_, b) in zip(starts, ends, strict=True)]
    parent = list(range(len(runs)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above: list[int] = []  # runs of the row before, then of this row
    here: list[int] = []
    for run, (row, start, end) in enumerate(runs):
        if here and runs[here[0]][0] != row:
            above, here = (here if runs[here[0]][0] == row - 1 else []), []
        here.append(run)
        for other in above:
            if runs[other][1] < end and start < runs[other][2]:
                parent[root(run)] = root(other)
    members: dict[int, list[tuple[int, int, int]]] = {}
    for run, place in enumerate(runs):
        members.setdefault(root(run), []).append(place)
    for region in members.values():
        rows = np.concatenate([np.full(end - start, row) for row, start, end in region])
        yield rows, np.concatenate([np.arange(start, end) for _, start, end in region])


DETECTORS = (
    DetectorForm(
        form="blobs",
        about="a toy that finds coloured shapes in the demo's scenes",
        load=lambda _, settings: BlobDetector(),
    ),
)
