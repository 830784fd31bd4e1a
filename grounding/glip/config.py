"""Sizes of the GLIP variants, and how their outputs become boxes.

Presets carry the names of the published models; T-B, T-C and T share one set of sizes and differ
in what they were trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class GlipConfig:
    """Sizes of a model. The defaults are those of GLIP-T."""

    name: str
    """What labels say they come from."""
    swin_width: int = 96
    """Channels of the first stage; every later one has twice as many."""
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks by stage."""
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    """Attention heads by stage."""
    swin_window: int = 7
    """Side of an attention window in patches."""
    channels: int = 256
    """Channels of the pyramid and of the head."""
    text_vocab: int = 30522
    """Word pieces."""
    text_width: int = 768
    """Channels of the text."""
    text_layers: int = 12
    """Layers of the text tower."""
    text_heads: int = 12
    """Attention heads of the text tower and of the head's text layers."""
    text_mlp: int = 3072
    """Width between the two matrices of a text layer."""
    text_positions: int = 512
    """Rows of the position table."""
    max_tokens: int = 256
    """Longest prompt with its two special tokens."""
    blocks: int = 6
    """Blocks of the head."""
    fused: bool = True
    """Whether text and image look at each other in every block (all but T-A)."""
    fusion_width: int = 2048
    """Channels of all fusion heads together."""
    fusion_heads: int = 8
    """Heads of the fusion attention."""
    norm_groups: int = 16
    """Groups of the normalisation after deformable convolutions."""
    class_columns: int = 80
    """Channels of a layer that the checkpoints hold and nothing uses."""
    anchor_sizes: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Sides of the square anchors in pixels, P3 to P7."""
    anchor_strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Pixels between two anchors."""

    def __post_init__(self) -> None:
        if not len(self.swin_depths) == len(self.swin_heads) == 4:
            raise ValueError(
                f"{self.name}: the image tower has four stages, not depths {self.swin_depths} "
                f"and heads {self.swin_heads}"
            )
        if self.fusion_width % self.fusion_heads or self.text_width % self.text_heads:
            raise ValueError(
                f"{self.name}: heads must share their channels evenly: {self.fusion_width} by "
                f"{self.fusion_heads}, {self.text_width} by {self.text_heads}"
            )


@dataclass(frozen=True, kw_only=True)
class PostConfig:
    """From scores to boxes; the defaults are the original's."""

    score_threshold: float = 0.05
    """A candidate's phrase score, before centerness, must be above it."""
    pre_nms_top_k: int = 1000
    """Candidates kept per pyramid level."""
    nms_iou: float = 0.6
    """Of two boxes of a phrase that overlap more, the lower one goes."""
    max_detections: int = 100
    """Boxes per image over all its phrases; ties of the last may exceed it."""


def glip_tiny_a() -> GlipConfig:
    """Return GLIP-T (A): text meets the image only in the last product."""
    return GlipConfig(name="glip_tiny_a", fused=False)


def glip_tiny_b() -> GlipConfig:
    """Return GLIP-T (B)."""
    return GlipConfig(name="glip_tiny_b")


def glip_tiny_c() -> GlipConfig:
    """Return GLIP-T (C)."""
    return GlipConfig(name="glip_tiny_c")


def glip_tiny() -> GlipConfig:
    """Return GLIP-T."""
    return GlipConfig(name="glip_tiny")


def glip_large() -> GlipConfig:
    """Return GLIP-L."""
    return replace(
        glip_tiny(),
        name="glip_large",
        swin_width=192,
        swin_depths=(2, 2, 18, 2),
        swin_heads=(6, 12, 24, 48),
        swin_window=12,
        blocks=8,
    )


PRESETS: dict[str, Callable[[], GlipConfig]] = {
    "glip_tiny_a": glip_tiny_a,
    "glip_tiny_b": glip_tiny_b,
    "glip_tiny_c": glip_tiny_c,
    "glip_tiny": glip_tiny,
    "glip_large": glip_large,
}
