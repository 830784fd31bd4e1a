"""Who sees whom: causal order, padding, packed samples, and images that see all of themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from cogvlm.model.cache import Cache
from cogvlm.model.layout import Batch


def attention_mask(batch: Batch, cache: Cache | None) -> Tensor | None:
    """Return True where a query sees a key, (B, 1, L, keys), or None.

    None is what attention does fastest: plain causal order for a whole sequence, every cached key
    for a single token. Padding at the right needs no mask: causal order hides it from all real
    tokens.
    """
    if cache is not None and cache.length:
        if cache.documents_BM is None:
            return None
        return (cache.documents_BM[:, : cache.length + 1] != 0)[:, None, None]
    if batch.documents_BL is None and batch.image_of_BL is None:
        return None
    rows, length = batch.route.shape
    order_L = torch.arange(length, device=batch.ids_BL.device)
    sees_BLL = (order_L[:, None] >= order_L).expand(rows, -1, -1)
    if batch.image_of_BL is not None:
        image_BL = batch.image_of_BL
        sees_BLL = sees_BLL | (image_BL[:, :, None] == image_BL[:, None]) & (image_BL != 0)[:, None]
    if batch.documents_BL is not None:
        document_BL = batch.documents_BL
        sees_BLL = sees_BLL & (document_BL[:, :, None] == document_BL[:, None])
    return sees_BLL[:, None]
