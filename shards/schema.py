"""The data contract's tables: which columns every file of a run has, and what they mean.

`CANONICAL` is what all sources are brought to before any rule looks at a row.
`DERIVED` are columns that exist only inside a filter item. `KEPT`, `PLAN` and
`SIDECAR` are the parquet files of a run directory, in this column order.
"""

from __future__ import annotations

import pyarrow as pa

CONTRACT_VERSION = 1
"""Raised when a reader of the previous version would misread a run."""

LEVELS = ("image_text", "grounded", "dialogue", "document", "text")
"""What the samples of a run hold; the manifest says which. The common fields are `ImageSample`'s.

- `image_text`: an image and its caption, nothing more.
- `grounded`: adds `noun_chunks`, `ref_exps` and `phrases`: which words of the caption have boxes.
- `dialogue`: adds `conversations`, turns of user and assistant about any number of images.
- `document`: adds `items`, texts and images in reading order.
- `text`: has no image; the text is the `.txt`.
"""

NAME = pa.dictionary(pa.int32(), pa.string())
"""A string of few distinct values (source, file name); parquet keeps it as a dictionary page."""

HASH = pa.binary(16)

CANONICAL = pa.schema(
    [
        pa.field("url", pa.string()),  # as the source had it
        pa.field("caption", pa.string()),  # cleaned; from here on these bytes never change
        pa.field("caption_raw", pa.string()),  # null where cleaning changed nothing
        pa.field("width", pa.int32()),  # pixels, as the source claims, swaps undone
        pa.field("height", pa.int32()),
        pa.field("similarity", pa.float32()),  # image-text cosine of `similarity_scorer`
        pa.field("similarity_scorer", NAME),
        pa.field("nsfw_score", pa.float32()),  # 0 = safe, 1 = unsafe; the highest of several
        pa.field("nsfw_tag", pa.string()),
        pa.field("watermark_score", pa.float32()),
        pa.field("aesthetic_score", pa.float32()),
        pa.field("language", pa.string()),
        pa.field("license", pa.string()),
        pa.field("source_key", pa.string()),  # the source's own id
        pa.field("source", NAME),
        pa.field("source_file", NAME),  # relative name
        pa.field("source_row", pa.int64()),  # 0-based row in that file
    ]
)
"""One metadata row, whatever corpus it came from. Every column is nullable except provenance."""

DERIVED = pa.schema(
    [
        pa.field("canonical_url", pa.string()),  # null where it cannot be canonicalised
        pa.field("invalid_text", pa.bool_()),  # url or caption was not UTF-8 (both set to null)
        pa.field("url_hash", HASH),  # null where the url is null
        pa.field("key", pa.string()),  # 32 hex digits; null where the url is null
    ]
)
"""What a filter item adds to a canonical row before the rules run."""

KEPT = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("url_hash", HASH),
        *CANONICAL,
        pa.field("deferred", pa.list_(pa.string())),  # rules waiting for decoded facts
    ]
)
"""`kept/part-*.parquet`, and the rows of a bucket segment."""

TOMBSTONE = pa.schema([pa.field("url_hash", HASH), pa.field("reason", NAME)])
"""A URL that some row's safety rule rejected: no other row may bring it back."""

REJECT = pa.schema(
    [
        pa.field("reason", NAME),  # the first rule's, which owns the row
        pa.field("reasons", pa.list_(pa.string())),  # of every rule that failed it
        pa.field("key", pa.string()),
        *[field for field in CANONICAL if field.name != "caption_raw"],
    ]
)
"""`rejects/part-*.parquet`; `url` and `caption` are null on rows a safety rule rejects."""

PLAN = pa.schema(
    [
        *KEPT,
        pa.field("shard_row", pa.int32()),  # position in the shard, key order
    ]
)

