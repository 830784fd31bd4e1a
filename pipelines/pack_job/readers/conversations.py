"""Conversations about images: CogVLM-SFT-311K, and the list form of LLaVA-Instruct, LRV, LLaVAR.

Goes in: a folder of label files, or a JSON array. Comes out: a record for each conversation, and
for each caption of a label file one whose question is empty.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipelines.pack_job.readers.lines import Raw, rows, tried, whole
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

LABELS = re.compile(r"labels(?:_(?P<language>en|zh))?")
"""Names of the folders of label files; `labels` alone is English."""

_ROLES = {"human": "user", "gpt": "assistant"}
_COCO = re.compile(r"(?:COCO_\w+_)?(\d{12})\.")


def coco_id(name: str) -> str | None:
    """Return the id of an image of COCO's, told by its file's twelve digits."""
    found = _COCO.match(PurePosixPath(name).name)
    return str(int(found[1])) if found else None


def label_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the label files of a folder, in order."""
    return sorted(Path(folder).glob("*.json"))


def sft_311k(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read one folder of label files; the images are in the folder `images` beside it.

    An image's name is relative to `--input`, as the label folder's is.
    """
    labels = PurePosixPath(unit.name)
    known = LABELS.fullmatch(labels.name)
    language = (known and known["language"]) or "en"
    last = None if unit.count is None else unit.first + unit.count
    for path in label_files(unit.path)[unit.first : last]:
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
        yield from tried(enumerate(_said(path)), _labelled(origin, image))


def _said(path: Path) -> Iterator[Raw | Bad]:
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
    for each in captions if isinstance(captions, list) else [captions]:
        yield {"caption": each}


def _labelled(origin: Origin, image: str) -> Callable[[int, Raw], Record]:
    def make(row: int, raw: Raw) -> Record:
        here = replace(origin, source_row=row)
        if "conversations" in raw:
            turns = [
                (text_of(turn, "role"), text_of(turn, "content"))
                for turn in objects_of(raw, "conversations")
            ]
            return dialogue(here, turns, [image])
        if not isinstance(raw["caption"], dict):
            raise BadRecordError("record_malformed", "a caption that is no object")
        answer = text_of(raw["caption"], "content")
        return dialogue(here, [("user", ""), ("assistant", answer)], [image], caption=True)

    return make


def llava_instruct(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a list of `{id, image, conversations: [{from, value}]}`; `<image>` marks are kept.

    `image` may be a list, or absent where a conversation is about none.
    """

    def make(row: int, raw: Raw) -> Record:
        given = raw.get("image")
        named = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(each, str) for each in named):
            raise BadRecordError("record_malformed", f"image is {str(given)[:60]!r}")
        turns = []
        for turn in objects_of(raw, "conversations"):
            role = text_of(turn, "from")
            turns.append((_ROLES.get(role, role), text_of(turn, "value")))
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=str(raw["id"]) if "id" in raw else None,
            image_id=named[0] if named else None,
            coco_id=coco_id(named[0]) if named else None,
        )
        images = [options.image_name(each, "{}") for each in named]
        return dialogue(origin, turns, images)

    return tried(rows(unit), make)
