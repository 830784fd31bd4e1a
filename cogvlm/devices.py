"""Devices and number types by name. Importing this is free: torch comes with the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DTYPES = ("bf16", "fp16", "fp32")


def dtype_of(name: str) -> torch.dtype:
    """Return a type by its short name, one of DTYPES."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def device_of(name: str) -> torch.device:
    """Return a device; `auto` is the GPU where there is one.

    Raises:
        ValueError: There is no such device here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}") from error
    return device
