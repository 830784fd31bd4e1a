"""CogVLM-SFT-311K: folders of label files, with the images in a folder beside each.

Goes in: the unpacked set, or one of its folders of labels. Comes out: a record for each
conversation, and for each caption one whose question is empty.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipelines.pack_job.format import Format
from pipelines.pack_job.readers.lines import Raw, tried, whole
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import (
    Bad,
    BadRecordError,
    Origin,
    Record,
    dialogue,
    objects_of,
    text_of,
)
from pipelines.pack_job.units import digest

LABELS_PER_UNIT = 2000

_LABELS = re.compile(r"labels(?:_(?P<language>en|zh))?")  # `labels` alone is English


def label_units(path: str, limit: int | None) -> Iterator[Unit]:
    """Yield the parts of every folder of labels; of each folder, `limit` files at most.

    Raises:
        ValueError: There is no such folder, or no labels in it.
    """
    folder, root = Path(os.path.normpath(path)), _root(path)
    if not folder.is_dir():
        raise ValueError(f"--input {path}: there is no such folder")
    folders = [folder] if folder != root else _label_folders(root)
    if not folders:
        raise ValueError(f"--input {path}: no folder labels, labels_en or labels_zh in it")
    for labels in folders:
        files = _label_files(labels)[:limit]
        for first in range(0, len(files), LABELS_PER_UNIT):
            part = files[first : first + LABELS_PER_UNIT]
            yield Unit(
                name=str(labels.relative_to(root)),
                path=str(labels),
                size=sum(file.stat().st_size for file in part),
                identity=digest(part),
                first=first,
                count=len(part),
            )


def roots(inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the folders that the names of label folders, and so of images, are relative to."""
    return tuple(str(_root(path)) for path in inputs)


def sft_311k(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read one folder of label files; the images are in the folder `images` beside it.

    An image's name is relative to `--input`, as the label folder's is.
    """
    labels = PurePosixPath(unit.name)
    match = _LABELS.fullmatch(labels.name)
    language = (match and match["language"]) or "en"
    last = None if unit.count is None else unit.first + unit.count
    for path in _label_files(unit.path)[unit.first : last]:
        name = options.image_name(path.stem, "{}.jpg")
        image = str(labels.parent / "images" / name)
        origin = Origin(
            source=options.source,
            source_file=str(labels / path.name),
            source_row=0,
            source_key=path.stem,
            image_id=image,
            language=language,
        )
        yield from tried(enumerate(_entries(path)), _maker(origin, image))


def _entries(path: Path) -> Iterator[Raw | Bad]:
    """Yield a label file's conversation and its captions, each as an object of its own."""
    try:
        values = whole(path)
    except ValueError as error:
        yield Bad("json_damaged", str(error))
        return
    if not isinstance(values, dict) or not {"captions", "conversations"} & values.keys():
        yield Bad("record_malformed", f"{path}: neither captions nor conversations")
        return
    if "conversations" in values:
        yield {"conversations": values["conversations"]}
    captions = values.get("captions", [])
    for caption in captions if isinstance(captions, list) else [captions]:
        yield {"caption": caption}


def _maker(origin: Origin, image: str) -> Callable[[int, Raw], Record]:
    def make(row: int, raw: Raw) -> Record:
        here = replace(origin, source_row=row)
        if "conversations" in raw:
            turns = [
                (text_of(turn, "role"), text_of(turn, "content"))
                for turn in objects_of(raw, "conversations")
            ]
            return dialogue(here, turns, [image])
        if not isinstance(raw["caption"], dict):
            raise BadRecordError("record_malformed", "a caption that is not an object")
        answer = text_of(raw["caption"], "content")
        return dialogue(here, [("user", ""), ("assistant", answer)], [image], caption=True)

    return make


def _root(path: str) -> Path:
    folder = Path(os.path.normpath(path))
    return folder.parent if _LABELS.fullmatch(folder.name) else folder


def _label_folders(root: Path) -> list[Path]:
    named = (path for path in root.rglob("labels*") if _LABELS.fullmatch(path.name))
    return sorted(path for path in named if path.is_dir())


def _label_files(folder: str | os.PathLike[str]) -> list[Path]:
    return sorted(Path(folder).glob("*.json"))


FORMATS = (
    Format(
        name="sft_311k",
        level="dialogue",
        reader=sft_311k,
        about="CogVLM-SFT-311K, unpacked: folders `labels…` with `images` beside each",
        units=label_units,
        images_of=roots,
        coco=True,
        ids=False,
    ),
)
