"""Antialiased bicubic on uint8 with torch: about a fifth of Pillow's time, near-equal pixels.

The only file of `shards` that imports torch; `--resizer torch` asks for it.
Its pixels differ from Pillow's by rounding, so the choice is recorded with a run and never made
silently.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

try:
    import torch
except ImportError as error:
    raise ValueError(
        "--resizer torch: torch is not installed; "
        "pip install 'groundwork-vl[torch-resize]', or use --resizer pillow"
    ) from error


def resample(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 pixels to `size` = (width, height)."""
    # A view of the same memory: channels-last is what the fast uint8 kernel wants. torch cannot
    # hold read-only arrays, which Pillow gives; "W" copies those, and only those.
    image_CHW = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).permute(2, 0, 1)
    # uint8 in, uint8 out: torch rounds and clips by itself. From floats, bicubic's overshoot would
    # wrap around at white edges where somebody forgets to clip.
    resized_CHW = torch.nn.functional.interpolate(
        image_CHW[None], size=(size[1], size[0]), mode="bicubic", antialias=True
    )[0]
    return np.ascontiguousarray(resized_CHW.permute(1, 2, 0).numpy())


def hold_to_one_thread() -> None:
    """Set torch to one thread: a pool of its own in every decode thread halves throughput."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
