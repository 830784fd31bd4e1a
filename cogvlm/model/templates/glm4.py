"""The template of GLM-4V."""

from __future__ import annotations

from cogvlm.model.templates import Template

TEMPLATES = (
    Template(
        name="glm4",
        help="The special tokens of GLM-4 around every turn.",
        after="<|assistant|>\n",
        past="",
        end="<|user|>\n",
        start="[gMASK]<sop><|user|>\n",
        special=True,
        captions="glm4",
    ),
)
