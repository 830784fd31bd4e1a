#!/usr/bin/env bash
# VILA in three stages: the projector on pairs; projector and language model on interleaved
# documents and pairs; everything on instructions with text mixed back in.
#
#   PAIRS=/data/pairs MMC4=mmc4 MMC4_IMAGES=mmc4-images LLAVA=llava_v1_5_mix665k.json \
#       LLAVA_IMAGES=images FLAN=flan.jsonl INIT=start OUT=/runs \
#       bash examples/recipes/vila.sh [FLAGS…]
#
# INIT comes from `cogvlm.build --preset vila_7b`. Documents keep the order of their texts and images:
# putting images first cost VILA's authors 37 points with four examples. FLAGS are passed to all three
# trainings.
source "$(dirname "$0")/common.sh"

WORKERS=${WORKERS:-$(nproc)}

step "$MMC4" $PYTHON -m pipelines.pack --format mmc4 --input "$MMC4" --images "$MMC4_IMAGES" \
    --output "$OUT/documents" --workers "$WORKERS"
step "$LLAVA" $PYTHON -m pipelines.pack --format llava_instruct --input "$LLAVA" \
    --images "$LLAVA_IMAGES" --output "$OUT/instructions" --allow_eval_overlap --workers "$WORKERS"
step "$FLAN" $PYTHON -m pipelines.pack --format flan --input "$FLAN" --output "$OUT/text" \
    --workers "$WORKERS"

step "$INIT" $TRAIN --preset vila_stage0 --init "$INIT" --data "caption=$PAIRS" \
    --output "$OUT/stage0" "$@"
step "$OUT/stage0" $TRAIN --preset vila_stage1 --init "$OUT/stage0" \
    --data "document=$OUT/documents:1,caption=$PAIRS:4" --output "$OUT/stage1" "$@"
step "$OUT/stage1" $TRAIN --preset vila_stage2 --init "$OUT/stage1" \
    --data "dialogue=$OUT/instructions:2,text=$OUT/text:3" --output "$OUT/stage2" "$@"
