"""Rules that decide from metadata alone which rows are worth fetching.

Pure and vectorised: Arrow record batches in, verdicts with reasons out. Needs pyarrow and numpy,
nothing of ours. `apply` is the whole of it for people who only want the rules:

    result = filters.apply(table, "cogvlm")
    kept = table.filter(result.keep)
"""

from __future__ import annotations

from filters.api import apply
from filters.base import DEFERRED, Filter, Mask, OnMissing, Verdict
from filters.chain import Chain, ChainResult, Mode, apply_chain
from filters.counts import ChainCounts
from filters.parameters import ParameterInfo, parameters_of, parse_parameter
from filters.presets import PRESETS, Description, Preset, build_chain, describe, get_preset
from filters.registry import FAMILIES, FILTERS

__all__ = [
    "DEFERRED",
    "FAMILIES",
    "FILTERS",
    "PRESETS",
    "Chain",
    "ChainCounts",
    "ChainResult",
    "Description",
    "Filter",
    "Mask",
    "Mode",
    "OnMissing",
    "ParameterInfo",
    "Preset",
    "Verdict",
    "apply",
    "apply_chain",
    "build_chain",
    "describe",
    "get_preset",
    "parameters_of",
    "parse_parameter",
]
