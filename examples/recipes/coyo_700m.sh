#!/usr/bin/env bash
# COYO-700M: 747 M rows of metadata to image-text shards for stage 1 (256 px).
#
#   METADATA=meta/coyo OUT=/data/coyo bash examples/recipes/coyo_700m.sh [FLAGS…]
#
# The higher of the two NSFW scores counts. To mix corpora, name several inputs in one job instead of
# running two recipes: it deduplicates across all of them, and a URL that one corpus calls unsafe is
# dropped from the others too.
source "$(dirname "$0")/common.sh"

step "$METADATA" $PYTHON -m pipelines.filter \
    --input "coyo700m=$METADATA/*.parquet" --output "$OUT" \
    --preset cogvlm --store stage1 --workers "${WORKERS:-$(nproc)}" "$@"
