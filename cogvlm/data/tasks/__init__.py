"""What is asked of a sample and what the model must answer: shards hold truth, tasks are made here.

A task turns an example into segments of a sequence, the answers as targets; a file here declares it
in its tuple `TASKS`. Listing the tasks imports neither torch nor pyarrow. All choices (which
phrase, which wording) are a hash of seed, epoch, key and what is chosen: the same on every visit
of a resumed run, another in the next epoch. A sample that a task can do nothing with is left out
under a reason.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cogvlm.data.segments import Segment
from cogvlm.data.task import Task
from cogvlm.data.task_options import TaskOptions
from cogvlm.data.tasks import pools
from cogvlm.data.tasks.conversations import BOXES_MARK
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
from cogvlm.data.tasks.example import Example, prefix
from cogvlm.data.tasks.fields import box_rows, conversation
from cogvlm.data.tasks.grounding import NOT_THERE
from cogvlm.data.tasks.pools import Language
from cogvlm.data.tasks.reasons import FAULTS, Skip, SkipReason
from cogvlm.data.tasks.spans import MAX_BOXES, Phrase, judged, phrases, recs, regs
from shards.declarations import declared

TASKS: Mapping[str, Task] = declared(sys.modules[__name__], "TASKS", Task)
"""Every task by name, as the files beside this one declare them."""


def pool(task: str, language: Language = "en", folder: str = "") -> tuple[str, ...]:
    """Return the wordings of a task's pool; the first of `rec` is the paper's.

    Raises:
        ValueError: The file cannot be used, see `pools.pool`.
    """
    return pools.pool(task, language, folder, slot=TASKS[task].slot)


def check_prompts(folder: str) -> None:
    """Read every prompt pool, a user's or ours.

    Raises:
        ValueError: One cannot be used, or the folder has no file that is known.
    """
    pools.check(folder, {name: task.slot for name, task in TASKS.items() if task.has_pool})


def make(task: str, example: Example) -> list[Segment]:
    """Return the segments of a task.

    Raises:
        Skip: The sample gives nothing for it.
    """
    return TASKS[task].make(example)


__all__ = [
    "BOXES_MARK",
    "FAULTS",
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
    "Task",
    "TaskOptions",
    "box_rows",
    "boxes_of",
    "check_prompts",
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
