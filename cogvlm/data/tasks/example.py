"""What a task is given: a sample, how it is asked, and all choices as hashes.

Which phrase, which wording, which language: a hash of seed, epoch, key and what is chosen. So a
visit asks the same in a resumed run, and another thing in the next epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash
from torch import Tensor

from cogvlm.data.task_options import TaskName, TaskOptions
from cogvlm.data.tasks import pools
from cogvlm.data.tasks.pools import Language, PoolName
from cogvlm.data.tasks.reasons import Skip, SkipReason
from cogvlm.data.tokens import Segment, Turn, dialogue
from shards.identity import Domain, choice


@dataclass(frozen=True)
class Example:
    """What a task is given."""

    key: str  # of the sample
    caption: str
    images: Sequence[Tensor]  # (3, size, size) each
    fields: Mapping[str, Any]  # the sample's JSON
    template: str  # a name in tokens.TEMPLATES
    seed: int
    epoch: int
    options: TaskOptions = field(default_factory=TaskOptions)

    def choose(self, domain: Domain, what: str, size: int) -> int:
        """Return a number below `size`, the same for the same seed, epoch, key and `what`."""
        return self._bits(domain, what) % size

    def chance(self, domain: Domain, what: str, probability: float) -> bool:
        """Return whether something of that probability happens on this visit."""
        return self._bits(domain, what) < int(probability * 2**64)

    def language(self, what: str) -> Language:
        """Return the language that this visit is asked in."""
        wanted = self.options.prompt_language
        if wanted != "both":
            return wanted
        return pools.LANGUAGES[self.choose(Domain.PROMPT, f"{what} language", 2)]

    def question(self, name: PoolName, what: str = "", **slots: str) -> str:
        """Return a wording of a pool with its slot filled."""
        what = what or name
        wordings = pools.pool(name, self.language(what), self.options.prompts)
        return wordings[self.choose(Domain.PROMPT, what, len(wordings))].format(**slots)

    def text(self) -> str:
        """Return the caption.

        Raises:
            Skip: It is empty.
        """
        if not self.caption.strip():
            raise Skip(SkipReason.NO_TEXT)
        return self.caption

    def segments(
        self, task: TaskName, turns: Sequence[Turn], template: str | None = None
    ) -> list[Segment]:
        """Return the segments of a dialogue, the marker of the task before every question.

        Raises:
            Skip: Marks and images do not fit.
        """
        if self.options.task_prefix:
            turns = [
                Turn(f"{prefix(task)}{each.question}" if each.question else "", each.answer)
                for each in turns
            ]
        try:
            return dialogue(turns, self.images, template or self.template, train=True)
        except ValueError as error:
            raise Skip(SkipReason.BAD_CONVERSATION, str(error)) from error

    def _bits(self, domain: Domain, what: str) -> int:
        word = xxhash.xxh3_64_intdigest(f"{self.key}\0{self.epoch}\0{what}".encode())
        return int(choice(domain, self.seed, np.array([[word, 0]], np.uint64))[0])


def prefix(task: TaskName) -> str:
    """Return what `task_prefix` puts in front of a task's questions."""
    return f"{task}: "
