"""SwissArmyTransformer checkpoints, model-parallel slices merged.

A folder holds `latest` (an iteration), and under it `mp_rank_00_model_states.pt`, `mp_rank_01…`:
one file for each rank, weights under `module`. How a tensor was cut follows from its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from cogvlm.checkpoints.tensors import load_torch_file
from cogvlm.model.config import ModelConfig

# First match wins. rows: each rank has some output rows. columns: some inputs. qkv: rows of q, of
# k and of v, so that joining the ranks' rows one after the other would be wrong. whole: all of it.
_CUTS = (
    (r"^mixins\.eva\.(linear_proj|conv|boi|eoi)", "whole"),
    (r"query_key_value", "qkv"),
    (r"(dense_h_to_4h|gate_proj|vision_dense_h_to_4h_list)\.", "rows"),
    (r"^(transformer\.word_embeddings|mixins\.lm\.lm_head)\.", "rows"),
    (r"(attention\.dense|dense_4h_to_h|vision_dense(_4h_to_h)?_list\.\d+)\.weight$", "columns"),
)


class SatReader:
    """Reads merged tensors; a `tensors.Reader`."""

    def __init__(self, folder: Path | str, config: ModelConfig) -> None:
        self.place = str(folder)
        self._ranks = [load_torch_file(path) for path in _rank_files(Path(folder))]
        self._shares = _qkv_shares(config)
        lora = [name for name in self._ranks[0] if ".matrix_A." in name or ".original." in name]
        if lora:
            raise ValueError(f"{folder} holds LoRA matrices ({lora[0]}); merge them in SAT first")

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._ranks[0]

    def get(self, name: str) -> Tensor:
        """Return one tensor, merged from all ranks.

        Raises:
            ValueError: A rank lacks the tensor.
        """
        absent = [number for number, rank in enumerate(self._ranks) if name not in rank]
        if absent:
            raise ValueError(f"{self.place}: rank {absent[0]} lacks {name}")
        slices = [rank[name] for rank in self._ranks]
        cut = next((cut for pattern, cut in _CUTS if re.search(pattern, name)), "whole")
        if cut == "whole":
            return slices[0]
        if cut == "qkv":
            is_tower = name.startswith("mixins.eva.")
            return merge_qkv(slices, (1, 1, 1) if is_tower else self._shares)
        return torch.cat(slices, dim=0 if cut == "rows" else 1)


def merge_qkv(slices: list[Tensor], shares: tuple[int, int, int]) -> Tensor:
    """Join ranks that each hold some rows of q, then of k, then of v.

    Args:
        slices: One tensor for each rank, cut along the first dimension.
        shares: Sizes of q, k and v relative to each other.
    """
    unit = len(slices[0]) // sum(shares)
    parts = [each.split([share * unit for share in shares]) for each in slices]
    return torch.cat([part for kind in zip(*parts, strict=True) for part in kind])


def _qkv_shares(config: ModelConfig) -> tuple[int, int, int]:
    return config.num_heads // config.num_kv_heads, 1, 1


def _rank_files(folder: Path) -> list[Path]:
    latest = folder / "latest"
    if not latest.is_file():
        raise ValueError(f"{folder} has no file `latest`; give the folder above the iteration's")
    iteration = folder / latest.read_text(encoding="utf-8").strip()
    files = sorted(iteration.glob("mp_rank_*_model_states.pt"))
    numbers = [int(path.name.split("_")[2]) for path in files]
    if not files or numbers != list(range(len(files))):
        raise ValueError(f"{iteration} holds rank files {numbers}; expected 0, 1, 2, …")
    return files
