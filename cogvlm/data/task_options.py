"""How tasks are made of samples: settings that a training run and an evaluation share.

Importing this is free: no torch, no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PromptLanguage = Literal["en", "zh", "both"]
GroundingUnits = Literal["chunks", "expressions"]
DocumentLoss = Literal["all", "after_image"]


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """How tasks are made; the settings of a run of the same names say what each means."""

    prompt_language: PromptLanguage = "en"
    prompts: str = ""
    task_prefix: bool = False
    caption_requests: bool = False
    negatives: float = 0.0
    grounding_units: GroundingUnits = "chunks"
    keep_ambiguous: bool = False
    document_loss: DocumentLoss = "all"
