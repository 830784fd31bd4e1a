"""The named models: each file here declares those of one family in its tuple `VARIANTS`.

Sizes are the published ones (checkpoint configs and shapes); what is ours says so. Importing these
files is free; `cogvlm.model.presets` has the models by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cogvlm.model.config import ModelConfig
from cogvlm.model.registry import TOWERS
from cogvlm.model.towers import Vision


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A named model."""

    name: str
    """What `--model` and `--preset` say."""
    help: str
    """One sentence for the docs."""
    config: Callable[[], ModelConfig]
    """Returns all its settings."""


def variants(*functions: Callable[[], ModelConfig]) -> tuple[Variant, ...]:
    """Declare functions that return a config: names and first lines of docstrings are theirs."""
    return tuple(
        Variant(name=function.__name__, help=inspect.getdoc(function) or "", config=function)
        for function in functions
    )


def published_vision(tower: str, **others: Any) -> Vision:
    """Return a tower with the sizes of its published weights.

    Args:
        tower: A name in TOWERS.
        others: Fields that the sizes leave open, such as image_size.
    """
    return Vision(tower=tower, **{**TOWERS[tower].sizes, **others})
