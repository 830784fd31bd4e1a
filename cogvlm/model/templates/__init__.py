"""The chat templates: each file here declares those of one family in its tuple `TEMPLATES`.

A template is the text around a dialogue's images, questions and answers; `cogvlm.model.registry`
has them by name. Importing these files is free.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Template:
    """A chat template by name."""

    name: str
    """What `--template` and a checkpoint's config say."""
    help: str
    """One sentence for the docs."""
    before: str = ""
    """Before a question."""
    after: str = ""
    """Between a question and its answer."""
    past: str = " "
    """Before an answer that was given earlier."""
    end: str = "\n"
    """After the answer of a turn that is not the last."""
    start: str = ""
    """Before the images."""
    special: bool = False
    """Whether the template's own texts name special tokens."""
    captions: str = "base"
    """Template of captions without a question."""
    short: str = ""
    """Template of questions with short answers; empty: this one."""
