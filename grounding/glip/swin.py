"""The image tower: a Swin transformer that keeps the maps of its last three stages.

Shape letters: B images, H and W a map's sides in patches, C channels, N windows of all images,
T patches of a window, A attention heads, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grounding.glip.config import GlipConfig

_MASKED = -100.0  # the authors' value, so that numbers match theirs


class PatchEmbed(nn.Module):
    """Pixels to patches of 4 x 4, normed; the sides are padded to whole patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(width)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return (B, H, W, C)."""
        height, width = images_B3HW.shape[-2:]
        padded_B3HW = F.pad(images_B3HW, (0, -width % 4, 0, -height % 4))
        return self.norm(self.proj(padded_B3HW).permute(0, 2, 3, 1))


class WindowAttention(nn.Module):
    """Attention within windows, with a learned bias for every distance."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x_NTC: Tensor, mask_NTT: Tensor | None) -> Tensor:
        """Return (N, T, C); the mask is of one image's windows."""
        qkv_NT3AD = self.qkv(x_NTC).unflatten(-1, (3, self.heads, -1))
        q_NATD, k_NATD, v_NATD = qkv_NT3AD.permute(2, 0, 3, 1, 4)
        index_TT = self.get_buffer("relative_position_index")
        bias_ATT = self.relative_position_bias_table[index_TT].permute(2, 0, 1)
        if mask_NTT is None:
            bias_NATT = bias_ATT.expand(len(x_NTC), -1, -1, -1)
            out_NATD = F.scaled_dot_product_attention(q_NATD, k_NATD, v_NATD, bias_NATT)
        else:  # image by image: the biases of all windows are larger than the windows
            parts = (part.split(len(mask_NTT)) for part in (q_NATD, k_NATD, v_NATD))
            bias_NATT = bias_ATT + mask_NTT[:, None]
            out_NATD = torch.cat(
                [
                    F.scaled_dot_product_attention(q, k, v, bias_NATT)
                    for q, k, v in zip(*parts, strict=True)
                ]
            )
        return self.proj(out_NATD.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two matrices with exact GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input's shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Window attention and an MLP, each behind a norm and beside a residual."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels)

    def forward(self, x_BHWC: Tensor, mask_NTT: Tensor) -> Tensor:
        """Return (B, H, W, C). The mask is used by blocks with a shift."""
        height, width = x_BHWC.shape[1:3]
        # Padding follows the norm, so padded patches are zeros. They take part unmasked, as they
        # did when the published weights were trained: masking them would give other numbers.
        y_BHWC = F.pad(
            self.norm1(x_BHWC), (0, 0, 0, -width % self.window, 0, -height % self.window)
        )
        sides = (y_BHWC.shape[1], y_BHWC.shape[2])
        if self.shift:
            y_BHWC = y_BHWC.roll((-self.shift, -self.shift), (1, 2))
        y_NTC = self.attn(to_windows(y_BHWC, self.window), mask_NTT if self.shift else None)
        y_BHWC = from_windows(y_NTC, self.window, sides)
        if self.shift:
            y_BHWC = y_BHWC.roll((self.shift, self.shift), (1, 2))
        x_BHWC = x_BHWC + y_BHWC[:, :height, :width]
        return x_BHWC + self.mlp(self.norm2(x_BHWC))


class PatchMerging(nn.Module):
    """Four neighbouring patches to one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Return half the sides, rounded up."""
        height, width = x_BHWC.shape[1:3]
        x_BHWC = F.pad(x_BHWC, (0, 0, 0, width % 2, 0, height % 2))
        # Columns outside, rows inside: the order in which `reduction` has learned the corners.
        corners = [x_BHWC[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinStage(nn.Module):
    """Blocks of one resolution, every second with shifted windows."""

    def __init__(self, channels: int, depth: int, heads: int, window: int, is_last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, shift=window // 2 * (number % 2))
            for number in range(depth)
        )
        self.downsample = None if is_last else PatchMerging(channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Return (B, H, W, C), before it is merged for the next stage."""
        height, width = x_BHWC.shape[1:3]
        mask_NTT = shift_mask(height, width, self.window, x_BHWC.device).to(x_BHWC.dtype)
        for block in self.blocks:
            x_BHWC = block(x_BHWC, mask_NTT)
        return x_BHWC


class SwinTower(nn.Module):
    """Images to the maps C3, C4 and C5 (strides 8, 16, 32)."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        widths = [config.swin_width * 2**stage for stage in range(4)]
        sizes = zip(widths, config.swin_depths, config.swin_heads, strict=True)
        self.patch_embed = PatchEmbed(config.swin_width)
        self.layers = nn.ModuleList(
            SwinStage(*size, config.swin_window, is_last=stage == 3)
            for stage, size in enumerate(sizes)
        )
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for width in widths[1:])

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """Return three maps (B, C, H, W)."""
        return self.all_maps(images_B3HW)[1:]

    def all_maps(self, images_B3HW: Tensor) -> list[Tensor]:
        """Return four maps; the first stage has no norm and the pyramid does not use it."""
        x_BHWC = self.patch_embed(images_B3HW)
        norms: list[nn.Module] = [nn.Identity(), self.norm1, self.norm2, self.norm3]
        maps: list[Tensor] = []
        for stage, norm in zip(self.layers, norms, strict=True):
            x_BHWC = stage(x_BHWC)
            maps.append(norm(x_BHWC).permute(0, 3, 1, 2))
            if isinstance(stage.downsample, PatchMerging):
                x_BHWC = stage.downsample(x_BHWC)
        return maps


def to_windows(x_BHWC: Tensor, window: int) -> Tensor:
    """Cut maps into windows, row by row: (N, T, C)."""
    batch, height, width, channels = x_BHWC.shape
    # A view, which refuses sides that are not whole windows; pad first.
    cut = x_BHWC.view(batch, height // window, window, width // window, window, channels)
    return cut.transpose(2, 3).reshape(-1, window * window, channels)


def from_windows(x_NTC: Tensor, window: int, sides: tuple[int, int]) -> Tensor:
    """Undo `to_windows` for maps of these sides."""
    height, width = sides
    cut = x_NTC.view(-1, height // window, width // window, window, window, x_NTC.shape[-1])
    return cut.transpose(2, 3).reshape(-1, height, width, x_NTC.shape[-1])


def relative_index(window: int) -> Tensor:
    """Return the row of the bias table for every pair of a window's patches."""
    rows_T = torch.arange(window).repeat_interleave(window)
    columns_T = torch.arange(window).repeat(window)
    # Distances run from -(window - 1) to window - 1; shifted to start at 0, they are two digits of
    # base 2 x window - 1, one for rows and one for columns.
    down_TT = rows_T[:, None] - rows_T[None] + window - 1
    right_TT = columns_T[:, None] - columns_T[None] + window - 1
    return down_TT * (2 * window - 1) + right_TT


def shift_mask(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """Return what keeps apart patches that a shift brought into one window: 0 or -100."""
    shift = window // 2

    def regions(side: int) -> Tensor:
        at = torch.arange(side + -side % window, device=device)
        # After the shift only the last window is of two origins: what was there before, and in its
        # last `shift` rows what came around from the other border. Three regions per axis.
        return (at >= len(at) - window).long() + (at >= len(at) - shift).long()

    # Two digits of base 3: patches belong together where both axes agree.
    region_HW = 3 * regions(height)[:, None] + regions(width)[None]
    region_NT = to_windows(region_HW[None, ..., None], window)[..., 0]
    return (region_NT[:, :, None] != region_NT[:, None]) * _MASKED
