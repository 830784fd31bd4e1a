#!/usr/bin/env bash
# COYO-700M: 747 M rows of metadata to image-text shards for stage 1 (256 px).
#
#   METADATA=meta/coyo OUT=/data/coyo bash examples/recipes/coyo_700m.sh [FLAGS…]
#
# Of the two NSFW scores the higher one counts. To mix corpora, name several inputs in one job
# instead of running two recipes: deduplication is over all of them, and a URL that one corpus
# calls unsafe does not come back through the other.
source "$(dirname "$0")/common.sh"

step "$METADATA" $PYTHON -m pipelines.filter \
    --input "coyo700m=$METADATA/*.parquet" --output "$OUT" \
    --preset cogvlm --store stage1 --workers "${WORKERS:-$(nproc)}" "$@"
