"""What `--data` says: `task=RUN[@SELECTION]`, separated by commas. Importing this is free."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shards.suggest import suggest

PERPLEXITY = "perplexity"

# Tokens that an answer may take, by task: ten boxes are about 200.
MAX_NEW_TOKENS = {
    "rec": 224,
    "grounded_caption": 512,
    "grounded_vqa": 224,
    "caption": 96,
    "vqa": 32,
    "exact": 64,
    "choice": 32,
    "choice_likelihood": 0,
    "yes_no": 16,
    "anls": 96,
}

_ENTRY = re.compile(r"\s*([a-z_]+)\s*=\s*(.+?)\s*")


@dataclass(frozen=True)
class Entry:
    """One evaluation."""

    task: str  # a name in MAX_NEW_TOKENS, perplexity, or perplexity_TASK
    spec: str  # of the shard set


def parse(text: str) -> list[Entry]:
    """Return the evaluations that are asked for.

    Raises:
        ValueError: An entry is not `task=RUN`, or of an unknown task.
    """
    entries = []
    for part in text.split(","):
        match = _ENTRY.fullmatch(part)
        if not match:
            raise ValueError(f"--data {part.strip()!r}: give task=RUN[@SELECTION],…")
        task = match[1]
        if task not in MAX_NEW_TOKENS and task.split("_")[0] != PERPLEXITY:
            hint = suggest(task, [*MAX_NEW_TOKENS, PERPLEXITY, f"{PERPLEXITY}_TASK"])
            raise ValueError(f"--data {part.strip()}: unknown task {task!r}; {hint}")
        entries.append(Entry(task, match[2]))
    return entries
