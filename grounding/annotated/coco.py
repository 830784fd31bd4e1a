"""A grounded shard set as COCO-style JSON, to look at it in other tools.

Goes in: a grounded run. Comes out: one JSON file with `images`, `annotations` and `categories`;
boxes are `[x, y, width, height]` in pixels of the stored image, a category is a head lemma. The
file is written as it is read: only the names of categories are held.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from grounding.samples import open_grounded, raw_samples, unparsed_phrase
from shards.grounded import GroundedSample, parse
from shards.sample import compact_json


@dataclass(frozen=True)
class Exported:
    """What a file holds."""

    num_images: int
    num_annotations: int
    num_categories: int


def write(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write the file, and the images themselves where a folder for them is given.

    Args:
        run: A grounded run, or `OUT@NAME`.
        path: The JSON file, replaced at the end.
        images: Folder for the stored images; without it `file_name` is the name of the member in
            the tar, so that unpacking the tars into one folder gives the same.

    Raises:
        ValueError: The run is not grounded, or a sample is damaged.
    """
    dataset = open_grounded(run)
    folder = None if images is None else Path(images)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as out, _spool() as boxes:
        info = {"description": dataset.spec, "fingerprint": dataset.fingerprint}
        out.write('{"info":' + compact_json(info) + ',"images":[')
        state = _State(out, boxes)
        for raw in raw_samples(dataset):
            name = f"{raw.key}.{raw.extensions[0]}"
            if folder is not None:
                (folder / name).write_bytes(raw.images[0])
            state.add(parse(raw), name)
        out.write('],"annotations":[')
        boxes.seek(0)
        shutil.copyfileobj(boxes, out)
        categories = [{"id": number, "name": name} for name, number in state.categories.items()]
        out.write('],"categories":' + compact_json(categories) + "}\n")
    os.replace(unfinished, target)
    return Exported(state.num_images, state.num_annotations, len(categories))


@dataclass
class _State:
    """The two lists that grow, and the numbers given so far."""

    images: IO[str]
    annotations: IO[str]
    categories: dict[str, int] = field(default_factory=dict)  # head lemma to its number, from 1
    num_images: int = 0
    num_annotations: int = 0

    def add(self, sample: GroundedSample, file_name: str) -> None:
        common, grounding = sample.common, sample.grounding
        self.num_images += 1
        image = {
            "id": self.num_images,
            "file_name": file_name,
            "width": common.width,
            "height": common.height,
            "key": common.key,
            "caption": common.caption,
        }
        _append(self.images, image, self.num_images)
        lemmas = {phrase.span: phrase.head_lemma for phrase in grounding.phrases}
        for row in grounding.noun_chunks:
            lemma = lemmas.get(row.span)
            if lemma is None:
                lemma = unparsed_phrase(common.caption, row.span).head_lemma
            self.num_annotations += 1
            x, y = row.x0 * common.width, row.y0 * common.height
            width, height = (row.x1 - row.x0) * common.width, (row.y1 - row.y0) * common.height
            annotation = {
                "id": self.num_annotations,
                "image_id": self.num_images,
                "category_id": self.categories.setdefault(lemma, len(self.categories) + 1),
                "bbox": [round(side, 3) for side in (x, y, width, height)],
                "area": round(width * height, 3),
                "iscrowd": 0,
                "score": row.score,
                "text": common.caption[row.start : row.end],
                "span": list(row.span),
            }
            _append(self.annotations, annotation, self.num_annotations)


def _append(file: IO[str], value: Mapping[str, Any], number: int) -> None:
    file.write(("" if number == 1 else ",") + "\n" + compact_json(value))


def _spool() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", prefix="groundwork-")
