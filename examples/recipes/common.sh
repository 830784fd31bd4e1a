# Shared by the recipes, which source this file.
#
# DRY_RUN=1 prints every command, and its plan if its input exists already.
# PYTHON and TRAIN set how commands are started: TRAIN="srun torchrun --nnodes 8 …" on a cluster.
set -euo pipefail

PYTHON=${PYTHON:-python}
TRAIN=${TRAIN:-torchrun --nproc_per_node 8 -m cogvlm.train}

# step INPUT COMMAND…: runs a command, or with DRY_RUN plans it if its input exists.
step() {
    local input=$1
    shift
    printf '+ %s\n' "$*"
    if [[ -z ${DRY_RUN:-} ]]; then
        "$@"
    elif [[ -e $input || $input == *://* ]]; then
        "$@" --dry_run
    else
        printf '  (can be planned once %s exists)\n' "$input"
    fi
}
