"""Captions, interleaved documents and bare texts: what needs no question."""

from __future__ import annotations

from dataclasses import replace

from cogvlm.data.segments import Picture, Segment, Text, Turn
from cogvlm.data.task import Task
from cogvlm.data.tasks.example import Example
from cogvlm.data.tasks.reasons import Skip, SkipReason
from cogvlm.model.registry import TEMPLATES


def caption(example: Example) -> list[Segment]:
    """Return image and caption; the prompt is empty, as the base models are used."""
    text = example.text()
    if example.options.caption_requests:
        return example.segments("caption", [Turn(example.question("caption"), text)])
    return example.segments("caption", [Turn("", text)], TEMPLATES[example.template].captions)


def document(example: Example) -> list[Segment]:
    """Return texts and images in their order (VILA, section 3).

    All text is a target, or with `document_loss` "after_image" what an image comes before. A text
    that says `<image>` is text.
    """
    segments: list[Segment] = []
    is_target = example.options.document_loss == "all"
    items = example.fields.get("items") or []
    if not isinstance(items, list):
        raise Skip(SkipReason.BAD_DOCUMENT, f"items {items!r}")
    for item in items:
        if not isinstance(item, dict):
            raise Skip(SkipReason.BAD_DOCUMENT, f"item {item!r}")
        if isinstance(text := item.get("text"), str):
            segments.append(Text(text, target=is_target))
        elif isinstance(number := item.get("image"), int) and 0 <= number < len(example.images):
            segments.append(Picture(example.images[number]))
            is_target = True
        else:
            raise Skip(SkipReason.BAD_DOCUMENT, f"item {item!r}")
    return _ended(segments)


def text(example: Example) -> list[Segment]:
    """Return a text without an image; all of it is a target."""
    return _ended([Text(example.text(), target=True)])


def _ended(segments: list[Segment]) -> list[Segment]:
    """Let EOS be predicted after the last text; images and blanks at the very end are left out."""
    while segments:
        last = segments.pop()
        if isinstance(last, Text) and last.text.strip():
            if not last.target:  # nor is any text before it
                break
            return [*segments, replace(last, ends=True)]
    raise Skip(SkipReason.NO_TEXT)


TASKS = (
    Task(
        name="caption",
        help="Image and caption; the prompt is empty, as the base models are used.",
        make=caption,
        levels=("image_text", "grounded"),
        has_pool=True,
    ),
    Task(
        name="document",
        help="Texts and images of an interleaved document in their order.",
        make=document,
        levels=("document",),
    ),
    Task(name="text", help="A text without an image.", make=text, levels=("text",)),
)
