#!/usr/bin/env bash
# Your own parquet (or CSV, TSV): any table with URLs and captions to shards.
#
#   METADATA=mine OUT=/data/mine COLUMN_NAMES=url=image_url,caption=alt_text \
#       NSFW_MISSING=keep bash examples/recipes/own_parquet.sh [FLAGS…]
#
# COLUMN_NAMES names your columns: url and caption are required; width, height and nsfw_score are used
# if they are named. NSFW_MISSING says what to do with a table without any safety score: keep its rows
# (you know where they come from) or drop them all (useful in mixtures).
source "$(dirname "$0")/common.sh"

step "$METADATA" $PYTHON -m pipelines.filter \
    --input "generic=$METADATA/*.parquet" --columns "$COLUMN_NAMES" \
    --nsfw_missing "${NSFW_MISSING:?keep or drop; see the head of this file}" --output "$OUT" \
    --preset cogvlm --store "${STORE:-stage2}" --workers "${WORKERS:-$(nproc)}" "$@"
