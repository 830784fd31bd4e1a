# What the recipes share; they source it.
#
# DRY_RUN=1 prints every command, and the plan of each whose input is there already.
# PYTHON and TRAIN say how commands start: TRAIN="srun torchrun --nnodes 8 …" on a cluster.
set -euo pipefail

PYTHON=${PYTHON:-python}
TRAIN=${TRAIN:-torchrun --nproc_per_node 8 -m cogvlm.train}

# step INPUT COMMAND…: runs a command, or plans it once its input is there.
step() {
    local input=$1
    shift
    printf '+ %s\n' "$*"
    if [[ -z ${DRY_RUN:-} ]]; then
        "$@"
    elif [[ -e $input || $input == *://* ]]; then
        "$@" --dry_run
    else
        printf '  (can be planned when %s is there)\n' "$input"
    fi
}
