"""What tests of tasks share: small examples, and sequences as text that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from cogvlm.data import tasks
from cogvlm.data.segments import Picture, Text
from cogvlm.data.tasks import Example, Skip, SkipReason, TaskOptions

WHERE, WHAT, GROUND = (tasks.pool(name) for name in ("rec", "reg", "grounded_caption"))

CAPTION = "a red square beside a blue circle"
SQUARE, CIRCLE = (0, 12), (20, 33)
SQUARES = (2, 12)  # without the "a", which would say that there is one
LEFT, RIGHT = [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1.0, 1.0]
LEFT_TEXT, RIGHT_TEXT = "[[100,200,300,400]]", "[[500,500,999,999]]"
CHUNKS = [[*SQUARE, *LEFT, 0.9], [*CIRCLE, *RIGHT, 0.8]]
WALKING = "A man and a woman are walking together."
LOOKING = "A man is running, while another man is looking."


def example(
    caption: str = CAPTION,
    fields: Mapping[str, Any] | None = None,
    *,
    images: int = 1,
    template: str = "base",
    key: str = "k",
    seed: int = 0,
    epoch: int = 0,
    **options: Any,
) -> Example:
    pictures = [torch.full((3, 2, 2), number) for number in range(images)]
    return Example(
        key, caption, pictures, fields or {}, template, seed, epoch, TaskOptions(**options)
    )


def grounded(caption: str, chunks: Sequence[Sequence[float]], **more: Any) -> Example:
    return example(caption, {"noun_chunks": chunks}, **more)


def dialogue(*contents: str, boxes: Mapping[int, Any] | None = None, **more: Any) -> Example:
    return example("", {"conversations": turns(*contents, boxes=boxes)}, **more)


def turns(*contents: str, boxes: Mapping[int, Any] | None = None) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[number % 2], "content": content}
        for number, content in enumerate(contents)
    ]
    for number, each in (boxes or {}).items():
        said[number]["boxes"] = each
    return said


def told(task: str, given: Example) -> str:
    """Return a sequence as text: image numbers in <>, targets in {}, their ends as |."""
    return "".join(map(written, tasks.make(task, given)))


def written(segment: Text | Picture) -> str:
    if isinstance(segment, Picture):
        return f"<{int(segment.image[0, 0, 0])}>"
    assert segment.target or not segment.ends
    return f"{{{segment.text}{'|' * segment.ends}}}" if segment.target else segment.text


def skipped(task: str, given: Example) -> tuple[SkipReason, str]:
    with pytest.raises(Skip) as caught:
        tasks.make(task, given)
    return caught.value.reason, caught.value.detail


def asked(pool: Sequence[str], **words: str) -> set[str]:
    return {wording.format(**words) for wording in pool}


def spans_in(caption: str, *texts: str) -> list[tuple[int, int]]:
    found, end = [], 0
    for text in texts:
        start = caption.index(text, end)
        end = start + len(text)
        found.append((start, end))
    return found
