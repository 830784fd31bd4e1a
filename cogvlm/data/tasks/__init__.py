"""What is asked of a sample and what the model must answer: shards hold truth, tasks are made here.

A task turns an example into segments of a sequence, the answers as targets. All choices (which
phrase, which wording) are a hash of seed, epoch, key and what is chosen: the same on every visit
of a resumed run, another in the next epoch. A sample that a task can do nothing with is left out
under a reason.
"""

from __future__ import annotations

from collections.abc import Callable

from cogvlm.data.task_options import TaskName, TaskOptions
from cogvlm.data.tasks.conversations import BOXES_MARK, chat, grounded_vqa, vqa
from cogvlm.data.tasks.conversions import (
    BoxTextReason,
    Rec,
    Reg,
    boxes_of,
    gc_to_recs_and_regs,
    grounded_captions,
    rec_of,
    rec_to_reg,
    reg_of,
    reg_to_rec,
    with_boxes,
    without_boxes,
)
from cogvlm.data.tasks.documents import caption, document, text
from cogvlm.data.tasks.example import Example, prefix
from cogvlm.data.tasks.fields import box_rows, conversation
from cogvlm.data.tasks.grounding import NOT_THERE, grounded_caption, rec, reg
from cogvlm.data.tasks.pools import pool
from cogvlm.data.tasks.reasons import FAULTS, Skip, SkipReason
from cogvlm.data.tasks.spans import MAX_BOXES, Phrase, judged, phrases, recs, regs
from cogvlm.data.tokens import Segment

TASKS: dict[TaskName, Callable[[Example], list[Segment]]] = {
    "caption": caption,
    "rec": rec,
    "reg": reg,
    "grounded_caption": grounded_caption,
    "grounded_vqa": grounded_vqa,
    "dialogue": chat,
    "vqa": vqa,
    "document": document,
    "text": text,
}

# What a shard set must hold for a task; grounded samples are image-text pairs, too.
LEVELS: dict[TaskName, tuple[str, ...]] = {
    "caption": ("image_text", "grounded"),
    "rec": ("grounded",),
    "reg": ("grounded",),
    "grounded_caption": ("grounded",),
    "grounded_vqa": ("dialogue",),
    "dialogue": ("dialogue",),
    "vqa": ("dialogue",),
    "document": ("document",),
    "text": ("text",),
}


def make(task: TaskName, example: Example) -> list[Segment]:
    """Return the segments of a task.

    Raises:
        Skip: The sample gives nothing for it.
    """
    return TASKS[task](example)


__all__ = [
    "BOXES_MARK",
    "FAULTS",
    "LEVELS",
    "MAX_BOXES",
    "NOT_THERE",
    "TASKS",
    "BoxTextReason",
    "Example",
    "Phrase",
    "Rec",
    "Reg",
    "Skip",
    "SkipReason",
    "TaskOptions",
    "box_rows",
    "boxes_of",
    "conversation",
    "gc_to_recs_and_regs",
    "grounded_captions",
    "judged",
    "make",
    "phrases",
    "pool",
    "prefix",
    "rec_of",
    "rec_to_reg",
    "recs",
    "reg_of",
    "reg_to_rec",
    "regs",
    "with_boxes",
    "without_boxes",
]
