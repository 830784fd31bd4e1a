"""Which tensors ours are made from, for each kind of checkpoint, and back.

Our names are those of the official CogVLM checkpoints. Each function returns, for
every target name, the tensors that it is made from; `tensors.fill` and the exporter follow them one
tensor at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cogvlm.model.config import ModelConfig
from cogvlm.model.eva import fitted_positions
from cogvlm.model.registry import TOWERS
from cogvlm.model.tensor_source import TensorSource

INV_FREQ = r"rotary(_pos)?_emb\.inv_freq$"  # computed from the config, so files may lack it
POSITIONS = "model.vision.patch_embedding.position_embedding.weight"


def same_names(names: Iterable[str], config: ModelConfig) -> dict[str, TensorSource]:
    """Read a checkpoint in our own naming, the position table resized where the grid differs."""
    sources = {name: TensorSource((name,)) for name in names}
    if POSITIONS in sources:
        sources[POSITIONS] = TensorSource((POSITIONS,), _to_grid(config))
    return sources


def from_glm4v(names: Iterable[str], config: ModelConfig) -> dict[str, TensorSource]:
    """Read an official GLM-4V checkpoint: gate and up are halves of one matrix there."""
    sources = {}
    for name in names:
        source = _glm_name(name)
        make = TensorSource.make
        if name == POSITIONS:
            make = _to_grid(config)
        elif re.search(r"language_mlp\.(gate|up)_proj", name):
            make = _first_half if "gate_proj" in name else _second_half
        sources[name] = TensorSource((source,), make)
    return sources


def to_glm4v(names: Iterable[str]) -> dict[str, TensorSource]:
    """Write the official GLM-4V naming."""
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(_glm_name(name), []).append(name)
    sources = {}
    for target, ours in parts.items():
        # All layers share one inv_freq there; gate and up lie in the order of the module.
        if len(ours) == 2 and not target.endswith("inv_freq"):
            sources[target] = TensorSource(tuple(ours), _rows)
        else:
            sources[target] = TensorSource((ours[0],))
    return sources


_GLM_NAMES = (
    (r"^model\.layers\.", "transformer.encoder.layers."),
    (r"^model\.vision\.", "transformer.vision."),
    (r"^model\.embed_tokens\.", "transformer.embedding.word_embeddings."),
    (r"^model\.norm\.", "transformer.encoder.final_layernorm."),
    (r"^lm_head\.", "transformer.output_layer."),
    (r"self_attn\.language_expert_", "self_attention."),
    (r"mlp\.language_mlp\.(gate|up)_proj\.", "mlp.dense_h_to_4h."),
    (r"mlp\.language_mlp\.down_proj\.", "mlp.dense_4h_to_h."),
    (r"encoder\.layers\.\d+\.self_attn\.rotary_emb\.", "rotary_pos_emb."),
)


def _glm_name(name: str) -> str:
    for pattern, replacement in _GLM_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def from_llama(config: ModelConfig) -> dict[str, TensorSource]:
    """Read the language half from a plain Llama checkpoint in Hugging Face's naming.

    Queries, keys and values become one matrix. No permutation: that naming already rotates half
    against half. Experts are copied afterwards, by `init`.
    """
    sources = {
        name: TensorSource((name,)) for name in ("model.embed_tokens.weight", "model.norm.weight")
    }
    if not config.tie_embeddings:
        sources["lm_head.weight"] = TensorSource(("lm_head.weight",))
    for number in range(config.num_layers):
        here = f"model.layers.{number}."
        for name in ("input_layernorm.weight", "post_attention_layernorm.weight"):
            sources[here + name] = TensorSource((here + name,))
        qkv = tuple(f"{here}self_attn.{part}_proj.weight" for part in "qkv")
        sources[f"{here}self_attn.language_expert_query_key_value.weight"] = TensorSource(
            qkv, _rows
        )
        sources[f"{here}self_attn.language_expert_dense.weight"] = TensorSource(
            (f"{here}self_attn.o_proj.weight",)
        )
        for part in ("gate_proj", "up_proj", "down_proj"):
            sources[f"{here}mlp.language_mlp.{part}.weight"] = TensorSource(
                (f"{here}mlp.{part}.weight",)
            )
    return sources


def from_tower(
    names: Iterable[str], config: ModelConfig, there: Iterable[str]
) -> dict[str, TensorSource]:
    """Read the image tower from an open_clip, timm or transformers checkpoint.

    Args:
        names: Our names; those of the tower are looked for.
        config: Says which tower it is.
        there: The checkpoint's names, for the prefix that it puts before them.
    """
    prefix = _prefix({"visual.trunk.", "vision_model.", ""}, there)
    tower = TOWERS[config.vision.tower]
    sources = {}
    for name in names:
        if source := tower.tensor(name, config.vision):
            sources[name] = replace(source, names=tuple(prefix + each for each in source.names))
    return sources


def tower_unused(config: ModelConfig) -> str:
    """Return the pattern of what a tower checkpoint has besides.

    That is the text model, heads, final norms, and the blocks behind the feature layer; anything
    unknown inside a block that runs would change what it computes, and is not among them.
    """
    count = config.vision.num_layers + 1 + config.vision.feature_layer
    runs = "|".join(map(str, range(count)))
    return (
        r"^(text|logit_|visual_projection)|(^|\.)(head|norm|fc_norm|post_layernorm)\."
        rf"|(^|\.)(blocks|layers)\.(?!({runs})\.)|attn\.k_bias$|position_ids$"
    )


def from_sat(names: Iterable[str], config: ModelConfig) -> dict[str, TensorSource]:
    """Read a SwissArmyTransformer checkpoint of CogVLM or CogVLM2."""
    sources = {}
    for name in names:
        source = name
        for pattern, replacement in _SAT_NAMES:
            source = re.sub(pattern, replacement, source)
        make = _to_grid(config) if name == POSITIONS else TensorSource.make
        sources[name] = TensorSource((source,), make)
    return sources


_VIT = "mixins.eva.vit_model."
_LAYER = r"^model\.layers\.(\d+)\."
_EMBED = r"^model\.vision\.patch_embedding\."
_SAT_NAMES = (
    (rf"{_LAYER}self_attn\.rotary_emb\.", r"mixins.rotary.rotary_emb."),
    (rf"{_LAYER}self_attn\.vision_expert_(\w+)\.", r"mixins.rotary.vision_\2_list.\1."),
    (rf"{_LAYER}self_attn\.language_expert_", r"transformer.layers.\1.attention."),
    (rf"{_LAYER}mlp\.language_mlp\.gate_proj", r"mixins.mlp.gate_proj.\1"),
    (rf"{_LAYER}mlp\.language_mlp\.up_proj", r"transformer.layers.\1.mlp.dense_h_to_4h"),
    (rf"{_LAYER}mlp\.language_mlp\.down_proj", r"transformer.layers.\1.mlp.dense_4h_to_h"),
    (rf"{_LAYER}mlp\.vision_mlp\.gate_proj", r"mixins.mlp.vision_gate_proj.\1"),
    (rf"{_LAYER}mlp\.vision_mlp\.up_proj", r"mixins.mlp.vision_dense_h_to_4h_list.\1"),
    (rf"{_LAYER}mlp\.vision_mlp\.down_proj", r"mixins.mlp.vision_dense_4h_to_h_list.\1"),
    (r"^model\.layers\.", "transformer.layers."),
    (r"^model\.embed_tokens\.", "transformer.word_embeddings."),
    (r"^model\.norm\.", "transformer.final_layernorm."),
    (r"^lm_head\.", "mixins.lm.lm_head."),
    (rf"{_EMBED}proj", f"{_VIT}mixins.patch_embedding.proj"),
    (rf"{_EMBED}cls_embedding", f"{_VIT}transformer.word_embeddings.weight"),
    (rf"{_EMBED}position_embedding", f"{_VIT}transformer.position_embeddings"),
    (r"^model\.vision\.transformer\.(.*)\.fc1\.", rf"{_VIT}transformer.\1.dense_h_to_4h."),
    (r"^model\.vision\.transformer\.(.*)\.fc2\.", rf"{_VIT}transformer.\1.dense_4h_to_h."),
    (r"^model\.vision\.transformer\.", f"{_VIT}transformer."),
    (r"^model\.vision\.", "mixins.eva."),
)


def _prefix(known: set[str], there: Iterable[str]) -> str:
    """Return the longest known prefix that a name has."""
    for prefix in sorted(known, key=len, reverse=True):
        if any(name.startswith(prefix) for name in there):
            return prefix
    return ""


def _to_grid(config: ModelConfig) -> Callable[[Tensor], Tensor]:
    return partial(fitted_positions, grid_size=config.vision.grid_size)


def _rows(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors)


def _first_half(tensor: Tensor) -> Tensor:
    return tensor.chunk(2)[0]


def _second_half(tensor: Tensor) -> Tensor:
    return tensor.chunk(2)[1]
