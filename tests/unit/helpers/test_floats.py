"""The comparison with a float64 run accepts what is as exact as the official code, no more."""

from __future__ import annotations

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny
from helpers.floats import assert_as_exact, in_float64

from cogvlm.model.layout import collate

EXACT = torch.linspace(0.5, 1.0, 100, dtype=torch.float64)
NOISE = torch.randn(100, generator=torch.Generator().manual_seed(0)).double()


def run_with(error: float, exact: torch.Tensor = EXACT) -> dict[str, torch.Tensor]:
    return {"x": (exact + error * NOISE).float()}


@pytest.mark.parametrize(
    ("ours", "official", "message"),
    [
        (1.4e-6, 1e-6, None),
        (1.7e-6, 1e-6, r"x: ours is 1.* and the official one .* is allowed"),
        (0.9e-7, 0.0, None),
        (1e-6, 0.0, "ours is"),
        (7e-6, 5e-6, "our x is .* off; 2e-05 is allowed"),
        (1e-6, 1e-5, "official x is .* off; 2e-05 is allowed"),
    ],
)
def test_ours_may_be_as_far_as_the_official_run_and_half_more(
    ours: float, official: float, message: str | None
) -> None:
    runs = run_with(ours), run_with(official), {"x": EXACT}
    if message is None:
        assert_as_exact(*runs)
    else:
        with pytest.raises(AssertionError, match=message):
            assert_as_exact(*runs)


def test_what_is_not_a_number_is_not_close() -> None:
    with pytest.raises(AssertionError, match="our x is nan off"):
        assert_as_exact(run_with(torch.nan), run_with(0.0), {"x": EXACT})


def test_a_model_computes_in_float64_all_through() -> None:
    """Every float32 step would leave an error of about 1e-7 in what no rounding separates."""
    config = tiny()
    batch = collate([[sample(config, [1, IMAGE, 4])]], config)
    wide, narrow = built(config).double(), built(config)
    weight = wide.model.layers[0].mlp.language_mlp.up_proj.weight
    with in_float64():
        logits = wide(batch)
        (grad,) = torch.autograd.grad(wide.loss(batch)[0], [weight])
    assert logits.dtype == grad.dtype == torch.float64
    assert 1e-8 < float((logits - narrow(batch)).detach().abs().max()) < 1e-4
    assert torch.zeros(1).dtype == torch.float32
    assert torch.zeros(1).double().float().dtype == torch.float32
