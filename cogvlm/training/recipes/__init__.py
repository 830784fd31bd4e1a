"""What a training recipe is, and what several have in common; a file here for each family.

"Paper" is arXiv 2311.03079: v1 the first text, v2 that of February 2024. What no source states is
ours, and a note of the recipe says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from cogvlm.model.groups import GROUPS, stage
from cogvlm.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run as it is meant."""

    config: TrainConfig
    """All settings; the user adds where the data, the weights and the output are."""
    published: frozenset[str] = frozenset()
    """Fields of the config whose values somebody published."""
    source: str
    """Where they are from, in one line; begins with "ours" where nothing is published."""
    notes: tuple[str, ...] = ()
    """What is unpublished and our choice, a line each."""


def groups(*names: str) -> tuple[str, ...]:
    """Return parameter groups in the order of GROUPS."""
    return tuple(group for group in GROUPS if group in names)


def field_names(names: str) -> frozenset[str]:
    """Return names that are separated by blanks."""
    return frozenset(names.split())


EVERY_GROUP = groups(*stage("sft") - {"lora"})
PRETRAIN_GROUPS = groups(*stage("stage1"))
VIT_TENTH = {"patch_and_pos": 0.1, "vit": 0.1}
LANGUAGE_TENTH = {"llm": 0.1, "embeddings": 0.1, "head": 0.1}

# Averages must forget the start of a run, so short ones forget faster.
EMA_LONG, EMA_SHORT = 0.9999, 0.999

EMA_NOTE = "The paper averages weights; the decay is SwissArmyTransformer's default."
COMMON_NOTE = "Clip 1.0, cosine to a tenth of the peak and loss per target token are ours."
SHORT_EMA_NOTE = "EMA 0.999 as in all of our runs below 20,000 steps."
