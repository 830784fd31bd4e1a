"""What a training task declares; each file in `cogvlm.data.tasks` may declare some.

Importing this module is free, and so are those files: they are read to list the tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cogvlm.data.segments import Segment
    from cogvlm.data.tasks.example import Example


@dataclass(frozen=True, kw_only=True)
class Task:
    """A way to make training sequences from samples, by name."""

    name: str
    """What `--task` and `--data task=OUT` say."""
    help: str
    """One sentence for help and docs."""
    make: Callable[[Example], list[Segment]]
    """Makes the segments of a sample; raises `Skip` where it gives nothing."""
    levels: tuple[str, ...]
    """What a shard set must hold; grounded samples are image-text pairs, too."""
    has_pool: bool = False
    """Whether it asks with the wordings of `prompts/NAME.LANGUAGE.txt`."""
    slot: str | None = None
    """What every wording of its pool has once, in braces."""

    @property
    def has_images(self) -> bool:
        """Whether its sequences have room for images."""
        return self.levels != ("text",)
