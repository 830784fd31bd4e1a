"""Kakao Brain's COYO-700M."""

from __future__ import annotations

from pipelines.metadata.source import CLIP_B32, Source

SOURCES = (
    Source(
        name="coyo700m",
        summary="COYO-700M; the NSFW score is the higher of its two.",
        columns={
            "url": ("url",),
            "caption": ("text",),
            "width": ("width",),
            "height": ("height",),
            "similarity": ("clip_similarity_vitb32",),
            "nsfw_score": ("nsfw_score_opennsfw2", "nsfw_score_gantman"),
            "watermark_score": ("watermark_score",),
            "aesthetic_score": ("aesthetic_score_laion_v2",),
            "source_key": ("id",),
        },
        rank=20,
        scorer=CLIP_B32,
        highest=frozenset({"nsfw_score"}),
    ),
)
