"""LAION's corpora, as first published and as joined with scores of safety and watermarks."""

from __future__ import annotations

from pipelines.metadata.source import CLIP_B32, MCLIP_B32, Source

_BASE = {
    "url": ("URL",),
    "caption": ("TEXT", "caption"),
    "width": ("WIDTH",),
    "height": ("HEIGHT",),
    "similarity": ("similarity",),
    "language": ("LANGUAGE",),
}
_PUBLISHED = {
    **_BASE,
    "nsfw_tag": ("NSFW",),
    "license": ("LICENSE",),
    "source_key": ("SAMPLE_ID",),
}
_JOINED = {
    **_BASE,
    "nsfw_score": ("punsafe",),
    "watermark_score": ("pwatermark",),
    "aesthetic_score": ("aesthetic", "AESTHETIC_SCORE"),
    "source_key": ("hash",),
}

# Ranks put the sources with scores first: a row that was judged beats one that was not.
SOURCES = (
    Source(
        name="laion2b_en_joined",
        summary="LAION-2B-en joined with punsafe and pwatermark.",
        columns=_JOINED,
        rank=10,
        scorer=CLIP_B32,
    ),
    Source(
        name="laion2b_multi_joined",
        summary="LAION-2B-multi joined with punsafe and pwatermark.",
        columns=_JOINED,
        rank=11,
        scorer=MCLIP_B32,
    ),
    Source(
        name="laion1b_nolang_joined",
        summary="LAION-1B-nolang joined with punsafe and pwatermark.",
        columns=_JOINED,
        rank=12,
        scorer=MCLIP_B32,
    ),
    Source(
        name="laion2b_en",
        summary="LAION-2B-en as first published: WIDTH and HEIGHT exchanged, NSFW tags.",
        columns=_PUBLISHED,
        rank=30,
        scorer=CLIP_B32,
        swapped=True,
    ),
    Source(
        name="laion2b_multi",
        summary="LAION-2B-multi as first published: WIDTH and HEIGHT exchanged, NSFW tags.",
        columns=_PUBLISHED,
        rank=31,
        scorer=MCLIP_B32,
        swapped=True,
    ),
    Source(
        name="laion1b_nolang",
        summary="LAION-1B-nolang as first published: WIDTH and HEIGHT exchanged, NSFW tags.",
        columns=_PUBLISHED,
        rank=32,
        scorer=MCLIP_B32,
        swapped=True,
    ),
    Source(
        name="laion400m",
        summary="LAION-400M with its NSFW tags.",
        columns=_PUBLISHED,
        rank=40,
        scorer=CLIP_B32,
    ),
)
