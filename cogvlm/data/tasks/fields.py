"""Boxes and turns as a sample's JSON holds them, checked where they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cogvlm.data.tasks.reasons import Skip, SkipReason
from shards import boxtext
from shards.grounded import BadGroundingError, BoxRow

_HUGE = 1e9  # no place of a caption and no coordinate is that far off
_FAR_OUT = -1, 2  # boxes may reach over the border of an image; pixels reach further


def box_rows(fields: Mapping[str, Any], name: str) -> list[BoxRow]:
    """Return `noun_chunks` or `ref_exps`.

    Boxes may still reach over the border or be flat: training cuts and drops them.

    Raises:
        Skip: They are not rows of seven finite numbers.
    """
    rows = fields.get(name) or []
    if not isinstance(rows, list):
        raise Skip(SkipReason.BAD_BOXES, f"{name} is not a list of rows")
    try:
        return [BoxRow.read(row) for row in rows]
    except BadGroundingError as error:
        raise Skip(SkipReason.BAD_BOXES, f"{name}: {error.detail}") from error


def conversation(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a dialogue sample, none for others.

    Raises:
        Skip: They are not a list of objects with lists of lists of boxes.
    """
    turns = fields.get("conversations") or []
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Skip(SkipReason.BAD_CONVERSATION, "conversations is not a list of objects")
    for turn in turns:
        boxes = turn.get("boxes") or []
        if not isinstance(boxes, list) or not all(isinstance(entry, list) for entry in boxes):
            raise Skip(SkipReason.BAD_CONVERSATION, f"the boxes of a turn are {boxes!r}")
        if not all(are_numbers(box, 4) for entry in boxes for box in entry):
            raise Skip(SkipReason.BAD_BOXES, f"not four finite numbers each: {boxes!r}")
    return turns


def box_text(boxes: Any) -> str:
    """Return the text of boxes.

    Raises:
        Skip: They are none, or not in 0..1 of the image.
    """
    try:
        text = boxtext.encode(boxes)
    except ValueError as error:
        raise Skip(SkipReason.BAD_BOXES, str(error)) from error
    if not all(_FAR_OUT[0] <= side <= _FAR_OUT[1] for box in boxes for side in box):
        raise Skip(SkipReason.BAD_BOXES, f"not in 0..1 of the image, but pixels?: {boxes!r}")
    return text


def are_numbers(row: Any, size: int) -> bool:
    """Whether this is a list of so many finite numbers."""
    return (
        isinstance(row, list)
        and len(row) == size
        and all(isinstance(value, int | float) and abs(value) < _HUGE for value in row)
    )
