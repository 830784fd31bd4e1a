"""Sizes of language models that several variants start from, as published."""

from __future__ import annotations

from typing import Any

from cogvlm.model.config import Rope

LLAMA2_7B: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "num_layers": 32,
    "num_heads": 32,
    "num_kv_heads": 32,
    "head_size": 128,
    "mlp_size": 11_008,
    "bos_id": 1,
    "eos_id": 2,
    "pad_id": 0,
}
LLAMA3_8B: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "num_layers": 32,
    "num_heads": 32,
    "num_kv_heads": 8,
    "head_size": 128,
    "mlp_size": 14_336,
    "bos_id": 128_000,
    "eos_id": 128_001,
    "stop_ids": (128_009,),
    "pad_id": 128_002,
    "rope": Rope(base=500_000.0),
}
