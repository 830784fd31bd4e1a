"""The templates of CogVLM and CogVLM2."""

from __future__ import annotations

from cogvlm.model.templates import Template

TEMPLATES = (
    Template(name="base", help="The bare question, as the base and grounding models take it."),
    Template(
        name="chat",
        help="Question and Answer, CogVLM's style for dialogues.",
        before="Question: ",
        after=" Answer:",
        short="vqa",
    ),
    Template(
        name="vqa",
        help="Question and Short answer, CogVLM's style for a few words.",
        before="Question: ",
        after=" Short answer:",
    ),
)
