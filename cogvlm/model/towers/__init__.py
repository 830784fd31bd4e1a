"""The image towers: each file here declares one, or one library's, in its tuple `TOWERS`.

A declaration has what sizes, weights, pixels and costs ask about a tower; `cogvlm.model.registry`
has them by name. Importing these files is free: torch is imported where a tower is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogvlm.model.tensor_source import TensorSource

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cogvlm.model.config import Vision

_HERE = "model.vision.tower."


def library_tensor(name: str, vision: Vision) -> TensorSource | None:
    """Return the same tensor under the library's own name; None where it is not the tower's."""
    return TensorSource((name.removeprefix(_HERE),)) if name.startswith(_HERE) else None


def no_blocks(tower: Any) -> Sequence[nn.Module]:
    """Return nothing: a tower without repeated blocks."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Tower:
    """An image encoder by name."""

    name: str
    """What `vision.tower` says."""
    help: str
    """One sentence for the docs."""
    build: Callable[[Vision], nn.Module]
    """Makes the module that becomes `model.vision.tower`, without weights."""
    features: Callable[[Any, Tensor], Tensor]
    """Module and images (I, 3, size, size) in; patch features without CLS (I, P, E) out."""
    blocks: Callable[[Any], Sequence[nn.Module]] = no_blocks
    """The module's repeated blocks: each is sharded, compiled and checkpointed by itself."""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Vision` as published, image_size only where there is just one."""
    has_cls: bool = False
    """Whether one more token than the patches runs through the blocks."""
    whole_patches: bool = True
    """Whether image_size must be a multiple of patch_size."""
    resizable: bool = False
    """Whether a run may change the input size between steps (--resize_at)."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Of the three channels on a scale of 0 to 1, subtracted from pixels; default: CLIP's."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """Pixels are divided by it after the mean was subtracted; default: CLIP's."""
    patch_and_pos: str = r"tower\.patch_embed\."
    """Pattern of the parameters in `model.vision.` that see pixels and positions, not blocks."""
    tensor: Callable[[str, Vision], TensorSource | None] = library_tensor
    """Our full parameter name in; the library checkpoint's tensors out, None for other parts."""
    inline: bool = False
    """Put the module's children into `model.vision` itself, as official checkpoints name them."""
