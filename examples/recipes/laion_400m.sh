#!/usr/bin/env bash
# LAION-400M: 413 M rows of metadata to image-text shards for stage 1 (256 px).
#
#   METADATA=meta/laion400m OUT=/data/laion400m bash examples/recipes/laion_400m.sh [FLAGS…]
#
# METADATA holds the published parquet files. Its NSFW tags are UNLIKELY, UNSURE and NSFW; the
# preset drops the last two. FLAGS are passed to the job: --sample 0.001 for a first look, or
# --runner=DataflowRunner --setup_file=./setup.py … with METADATA and OUT at gs://.
source "$(dirname "$0")/common.sh"

step "$METADATA" $PYTHON -m pipelines.filter \
    --input "laion400m=$METADATA/*.parquet" --output "$OUT" \
    --preset cogvlm --store stage1 --workers "${WORKERS:-$(nproc)}" "$@"
