"""Conversations about images in the list form of LLaVA-Instruct, LRV and LLaVAR.

Goes in: a JSON array, or JSON lines. Comes out: a record for each conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipelines.pack_job.format import LINES, Format
from pipelines.pack_job.readers.lines import Raw, rows, tried
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

_ROLES = {"human": "user", "gpt": "assistant"}
_COCO = re.compile(r"(?:COCO_\w+_)?(\d{12})\.")


def coco_id(name: str) -> str | None:
    """Return the id of a COCO image, which is the twelve digits of its file name."""
    match = _COCO.match(PurePosixPath(name).name)
    return str(int(match[1])) if match else None


def llava_instruct(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a list of `{id, image, conversations: [{from, value}]}`; `<image>` marks are kept.

    `image` may be a list, or absent where a conversation is about none.
    """

    def make(row: int, raw: Raw) -> Record:
        image = raw.get("image")
        names = image if isinstance(image, list) else [] if image is None else [image]
        if not all(isinstance(name, str) for name in names):
            raise BadRecordError("record_malformed", f"image is {str(image)[:60]!r}")
        turns = []
        for turn in objects_of(raw, "conversations"):
            role = text_of(turn, "from")
            turns.append((_ROLES.get(role, role), text_of(turn, "value")))
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=str(raw["id"]) if "id" in raw else None,
            image_id=names[0] if names else None,
            coco_id=coco_id(names[0]) if names else None,
        )
        images = [options.image_name(name, "{}") for name in names]
        return dialogue(origin, turns, images)

    return tried(rows(unit), make)


FORMATS = (
    Format(
        name="llava_instruct",
        level="dialogue",
        reader=llava_instruct,
        about="LLaVA-Instruct, LRV, LLaVAR: a list or lines of `image` and `conversations`",
        endings=(".json", *LINES),
        coco=True,
    ),
)
