"""A SwissArmyTransformer folder made from a model of ours: the inverse of what the reader does.

Names and cuts are written down from the format, not taken from the reader's tables.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from cogvlm.model.config import ModelConfig


def tensors(state: dict[str, Tensor], config: ModelConfig) -> dict[str, tuple[Tensor, str]]:
    """Return SAT's names with the whole tensors and how each is cut."""
    out: dict[str, tuple[Tensor, str]] = {
        "transformer.word_embeddings.weight": (state["model.embed_tokens.weight"], "rows"),
        "transformer.final_layernorm.weight": (state["model.norm.weight"], "whole"),
        "mixins.lm.lm_head.weight": (state["lm_head.weight"], "rows"),
        "mixins.rotary.rotary_emb.inv_freq": (
            state["model.layers.0.self_attn.rotary_emb.inv_freq"], "whole",
        ),
    }  # fmt: skip
    for n in range(config.num_layers):
        here = f"model.layers.{n}."
        attention, mlp = f"{here}self_attn.", f"{here}mlp."
        sat = f"transformer.layers.{n}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"{sat}{norm}.weight"] = state[f"{here}{norm}.weight"], "whole"
        pairs = {
            f"{sat}attention.query_key_value.weight":
                (f"{attention}language_expert_query_key_value.weight", "qkv"),
            f"{sat}attention.dense.weight": (f"{attention}language_expert_dense.weight", "columns"),
            f"mixins.rotary.vision_query_key_value_list.{n}.weight":
                (f"{attention}vision_expert_query_key_value.weight", "qkv"),
            f"mixins.rotary.vision_dense_list.{n}.weight":
                (f"{attention}vision_expert_dense.weight", "columns"),
            f"mixins.mlp.gate_proj.{n}.weight": (f"{mlp}language_mlp.gate_proj.weight", "rows"),
            f"{sat}mlp.dense_h_to_4h.weight": (f"{mlp}language_mlp.up_proj.weight", "rows"),
            f"{sat}mlp.dense_4h_to_h.weight": (f"{mlp}language_mlp.down_proj.weight", "columns"),
            f"mixins.mlp.vision_gate_proj.{n}.weight":
                (f"{mlp}vision_mlp.gate_proj.weight", "rows"),
            f"mixins.mlp.vision_dense_h_to_4h_list.{n}.weight":
                (f"{mlp}vision_mlp.up_proj.weight", "rows"),
            f"mixins.mlp.vision_dense_4h_to_h_list.{n}.weight":
                (f"{mlp}vision_mlp.down_proj.weight", "columns"),
        }  # fmt: skip
        if config.expert.qkv_bias:
            name = f"{attention}vision_expert_query_key_value.bias"
            pairs[f"mixins.rotary.vision_query_key_value_list.{n}.bias"] = (name, "qkv")
        out |= {name: (state[ours], cut) for name, (ours, cut) in pairs.items()}
    return out | _image_tensors(state)


def _image_tensors(state: dict[str, Tensor]) -> dict[str, tuple[Tensor, str]]:
    out: dict[str, tuple[Tensor, str]] = {}
    for name, tensor in state.items():
        if not name.startswith("model.vision."):
            continue
        local, vit = name.removeprefix("model.vision."), "mixins.eva.vit_model."
        if local.startswith("transformer."):
            sat = vit + local.replace("fc1", "dense_h_to_4h").replace("fc2", "dense_4h_to_h")
            cut = "whole"
            if "query_key_value" in sat:
                cut = "tower_qkv"
            elif "dense_h_to_4h" in sat:
                cut = "rows"
            elif ".dense" in sat and sat.endswith("weight"):
                cut = "columns"
            out[sat] = tensor, cut
        elif local == "patch_embedding.cls_embedding":
            out[f"{vit}transformer.word_embeddings.weight"] = tensor, "whole"
        elif local == "patch_embedding.position_embedding.weight":
            out[f"{vit}transformer.position_embeddings.weight"] = tensor, "whole"
        elif local.startswith("patch_embedding.proj"):
            out[f"{vit}mixins.{local}"] = tensor, "whole"
        else:
            out[f"mixins.eva.{local}"] = tensor, "whole"
    return out


def write(folder: Path, state: dict[str, Tensor], config: ModelConfig, ranks: int) -> None:
    """Write the folder with one file for each model-parallel rank."""
    (folder / "8000").mkdir(parents=True)
    (folder / "latest").write_text("8000")
    keys = config.num_kv_heads * config.head_size
    sizes = [config.num_heads * config.head_size, keys, keys]
    for rank in range(ranks):
        module = {
            name: _slice(tensor, cut, sizes, rank, ranks)
            for name, (tensor, cut) in tensors(state, config).items()
        }
        file = folder / "8000" / f"mp_rank_{rank:02d}_model_states.pt"
        torch.save({"module": module, "iteration": 8000}, file)


def _slice(tensor: Tensor, cut: str, sizes: list[int], rank: int, ranks: int) -> Tensor:
    if cut == "whole":
        return tensor.clone()
    if cut in ("rows", "columns"):
        return tensor.chunk(ranks, dim=0 if cut == "rows" else 1)[rank].clone()
    parts = tensor.split(sizes if cut == "qkv" else len(tensor) // 3)
    return torch.cat([part.chunk(ranks)[rank] for part in parts])
