#!/usr/bin/env bash
# Stage 2 at paper scale: captions and boxes for phrases (REC), 490 px for the second half.
#
#   INIT=/runs/stage1 PAIRS=/data/laion400m GROUNDED=/data/grounding/grounded OUT=/runs \
#       bash examples/recipes/stage2.sh [FLAGS…]
#
# The paper does not say how many of the samples are REC; one half is our choice (REC_WEIGHT).
source "$(dirname "$0")/common.sh"

step "$INIT" $TRAIN --preset stage2 --init "$INIT" \
    --data "caption=$PAIRS:1,rec=$GROUNDED:${REC_WEIGHT:-1}" --output "$OUT/stage2" "$@"
