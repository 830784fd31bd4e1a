"""What lint looks at in samples that are not one image and a caption: dialogues, documents, texts.

Goes in: a shard's tar. Comes out: samples with any number of images, and breaches of their level.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shards.files.store import Store
from shards.files.tar_members import split_name
from shards.manifest import ShardEntry
from shards.reading.reader import CorruptShardError
from shards.sample import JSON_FIELDS

IMAGE_MARK = "<image>"
BOXES_MARK = "<boxes>"

_EDGE = 1e-6  # how far beyond the image rounding may put a side


@dataclass(frozen=True)
class LevelRecord:
    """One sample of any level."""

    images: tuple[tuple[str, bytes], ...]  # extension and content, in the order of the tar
    text: bytes  # content of .txt
    fields: Mapping[str, Any]  # of the JSON


def read_level_shard(store: Store, shard: ShardEntry) -> Iterator[tuple[str, LevelRecord]]:
    """Yield key and sample, in the order of the tar.

    Raises:
        CorruptShardError: The tar is damaged, or a sample lacks its text or JSON.
    """
    where = store.url(shard.tar)
    with store.open(shard.tar) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                yield from _records(tar, where)
        except tarfile.TarError as error:
            raise CorruptShardError(f"{where}: {error}; write this shard again") from error


def breaches(record: LevelRecord, level: str, extension: str) -> Iterator[str]:
    """Yield what is wrong with members and fields of a sample of a level."""
    names = [name for name, _ in record.images]
    count = len(names)
    wanted = [extension] if count == 1 else [f"{n}.{extension}" for n in range(count)]
    if names != wanted:
        yield f"its images are {names}, not {wanted}"
    if missing := sorted({*JSON_FIELDS} - record.fields.keys()):
        yield f"the JSON lacks {missing}"
    sides = [record.fields.get(name) for name in ("width", "height")]
    if count != 1 and any(side is not None for side in sides):
        yield f"width and height {sides} of {count} images"
    yield from _LEVELS[level](record)


def _dialogue(record: LevelRecord) -> Iterator[str]:
    turns = record.fields.get("conversations")
    if (
        not isinstance(turns, list)
        or not turns
        or not all(isinstance(turn, dict) for turn in turns)
    ):
        yield "conversations is not a list of turns"
        return
    roles = [turn.get("role") for turn in turns]
    if roles != ["user", "assistant"] * (len(turns) // 2) or len(turns) % 2:
        yield f"roles {roles}: user and assistant do not take turns"
    marks = 0
    for number, turn in enumerate(turns):
        content = turn.get("content")
        if not isinstance(content, str):
            yield f"turn {number} has no content"
            return
        if turn.get("role") == "assistant" and not content.strip():
            yield f"turn {number} is an empty answer"
        marks += content.count(IMAGE_MARK) if turn.get("role") == "user" else 0
        boxes = turn.get("boxes") or []
        if content.count(BOXES_MARK) != len(boxes):
            yield f"turn {number} has {content.count(BOXES_MARK)} {BOXES_MARK} for {len(boxes)}"
        if not all(_is_box(box) for entry in boxes for box in entry):
            yield f"turn {number} has a box that is not within 0..1"
    if marks not in (0, len(record.images)):
        yield f"{marks} {IMAGE_MARK} marks for {len(record.images)} images"


def _document(record: LevelRecord) -> Iterator[str]:
    items = record.fields.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        yield "items is not a list of objects"
        return
    if any((isinstance(item.get("text"), str)) == ("image" in item) for item in items):
        yield "an item that is neither text nor image, or both"
        return
    numbers = [item["image"] for item in items if "image" in item]
    if numbers != list(range(len(record.images))):
        yield f"items show the images {numbers} of {len(record.images)}"
    if "\n".join(item["text"] for item in items if "text" in item).encode() != record.text:
        yield ".txt is not the texts of items"


def _text(record: LevelRecord) -> Iterator[str]:
    if record.images:
        yield f"{len(record.images)} images in a text"
    if not record.text.strip():
        yield "there is no text"


_LEVELS: dict[str, Callable[[LevelRecord], Iterator[str]]] = {
    "dialogue": _dialogue,
    "document": _document,
    "text": _text,
}


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    if not all(isinstance(side, int | float) for side in box):
        return False
    x0, y0, x1, y1 = box
    return bool(-_EDGE <= x0 < x1 <= 1 + _EDGE and -_EDGE <= y0 < y1 <= 1 + _EDGE)


def _records(tar: tarfile.TarFile, where: str) -> Iterator[tuple[str, LevelRecord]]:
    parts: list[tuple[str, bytes]] = []
    stem = ""
    for member in tar:
        content = tar.extractfile(member)
        if content is None:
            raise CorruptShardError(f"{where}: {member.name} is not a file")
        name, extension = split_name(member.name)
        if parts and name != stem:
            yield stem, _record(parts, f"{where}: {stem}")
            parts = []
        stem = name
        parts.append((extension, content.read()))
    if parts:
        yield stem, _record(parts, f"{where}: {stem}")


def _record(parts: Sequence[tuple[str, bytes]], where: str) -> LevelRecord:
    named = dict(parts)
    if not {"txt", "json"} <= named.keys() or len(named) < len(parts):
        raise CorruptShardError(f"{where} has {[name for name, _ in parts]}; it needs txt and json")
    try:
        fields = json.loads(named["json"])
    except (ValueError, RecursionError) as error:
        raise CorruptShardError(f"{where}: its JSON is damaged ({error})") from error
    if not isinstance(fields, dict):
        raise CorruptShardError(f"{where}: its JSON is not an object")
    images = tuple((name, data) for name, data in parts if name not in ("txt", "json"))
    return LevelRecord(images, named["txt"], fields)
