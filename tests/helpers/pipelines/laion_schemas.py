"""The columns of each corpus's metadata as published, in order, and of the planted truth."""

from __future__ import annotations

import pyarrow as pa

_LAION = {
    "SAMPLE_ID": pa.int64(),
    "URL": pa.string(),
    "TEXT": pa.string(),
    "HEIGHT": pa.int32(),
    "WIDTH": pa.int32(),
    "LICENSE": pa.string(),
    "NSFW": pa.string(),
    "similarity": pa.float64(),
}
_JOINED = {
    "URL": pa.string(),
    "TEXT": pa.string(),
    "WIDTH": pa.int32(),
    "HEIGHT": pa.int32(),
    "similarity": pa.float64(),
    "hash": pa.int64(),
    "pwatermark": pa.float32(),
    "punsafe": pa.float32(),
}
_JOINED_LANGUAGE = {**dict(list(_JOINED.items())[:5]), "LANGUAGE": pa.string(), **_JOINED}
COYO_COUNTS = ("text_length", "word_count", "num_tokens_bert", "num_tokens_gpt", "num_faces")
_COYO_SCORES = (
    "clip_similarity_vitb32",
    "clip_similarity_vitl14",
    "nsfw_score_opennsfw2",
    "nsfw_score_gantman",
    "watermark_score",
    "aesthetic_score_laion_v2",
)
_COYO = {
    "id": pa.int64(),
    "url": pa.string(),
    "text": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "image_phash": pa.string(),
    **dict.fromkeys(COYO_COUNTS, pa.int32()),
    **dict.fromkeys(_COYO_SCORES, pa.float32()),
}
SCHEMAS = {
    name: pa.schema(columns)
    for name, columns in {
        "laion400m": _LAION,
        "laion2b_en": _LAION,
        "laion2b_multi": {**_LAION, "LANGUAGE": pa.string()},
        "laion1b_nolang": _LAION,
        "laion2b_en_joined": _JOINED,
        "laion2b_multi_joined": _JOINED_LANGUAGE,
        "laion1b_nolang_joined": _JOINED,
        "coyo700m": _COYO,
        "generic": {"url": pa.string(), "caption": pa.string()},
    }.items()
}
SWAPPED = frozenset({"laion2b_en", "laion2b_multi", "laion1b_nolang"})

TRUTH = pa.schema(
    [
        pa.field("true_width", pa.int32()),  # before any swap
        pa.field("true_height", pa.int32()),
        pa.field("dup_of", pa.int64()),  # earlier row of the table, null for most
        pa.field("dup_kind", pa.string()),  # url | row
        pa.field("planted_caption", pa.string()),  # key of laion_text.CAPTION_NOISE, or long
        pa.field("planted_url", pa.string()),  # key of laion_text.URL_NOISE
    ]
)