DROPPED = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("reason", NAME),  # duplicate_url | unsafe_elsewhere
        pa.field("winner", pa.string()),  # key of the row kept instead; null for unsafe_elsewhere
        pa.field("source", NAME),
        pa.field("source_file", NAME),
        pa.field("source_row", pa.int64()),
    ]
)
"""`plan/bucket-*.dropped.parquet`: what the mix left out, and for which row."""

PHRASES = pa.schema(
    [
        pa.field("key", pa.string()),  # of the input's sample
        pa.field("outcome", NAME),  # with_phrases, or why there is nothing to look for
        pa.field(
            "phrases",
            pa.list_(
                pa.struct(
                    [
                        pa.field("start", pa.int32()),  # code points of the caption
                        pa.field("end", pa.int32()),
                        pa.field("head_start", pa.int32()),
                        pa.field("head_end", pa.int32()),
                        pa.field("head_lemma", pa.string()),
                        pa.field("root_pos", pa.string()),
                        pa.field("drop_reason", pa.string()),
                        pa.field("expr_start", pa.int32()),
                        pa.field("expr_end", pa.int32()),
                    ]
                )
            ),
        ),
    ]
)
"""`phrases/000123.parquet` of a grounding job: one row per input sample, in key order."""

LABELS = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("outcome", NAME),  # labelled, or why not
        pa.field("image", HASH),  # first half of the sha256 of the fetched body
        pa.field("width", pa.int32()),  # stored image, pixels
        pa.field("height", pa.int32()),
        pa.field("upsampled", pa.bool_()),  # the detector enlarged it
        pa.field(
            "boxes",
            pa.list_(
                pa.struct(
                    [
                        pa.field("phrase", pa.int32()),  # number among the sample's phrases
                        pa.field("x0", pa.float32()),  # 0..1 of the stored image
                        pa.field("y0", pa.float32()),
                        pa.field("x1", pa.float32()),
                        pa.field("y1", pa.float32()),
                        pa.field("score", pa.float32()),
                    ]
                )
            ),
        ),
    ],
    # Files of before have no number: their `phrase` counts the phrases without a drop reason only.
    {"format": "2"},
)
"""`labels/000123-00.parquet`: what a detector found in up to 1,000 samples, above the floor."""

BOXED = pa.schema(
    [
        pa.field("key", pa.string()),  # the new sample's
        pa.field("image", HASH),
        pa.field("shard", pa.int32()),  # place in the input
        pa.field("row", pa.int32()),
        pa.field("num_boxes", pa.int32()),  # distinct ones
        pa.field("mean_score", pa.float32()),
        pa.field("grounding", pa.string()),  # JSON: phrases, noun_chunks, ref_exps
    ]
)
"""An eligible sample on its way to selection: rows of `boxes/*.arrows` and `choice/*.parquet`."""

GROUND_PLAN = pa.schema([*BOXED, pa.field("shard_row", pa.int32())])
"""`plan/bucket-*.parquet` of a grounding job; one row group is one new shard."""

SIDECAR = pa.schema(
    [
        # img2dataset's columns, so that its users' tools read ours.
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("key", pa.string()),
        pa.field("status", NAME),
        pa.field("error_message", pa.string()),
        pa.field("width", pa.int32()),  # stored image, pixels
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),  # fetched image, oriented, pixels
        pa.field("original_height", pa.int32()),
        pa.field("exif", pa.string()),  # always null: EXIF holds places and names
        pa.field("sha256", pa.string()),  # of the fetched body
        # Ours.
        pa.field("outcome", NAME),
        pa.field("source", NAME),
        pa.field("source_file", NAME),
        pa.field("source_row", pa.int64()),
        pa.field("tar_offset", pa.int64()),  # byte offset of the sample's first tar header
        pa.field("tar_size", pa.int64()),  # bytes of its members, headers and padding included
    ]
)
"""`shards/000123.parquet`: one row per planned row, in key order."""

SELECTION = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("keep", pa.bool_()),
        pa.field("reason", NAME),  # why not; null where it is kept
    ]
)
"""`selections/NAME/000123.parquet`: a row for every sample of the shard, in key order."""
