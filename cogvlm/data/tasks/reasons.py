"""Why a sample gives nothing for a task."""

from __future__ import annotations

from enum import StrEnum


class SkipReason(StrEnum):
    """Why a slot of a batch stays empty."""

    TAR_DAMAGED = "tar_damaged"
    JSON_DAMAGED = "json_damaged"
    SAMPLE_INCOMPLETE = "sample_incomplete"
    IMAGE_DAMAGED = "image_damaged"
    DOES_NOT_FIT = "does_not_fit"  # too long, or an image right after an answer
    NO_TEXT = "no_text"  # none at all, or none to train on
    NO_PHRASE = "no_phrase"  # with a box, and clear by itself
    BAD_BOXES = "bad_boxes"  # not four finite numbers, of no part of the caption, or broken text
    BAD_CONVERSATION = "bad_conversation"  # roles or marks that do not fit
    BAD_DOCUMENT = "bad_document"


FAULTS = frozenset({*SkipReason} - {SkipReason.NO_PHRASE, SkipReason.DOES_NOT_FIT})
"""Reasons that are something wrong with a sample: named one by one. The others are counted."""


class Skip(Exception):
    """A sample that gives nothing for a task."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
