"""RefCOCO, RefCOCO+ and RefCOCOg: expressions for one object each of COCO's images.

Goes in: `refs(SPLITTER).p`, a pickle, and `instances.json` beside it. Comes out: a record per
expression; the caption is the expression, and the whole of it is the phrase. The pickle is read
without running anything that is in it: it may hold lists, dicts, numbers and text only.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from grounding.annotated.annotations import (
    Annotated,
    AnnotatedPhrase,
    Rejected,
    cleaned,
    excluded,
    of_split,
    relative_box,
)
from shards.grounded import BadGroundingError

_UNPICKLING = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
)


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, numbers and text; whatever else a pickle asks for is refused."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to something outside itself")


def load_plain(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of plain containers.

    Raises:
        ValueError: It holds something else, or is damaged; nothing in it was run.
    """
    try:
        with open(path, "rb") as file:
            # Written by Python 2, whose text is bytes.
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: there is no such file") from None
    except _UNPICKLING as error:
        raise ValueError(
            f"{os.fspath(path)}: refused, because it is not a pickle of plain lists and dicts "
            f"({type(error).__name__}: {error}); take the file from its publisher"
        ) from error


def read(
    refs: str | os.PathLike[str],
    instances: str | os.PathLike[str],
    *,
    source: str = "refcoco",
    split: str | None = None,
    exclude: Iterable[str | int] = (),
) -> Iterator[Annotated | Rejected]:
    """Yield the expressions of a split, or of all.

    Args:
        refs: The pickle.
        instances: COCO's JSON of images, annotations and categories.
        source: Name of the set: refcoco, refcoco+ or refcocog.
        split: `train`, `val`, `testA`, `testB` or `test`.
        exclude: COCO's ids of images that must not be used; their expressions are rejected.

    Raises:
        ValueError: A file is missing or is something else; the message names it.
    """
    records = load_plain(refs)
    images, boxes, names = _instances(Path(instances))
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{os.fspath(refs)}: no list of references")
    try:
        chosen = of_split(records, split, refs)
        name = Path(refs).name
        yield from excluded(_expressions(chosen, images, boxes, names, source, name), exclude)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(refs)}: a reference is not as published ({type(error).__name__}: {error})"
        ) from error


def _expressions(
    references: Iterable[Mapping[str, Any]],
    images: Mapping[int, tuple[int, int]],
    boxes: Mapping[int, list[float]],
    names: Mapping[int, str],
    source: str,
    source_file: str,
) -> Iterator[Annotated | Rejected]:
    for reference in references:
        image_id = int(reference["image_id"])
        if image_id not in images or reference["ann_id"] not in boxes:
            detail = f"instances.json has not image {image_id}, annotation {reference['ann_id']}"
            yield Rejected(str(image_id), "box_missing", detail)
            continue
        width, height = images[image_id]
        x, y, box_width, box_height = boxes[reference["ann_id"]]
        try:
            box = relative_box([x, y, x + box_width, y + box_height], width, height)
        except BadGroundingError as error:
            yield Rejected(str(image_id), error.reason, error.detail)
            continue
        category = names.get(reference["category_id"])
        for sentence in reference["sentences"]:
            text = cleaned(sentence["sent"])
            phrase = AnnotatedPhrase(0, len(text), (box,), (category,) if category else ())
            yield Annotated(
                image_id=str(image_id),
                caption=text,
                phrases=(phrase,),
                source=source,
                source_file=source_file,
                source_row=int(sentence["sent_id"]),
                width_px=width,
                height_px=height,
            )


def _instances(
    path: Path,
) -> tuple[dict[int, tuple[int, int]], dict[int, list[float]], dict[int, str]]:
    try:
        values = json.loads(path.read_bytes())
        return (
            {
                image["id"]: (int(image["width"]), int(image["height"]))
                for image in values["images"]
            },
            {box["id"]: [float(side) for side in box["bbox"]] for box in values["annotations"]},
            {category["id"]: str(category["name"]) for category in values["categories"]},
        )
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; it comes with the references") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not COCO's instances ({type(error).__name__}: {error})"
        ) from error
