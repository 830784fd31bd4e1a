"""One record of an annotated set, whatever its form was: text, names of images, level's fields.

Goes in: what a reader found. Comes out: a `Record` that keeps the contract of its level, or
`BadRecordError` with the reason under which it is counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grounding.annotated.annotations import Annotated
    from shards.grounded import Box

IMAGE_MARK = "<image>"
BOXES_MARK = "<boxes>"


class BadRecordError(ValueError):
    """A record that cannot be used; `reason` is counted, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BadRecordError], tuple[str, str]]:
        return BadRecordError, (self.reason, self.detail)


@dataclass(frozen=True)
class Bad:
    """What a reader yields in the place of a record that cannot be used."""

    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a record comes from."""

    source: str  # the set's or the format's name
    source_file: str  # relative name
    source_row: int  # 0-based in that file
    source_key: str | None = None  # the set's own id of the record
    image_id: str | None = None  # shared by all records of an image
    coco_id: str | None = None  # of an image that is COCO's, where that can be told
    language: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One sample before its images were looked up."""

    origin: Origin
    text: str  # content of .txt
    images: tuple[str, ...] = ()  # names, in order
    fields: Mapping[str, Any]  # what the level adds to the JSON
    size_px: tuple[int, int] | None = None  # upright width and height, where annotated

    def to_json(self) -> bytes:
        """Return the record as the plan keeps it.

        Raises:
            BadRecordError: `text_invalid`: half a surrogate pair, which UTF-8 cannot hold.
        """
        try:
            text = json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
            return text.encode()
        except UnicodeEncodeError as error:
            raise BadRecordError("text_invalid", str(error)) from error

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Record:
        """Read back what `to_json` wrote."""
        return Record(
            origin=Origin(**values["origin"]),
            text=values["text"],
            images=tuple(values["images"]),
            fields=values["fields"],
        )


def dialogue(
    origin: Origin,
    turns: Sequence[tuple[str, str]],
    images: Sequence[str],
    *,
    caption: bool = False,
    boxes: Mapping[int, Sequence[Sequence[Box]]] | None = None,
    **fields: Any,
) -> Record:
    """Return a conversation; a literal `<boxes>` of a text is escaped.

    Args:
        origin: Where it comes from.
        turns: Role (`user` or `assistant`) and content of each.
        images: Names.
        caption: The question is empty: only what is said of the image is known.
        boxes: By the number of a turn: what each of its `<boxes>` marks stands for.
        fields: Of the JSON, besides the conversation.

    Raises:
        BadRecordError: `no_conversation`, `roles_out_of_turn`, `empty_question`, `empty_answer` or
            `marks_differ`.
    """
    if not turns:
        raise BadRecordError("no_conversation", "nothing is said")
    roles = [role for role, _ in turns]
    if len(roles) % 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        raise BadRecordError("roles_out_of_turn", f"turns of {', '.join(roles)[:120]}")
    for role, content in turns:
        if not content.strip() and not (caption and role == "user"):
            raise BadRecordError(
                "empty_answer" if role == "assistant" else "empty_question", "a turn without words"
            )
    marks = sum(content.count(IMAGE_MARK) for role, content in turns if role == "user")
    if marks not in (0, len(images)):
        detail = f"{marks} {IMAGE_MARK} marks for {len(images)} images"
        raise BadRecordError("marks_differ", detail)
    boxes = boxes or {}
    conversation = [_turn(*turn, boxes.get(number, ())) for number, turn in enumerate(turns)]
    return Record(
        origin=origin,
        text="\n".join(turn["content"] for turn in conversation if turn["content"]),
        images=tuple(images),
        fields={"conversations": conversation, **fields},
    )


def _turn(role: str, content: str, boxes: Sequence[Sequence[Box]]) -> dict[str, Any]:
    if not boxes:
        return {"role": role, "content": content.replace(BOXES_MARK, BOXES_MARK.upper())}
    return {
        "role": role,
        "content": content,
        "boxes": [[list(b) for b in group] for group in boxes],
    }


def document(origin: Origin, items: Sequence[Mapping[str, Any]], images: Sequence[str]) -> Record:
    """Return texts and images in reading order; a literal `<image>` of a text is escaped.

    Args:
        origin: Where it comes from.
        items: `{"text": …}` or `{"image": index}`; every image once, in order.
        images: Names.

    Raises:
        BadRecordError: `no_text` or `no_image`.
    """
    escaped = [
        {"text": item["text"].replace(IMAGE_MARK, IMAGE_MARK.upper())} if "text" in item else item
        for item in items
    ]
    texts = [item["text"] for item in escaped if "text" in item]
    if not any(text.strip() for text in texts):
        raise BadRecordError("no_text", "a document without words")
    if not images:
        raise BadRecordError("no_image", "a document without images")
    return Record(
        origin=origin, text="\n".join(texts), images=tuple(images), fields={"items": escaped}
    )


def plain_text(origin: Origin, text: str, images: Sequence[str] = ()) -> Record:
    """Return a text, or the caption of an image.

    Raises:
        BadRecordError: `no_text`.
    """
    if not text.strip():
        raise BadRecordError("no_text", "nothing but blanks")
    return Record(origin=origin, text=text, images=tuple(images), fields={})


def grounded(annotated: Annotated, image: str, origin: Origin) -> Record:
    """Return a caption with boxes.

    Raises:
        BadRecordError: For one of the reasons of `grounding.annotated.annotations.check`.
    """
    from grounding.annotated.annotations import check, grounding_of
    from shards.grounded import BadGroundingError

    try:
        check(annotated)
    except BadGroundingError as error:
        raise BadRecordError(error.reason, error.detail) from error
    known = annotated.width_px is not None and annotated.height_px is not None
    return Record(
        origin=origin,
        text=annotated.caption,
        images=(image,),
        fields=grounding_of(annotated).to_json(),
        size_px=(annotated.width_px, annotated.height_px) if known else None,  # type: ignore[arg-type]
    )


def with_images(record: Record, keep: Sequence[bool]) -> Record:
    """Return a document with some of its images only; the others' places close up."""
    numbers = [index for index, kept in enumerate(keep) if kept]
    place = {old: new for new, old in enumerate(numbers)}
    items = [
        {"image": place[item["image"]]} if "image" in item else item
        for item in record.fields["items"]
        if "image" not in item or item["image"] in place
    ]
    images = tuple(record.images[index] for index in numbers)
    return replace(record, images=images, fields={**record.fields, "items": items})


def text_of(values: Mapping[str, Any], name: str) -> str:
    """Return a field that must be text.

    Raises:
        BadRecordError: `record_malformed`.
    """
    text = values.get(name)
    if not isinstance(text, str):
        raise BadRecordError("record_malformed", f"{name} is {str(text)[:60]!r}, not text")
    return text


def objects_of(values: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return a field that must be a list of objects.

    Raises:
        BadRecordError: `record_malformed`.
    """
    objects = values.get(name)
    if not isinstance(objects, list) or not all(isinstance(value, dict) for value in objects):
        raise BadRecordError("record_malformed", f"{name} is not a list of objects")
    return objects
