"""What a task is given: a sample, how it is asked, and all choices as hashes.

Which phrase, which wording, which language: a hash of seed, epoch, key and what is chosen. So a
visit asks the same in a resumed run, and another thing in the next epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xxhash

from cogvlm.data.segments import Segment, Turn, dialogue
from cogvlm.data.task_options import TaskOptions
from cogvlm.data.tasks import pools
from cogvlm.data.tasks.pools import Language
from cogvlm.data.tasks.reasons import Skip, SkipReason

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Example:
    """What a task is given."""

    key: str  # of the sample
    caption: str
    images: Sequence[Tensor]  # (3, size, size) each
    fields: Mapping[str, Any]  # the sample's JSON
    template: str  # a name in the registry's TEMPLATES
    seed: int
    epoch: int
    options: TaskOptions = field(default_factory=TaskOptions)

    def choose(self, what: str, size: int, domain: Literal["task", "prompt"] = "task") -> int:
        """Return a number below `size`, the same for the same seed, epoch, key and `what`."""
        return self._bits(what, domain) % size

    def chance(self, what: str, probability: float) -> bool:
        """Return whether something of that probability happens on this visit."""
        return self._bits(what, "task") < int(probability * 2**64)

    def language(self, what: str) -> Language:
        """Return the language that this visit is asked in."""
        wanted = self.options.prompt_language
        if wanted != "both":
            return wanted
        return pools.LANGUAGES[self.choose(f"{what} language", 2, "prompt")]

    def question(self, name: str, what: str = "", **slots: str) -> str:
        """Return a wording of a task's pool with its slot filled."""
        what = what or name
        slot = next(iter(slots), None)
        wordings = pools.pool(name, self.language(what), self.options.prompts, slot=slot)
        return wordings[self.choose(what, len(wordings), "prompt")].format(**slots)

    def text(self) -> str:
        """Return the caption.

        Raises:
            Skip: It is empty.
        """
        if not self.caption.strip():
            raise Skip(SkipReason.NO_TEXT)
        return self.caption

    def segments(self, task: str, turns: Sequence[Turn], template: str = "") -> list[Segment]:
        """Return the segments of a dialogue, with `task_prefix` the task's name in its questions.

        Args:
            task: Its name.
            turns: Questions and answers.
            template: Another than the run's.

        Raises:
            Skip: Marks and images do not fit.
        """
        if self.options.task_prefix:
            turns = [
                Turn(f"{prefix(task)}{turn.question}" if turn.question else "", turn.answer)
                for turn in turns
            ]
        try:
            return dialogue(turns, self.images, template or self.template, train=True)
        except ValueError as error:
            raise Skip(SkipReason.BAD_CONVERSATION, str(error)) from error

    def _bits(self, what: str, domain: Literal["task", "prompt"]) -> int:
        from shards.identity import Domain, choice  # not above: it imports pyarrow

        word = xxhash.xxh3_64_intdigest(f"{self.key}\0{self.epoch}\0{what}".encode())
        return int(choice(Domain(domain), self.seed, np.array([[word, 0]], np.uint64))[0])


def prefix(task: str) -> str:
    """Return what `task_prefix` puts in front of a task's questions."""
    return f"{task}: "
