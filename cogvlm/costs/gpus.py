"""Graphics cards as they are sold, and what a training stage must hold on them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cogvlm.devices import DTYPES

_PART_OF_A_CARD = {"mig", "laptop", "d"}  # words of cards slower than their namesakes


@dataclass(frozen=True)
class Gpu:
    """A card as it is sold."""

    memory: float  # bytes
    peak: float  # FLOP/s, bf16 without sparsity; fp16 where there is no bf16
    has_bf16: bool = True


# A key's parts, split at "_", are words of the name that the driver gives such a card.
GPUS = {
    "v100": Gpu(32e9, 125e12, has_bf16=False),
    "v100_pcie": Gpu(32e9, 112e12, has_bf16=False),
    "a100": Gpu(80e9, 312e12),
    "h100": Gpu(80e9, 989e12),
    "h100_pcie": Gpu(80e9, 756e12),
    "h100_nvl": Gpu(94e9, 835e12),
    "h200": Gpu(141e9, 989e12),
    "h200_nvl": Gpu(141e9, 835e12),
    "b200": Gpu(180e9, 2250e12),
    "l40s": Gpu(48e9, 362e12),
    "4090": Gpu(24e9, 165e12),
}


def peak_flops_of(device_name: str, dtype: str) -> float | None:
    """Return a card's peak without sparsity in FLOP/s, or None where it is not known.

    Args:
        device_name: As `torch.cuda.get_device_name` says it; anything for a CPU.
        dtype: One of DTYPES. fp32 has no one peak: it depends on whether TF32 is allowed.
    """
    assert dtype in DTYPES, dtype
    words = set(re.split(r"[^a-z0-9]+", device_name.lower()))
    names = [name for name in GPUS if words.issuperset(name.split("_"))]
    if not names or words & _PART_OF_A_CARD or dtype == "fp32":
        return None
    card = GPUS[max(names, key=len)]  # "h100_pcie" says more than "h100"
    return card.peak if card.has_bf16 or dtype == "fp16" else None


def state_bytes(sizes: dict[str, int], trained: Iterable[str]) -> dict[str, int]:
    """Return the bytes of what is sharded: bf16 weights, and what each trained one adds."""
    own = sum(sizes[group] for group in trained)
    return {
        "weights (bf16)": 2 * sum(sizes.values()),
        "gradients (bf16)": 2 * own,
        "optimiser (fp32)": 12 * own,  # a master copy and Adam's two moments
        "EMA (fp32)": 4 * own,
    }
