#!/usr/bin/env bash
# Supervised fine-tuning on CogVLM-SFT-311K: dialogues and captions, loss on answers only.
#
#   SET=CogVLM-SFT-311K INIT=/runs/stage2 OUT=/runs bash examples/recipes/sft_311k.sh [FLAGS…]
#
# The set's images are COCO's: some may be in the test sets that you evaluate on, which
# --allow_eval_overlap accepts. TEXT names a shard set of plain text (`pipelines.pack --format flan`)
# that is mixed in to preserve the language model. PRESET=lora trains only low-rank adapters.
source "$(dirname "$0")/common.sh"

step "$SET" $PYTHON -m pipelines.pack --format sft_311k --input "$SET" --output "$OUT/sft-311k" \
    --allow_eval_overlap --workers "${WORKERS:-$(nproc)}"

DATA="dialogue=$OUT/sft-311k:${SFT_WEIGHT:-9}"
if [[ -n ${TEXT:-} ]]; then DATA+=",text=$TEXT:${TEXT_WEIGHT:-1}"; fi
step "$OUT/sft-311k/manifest.json" $TRAIN --preset "${PRESET:-sft_v2}" --init "$INIT" \
    --data "$DATA" --output "$OUT/sft" "$@"
