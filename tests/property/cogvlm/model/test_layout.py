"""Routing and positions agree with the official rule wherever text separates the images."""

from __future__ import annotations

import torch
from helpers.cogvlm.tiny_models import IMAGE, sample, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvlm.model.layout import Sample, collate
from scripts.verify_export import spans_of

CONFIG = tiny()
SPAN = CONFIG.span_size

texts = st.integers(1, 6)
pieces = st.builds(
    lambda first, rest: [first, *(piece for text in rest for piece in (IMAGE, text))],
    texts,
    st.lists(texts, max_size=3),
)
batches = st.lists(pieces, min_size=1, max_size=3)


def official_experts(types: list[int]) -> list[int]:
    """A position is vision if it and the next one are."""
    return [
        int(here == 1 and after == 1) for here, after in zip(types, [*types[1:], 0], strict=True)
    ]


def official_positions(types: list[int], real: list[int]) -> list[int]:
    """The official rule as it runs: relabel the edges of vision runs, then count steps."""
    marks = [kind if is_real else -1 for kind, is_real in zip(types, real, strict=True)]
    edges = [
        mark == 1 and (place == 0 or marks[place - 1] == 0
                       or place == len(marks) - 1 or marks[place + 1] == 0)
        for place, mark in enumerate(marks)
    ]  # fmt: skip
    marks = [0 if edge else mark for mark, edge in zip(marks, edges, strict=True)]
    positions = [0]
    for place in range(1, len(marks)):
        steps = marks[place] == 0 or (marks[place] == 1 and marks[place - 1] == 0)
        positions.append(positions[-1] + steps)
    return positions


def types_of(one: Sample) -> list[int]:
    types = [0] * len(one.ids)
    for start, end in one.spans:
        types[start:end] = [1] * (end - start)
    return types


@given(batches, st.sampled_from(["right", "left"]), st.integers(0, 4))
@settings(max_examples=60)
def test_official_rule(rows: list, side: str, more: int) -> None:
    samples = [sample(CONFIG, row) for row in rows]
    length = max(len(one.ids) for one in samples) + more
    batch = collate([[one] for one in samples], CONFIG, length=length, side=side)
    is_vision = torch.zeros(batch.ids_BL.numel(), dtype=torch.long)
    is_vision[batch.route.vision_V] = 1
    for row, one in enumerate(samples):
        padding = [0] * (length - len(one.ids))
        types, real = types_of(one) + padding, [1] * len(one.ids) + padding
        if side == "left":
            types, real = padding + types_of(one), padding + [1] * len(one.ids)
        assert batch.positions_ABL[0, row].tolist() == official_positions(types, real)
        assert is_vision.view_as(batch.ids_BL)[row].tolist() == official_experts(types)
        assert spans_of(types, SPAN) == [
            (start + types.index(1) - one.spans[0][0], end + types.index(1) - one.spans[0][0])
            for start, end in one.spans
        ]


@given(batches)
@settings(max_examples=40)
def test_every_token_has_one_place(rows: list) -> None:
    batch = collate([[sample(CONFIG, row)] for row in rows], CONFIG)
    together = torch.cat([batch.route.language_T, batch.route.vision_V])
    assert sorted(together.tolist()) == list(range(batch.ids_BL.numel()))
    assert len(batch.slots_IS.unique()) == batch.slots_IS.numel()


@given(batches)
@settings(max_examples=30)
def test_packed_samples_keep_their_own_positions(rows: list) -> None:
    samples = [sample(CONFIG, row) for row in rows]
    packed = collate([samples], CONFIG)
    alone = [collate([[one]], CONFIG).positions_ABL[0, 0] for one in samples]
    assert packed.positions_ABL[0, 0].equal(torch.cat(alone))
