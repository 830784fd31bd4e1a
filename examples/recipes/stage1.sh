#!/usr/bin/env bash
# Stage 1 at paper scale: captions on 1.5 B pairs, 120,000 steps of 8,192 at 224 px.
#
#   PAIRS=/data/laion400m,/data/coyo LLM=vicuna-7b-v1.5 TOWER=EVA02-E-14/open_clip_pytorch_model.bin \
#       OUT=/runs bash examples/recipes/stage1.sh [FLAGS…]
#
# PAIRS are shard sets, separated by commas, each with an optional weight after a colon. INIT names a
# checkpoint to start from instead of LLM and TOWER. FLAGS are passed to the trainer; the same command resumes.
source "$(dirname "$0")/common.sh"

if [[ -z ${INIT:-} ]]; then
    INIT=$OUT/start
    if [[ ! -e $INIT && -z ${DRY_RUN:-} ]]; then
        $PYTHON -m cogvlm.build --preset cogvlm_17b_224 --llm "$LLM" --tower "$TOWER" \
            --output "$INIT"
    fi
fi

step "$INIT" $TRAIN --preset stage1 --init "$INIT" --data "$PAIRS" --output "$OUT/stage1" "$@"
