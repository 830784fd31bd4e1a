"""The image towers: each file here declares one, or one library's, in its tuple `TOWERS`.

A declaration has what sizes, weights, pixels and costs ask about a tower; `cogvlm.model.registry`
has them by name. Importing these files is free: torch is imported where a tower is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogvlm.model.rules import check, positive
from cogvlm.model.tensor_source import TensorSource

if TYPE_CHECKING:
    from torch import Tensor, nn

_HERE = "model.vision.tower."


@dataclass(frozen=True, kw_only=True)
class Vision:
    """The image encoder. Sizes describe the blocks that run, so 63 for CogVLM's 64-block EVA."""

    tower: str = "eva02_e"
    """Whose blocks; see the table of towers. `ModelConfig` checks what the tower asks for."""
    image_size: int
    """Side of the square input in pixels."""
    patch_size: int = 14
    """Side of a patch in pixels."""
    width: int
    """Channels of a patch token."""
    num_layers: int
    """Blocks of the tower."""
    num_heads: int
    """Attention heads of a block."""
    mlp_size: int
    """Inner channels of a block's MLP."""
    norm_eps: float = 1e-6
    """Epsilon of the tower's LayerNorms."""
    feature_layer: int = -1
    """Which block's output is taken, counted from the end; blocks behind it do not run."""

    def __post_init__(self) -> None:
        positive("vision", self, "image_size", "patch_size", "width", "num_layers", "num_heads")
        is_a_layer = -self.num_layers <= self.feature_layer <= -1
        check(
            "vision",
            self,
            (
                "width",
                self.width % self.num_heads == 0,
                f"a multiple of vision.num_heads {self.num_heads}",
            ),
            ("feature_layer", is_a_layer, f"in -{self.num_layers} .. -1"),
        )

    @property
    def grid_size(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


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
