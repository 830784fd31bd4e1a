"""From the head's outputs to the boxes of phrases.

`candidates` runs where the model ran, with shapes that do not depend on the numbers, so that a GPU
need not be waited for; `suppress` runs on the host, image by image.

Shape letters: B images, S positions of a level, L tokens, P phrases, K candidates, N detections.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms  # type: ignore[import-untyped]

from grounding.glip.anchors import decode
from grounding.glip.config import PostConfig
from grounding.glip.dyhead import HeadOutput


@dataclass(frozen=True)
class Candidates:
    """The best of every level, before suppression."""

    boxes_BK4: Tensor  # xyxy, pixels of the resized image, clipped to it
    scores_BK: Tensor  # 0 where there is no candidate
    phrases_BK: Tensor  # column of the phrase map
    is_finite_B: Tensor  # whether all of the head's outputs are numbers

    def to_host(self) -> Candidates:
        """Return a copy in the host's memory; on a GPU it is complete after a synchronisation."""
        parts = (self.boxes_BK4, self.scores_BK, self.phrases_BK, self.is_finite_B)
        return Candidates(*map(_to_host, parts))


@dataclass(frozen=True)
class Found:
    """What is left of an image's candidates, in the order that the candidates have."""

    boxes_N4: Tensor  # xyxy, pixels of the resized image
    scores_N: Tensor
    phrases_N: Tensor


def candidates(
    head: HeadOutput,
    anchors: list[Tensor],
    phrase_map_BPL: Tensor,
    sizes_hw_B2: Tensor,
    post: PostConfig,
) -> Candidates:
    """Rank the positions of every level.

    Args:
        head: The outputs of a batch.
        anchors: Of every level, (S, 4).
        phrase_map_BPL: Weights of a phrase's tokens that add up to one; zeros for no phrase.
        sizes_hw_B2: Sides of the images before padding.
        post: Thresholds.
    """
    levels = [
        _of_level(*parts, phrase_map_BPL, post)
        for parts in zip(head.token_logits, head.box_deltas, head.centerness, anchors, strict=True)
    ]
    boxes_BK4, scores_BK, phrases_BK = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
    most_B14 = (sizes_hw_B2.flip(1).repeat(1, 2) - 1)[:, None].to(boxes_BK4)
    boxes_BK4 = torch.minimum(boxes_BK4.clamp(min=0), most_B14)
    parts = [*head.token_logits, *head.box_deltas, *head.centerness]
    finite = [part.isfinite().flatten(1).all(1) for part in parts]
    return Candidates(boxes_BK4, scores_BK, phrases_BK, torch.stack(finite).all(0))


def _to_host(part: Tensor) -> Tensor:
    if not part.is_cuda:
        return part
    # A copy to memory that is not pinned would wait for all that the GPU still has to do.
    return torch.empty_like(part, device="cpu", pin_memory=True).copy_(part, non_blocking=True)


def _of_level(
    logits_BSL: Tensor,
    deltas_B4HW: Tensor,
    centerness_B1HW: Tensor,
    anchors_S4: Tensor,
    phrase_map_BPL: Tensor,
    post: PostConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    scores_BSP = logits_BSL.sigmoid() @ phrase_map_BPL.transpose(1, 2)
    is_candidate_BSP = scores_BSP > post.score_threshold  # centerness has no say in this
    ranks_BSP = scores_BSP * centerness_B1HW.flatten(1)[..., None].sigmoid()
    ranks_BSP = ranks_BSP.where(is_candidate_BSP, 0.0)
    count = min(post.pre_nms_top_k, ranks_BSP[0].numel())
    ranks_BK, at_BK = ranks_BSP.flatten(1).topk(count, dim=1)
    phrases = phrase_map_BPL.shape[1]
    positions_BK, phrases_BK = at_BK // phrases, at_BK % phrases
    deltas_BS4 = deltas_B4HW.flatten(2).transpose(1, 2)
    deltas_BK4 = deltas_BS4.gather(1, positions_BK[..., None].expand(-1, -1, 4))
    return decode(anchors_S4[positions_BK], deltas_BK4), ranks_BK.sqrt(), phrases_BK


def suppress(boxes_K4: Tensor, scores_K: Tensor, phrases_K: Tensor, post: PostConfig) -> Found:
    """Return an image's detections: phrase by phrase without overlaps, and no more than allowed."""
    kept = []
    most_overlap = float(torch.tensor(post.nms_iou))  # as a float32, like what it is compared with
    for phrase in phrases_K[scores_K > 0].unique():
        (at,) = ((phrases_K == phrase) & (scores_K > 0)).nonzero(as_tuple=True)
        # With the far edges one further, plain IoU is that of the inclusive convention.
        grown_K4 = boxes_K4[at] + boxes_K4.new_tensor([0.0, 0.0, 1.0, 1.0])
        kept.append(at[nms(grown_K4, scores_K[at], most_overlap)])
    at = torch.cat(kept).sort().values if kept else phrases_K[:0]
    scores_N = scores_K[at]
    if len(at) > post.max_detections:
        lowest = scores_N.sort(descending=True).values[post.max_detections - 1]
        at = at[scores_N >= lowest]
    return Found(boxes_K4[at], scores_K[at], phrases_K[at])
