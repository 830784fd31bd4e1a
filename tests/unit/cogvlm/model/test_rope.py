"""Rotation: both precisions, two axes, and partial interleaved heads."""

from __future__ import annotations

import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny
from helpers.floats import CLOSE, in_float64

from cogvlm.model.config import Rope
from cogvlm.model.layout import collate
from cogvlm.model.rope import inverse_frequencies, rotate, tables
from cogvlm.model.variants.cogvlm import cogvlm_17b_490


def positions(*values: int) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, -1)


def test_bf16_tables_cannot_tell_256_from_257() -> None:
    frequencies = inverse_frequencies(cogvlm_17b_490())
    cos, _ = tables(positions(256, 257), frequencies.bfloat16())
    assert cos[0, 0].equal(cos[0, 1])
    cos, _ = tables(positions(256, 257), frequencies)
    assert not cos[0, 0].equal(cos[0, 1])


def test_the_setting_decides_the_precision() -> None:
    dtypes = {}
    for way in ("fp32", "checkpoint"):
        config = tiny(rope_compute=way)
        model = built(config).bfloat16()
        batch = collate([[sample(config, [1, IMAGE, 3])]], config)
        dtypes[way] = model.model.context(batch).cos.dtype
        assert model(batch).isfinite().all()
    assert dtypes == {"fp32": torch.float32, "checkpoint": torch.bfloat16}


@in_float64()
def test_scores_depend_on_the_distance_only() -> None:
    for rope in (Rope(), Rope(interleaved=True), Rope(fraction=0.5, interleaved=True)):
        config = tiny(rope=rope)
        q, k = torch.randn(2, 1, 1, 1, config.head_size).unbind(0)
        scores = []
        for start in (0, 40):
            cos, sin = tables(positions(start + 7, start), inverse_frequencies(config))
            turned = [
                rotate(x, cos[:, at : at + 1], sin[:, at : at + 1], rope.interleaved)
                for at, x in enumerate((q, k))
            ]
            scores.append((turned[0] * turned[1]).sum())
        torch.testing.assert_close(scores[0], scores[1], **CLOSE)


def test_what_does_not_rotate_stays() -> None:
    config = tiny(rope=Rope(fraction=0.5, interleaved=True))
    x = torch.randn(1, 2, 3, config.head_size)
    cos, sin = tables(positions(3, 9), inverse_frequencies(config))
    turned = rotate(x, cos, sin, interleaved=True)
    half = config.head_size // 2
    assert turned[..., half:].equal(x[..., half:])
    assert not torch.allclose(turned[..., :half], x[..., :half])


def test_two_axes_turn_pairs_in_turn() -> None:
    frequencies = inverse_frequencies(tiny())
    both = torch.tensor([[[5]], [[9]]])
    cos, sin = tables(both, frequencies)
    row, _ = tables(positions(5), frequencies)
    _, column = tables(positions(9), frequencies)
    assert cos[..., 0::2].equal(row[..., 0::2])
    assert sin[..., 1::2].equal(column[..., 1::2])
