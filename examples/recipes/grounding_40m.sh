#!/usr/bin/env bash
# The 40 M grounding set: noun phrases by spaCy, boxes by GLIP, more than 75 % with two boxes.
#
#   METADATA=meta/laion115m OUT=/data/grounding GLIP=glip_tiny_model_o365_goldg_cc_sbu.pth \
#       bash examples/recipes/grounding_40m.sh [FLAGS…]
#
# The paper's images are a subset of LAION-400M with captions rewritten by BLIP (LAION-115M); name
# its columns with COLUMN_NAMES. Images are stored at the detector's own size. The second step labels
# one shard in a hundred and estimates how many images the whole set can yield. The script stops there;
# with LABEL_ALL=1 it continues and spends the GPU weeks. FLAGS are passed to the grounding job.
source "$(dirname "$0")/common.sh"

DETECTOR=${DETECTOR:-glip:${GLIP:-glip_tiny_model_o365_goldg_cc_sbu.pth}}
SPACY_MODEL=${SPACY_MODEL:-en_core_web_sm}
WORKERS=${WORKERS:-$(nproc)}

step "$METADATA" $PYTHON -m pipelines.filter \
    --input "generic=$METADATA/*.parquet" --columns "${COLUMN_NAMES:-url=url,caption=caption}" \
    --nsfw_missing "${NSFW_MISSING:-keep}" --output "$OUT/pairs" \
    --preset cogvlm --store ground --workers "$WORKERS" ${FILTER_FLAGS:-}

FORECAST=(
    $PYTHON -m pipelines.ground --input "$OUT/pairs" --output "$OUT/forecast"
    --sample "${SAMPLE:-0.01}" --stop_after choose --target "${TARGET:-40000000}"
    --spacy_model "$SPACY_MODEL" --detector "$DETECTOR" --workers "$WORKERS" "$@"
)
step "$OUT/pairs/manifest.json" "${FORECAST[@]}"
if [[ -e $OUT/forecast/run.json ]]; then "${FORECAST[@]}" --dry_run; fi

if [[ -z ${LABEL_ALL:-} ]]; then
    printf 'read the forecast, then run this again with LABEL_ALL=1\n'
    exit 0
fi
step "$OUT/pairs/manifest.json" $PYTHON -m pipelines.ground \
    --input "$OUT/pairs" --output "$OUT/grounded" --target "${TARGET:-40000000}" \
    --spacy_model "$SPACY_MODEL" --detector "$DETECTOR" ${DEVICES:---devices auto} "$@"
