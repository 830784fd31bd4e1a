"""Names and shapes of the published checkpoints, written down from their index files.

Kept apart from the model's code on purpose: this is what it has to match.
"""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def _tower(positions: int, width_out: int, conv_out: int | None, mlp: int) -> Shapes:
    """The EVA tower and adapter, keys relative to `vision.`."""
    shapes: Shapes = {
        "boi": (1, 1, width_out),
        "eoi": (1, 1, width_out),
        "patch_embedding.cls_embedding": (1, 1792),
        "patch_embedding.proj.weight": (1792, 3, 14, 14),
        "patch_embedding.proj.bias": (1792,),
        "patch_embedding.position_embedding.weight": (positions, 1792),
        "linear_proj.linear_proj.weight": (width_out, conv_out or 1792),
        "linear_proj.norm1.weight": (width_out,),
        "linear_proj.norm1.bias": (width_out,),
        "linear_proj.gate_proj.weight": (mlp, width_out),
        "linear_proj.dense_h_to_4h.weight": (mlp, width_out),
        "linear_proj.dense_4h_to_h.weight": (width_out, mlp),
    }
    if conv_out:
        shapes |= {"conv.weight": (conv_out, 1792, 2, 2), "conv.bias": (conv_out,)}
    for number in range(63):
        here = f"transformer.layers.{number}."
        shapes |= {
            here + "attention.query_key_value.weight": (5376, 1792),
            here + "attention.query_key_value.bias": (5376,),
            here + "attention.dense.weight": (1792, 1792),
            here + "attention.dense.bias": (1792,),
            here + "mlp.fc1.weight": (15360, 1792),
            here + "mlp.fc1.bias": (15360,),
            here + "mlp.fc2.weight": (1792, 15360),
            here + "mlp.fc2.bias": (1792,),
            here + "input_layernorm.weight": (1792,),
            here + "input_layernorm.bias": (1792,),
            here + "post_attention_layernorm.weight": (1792,),
            here + "post_attention_layernorm.bias": (1792,),
        }
    return shapes


def _cogvlm(vocab: int, qkv: int, mlp: int, experts: bool, bias: bool, tower: Shapes) -> Shapes:
    shapes: Shapes = {
        "model.embed_tokens.weight": (vocab, 4096),
        "model.norm.weight": (4096,),
        "lm_head.weight": (vocab, 4096),
    }
    for number in range(32):
        here = f"model.layers.{number}."
        shapes |= {
            here + "input_layernorm.weight": (4096,),
            here + "post_attention_layernorm.weight": (4096,),
            here + "self_attn.rotary_emb.inv_freq": (64,),
        }
        for kind in ("language", "vision") if experts else ("language",):
            shapes |= {
                f"{here}self_attn.{kind}_expert_query_key_value.weight": (qkv, 4096),
                f"{here}self_attn.{kind}_expert_dense.weight": (4096, 4096),
                f"{here}mlp.{kind}_mlp.gate_proj.weight": (mlp, 4096),
                f"{here}mlp.{kind}_mlp.up_proj.weight": (mlp, 4096),
                f"{here}mlp.{kind}_mlp.down_proj.weight": (4096, mlp),
            }
        if bias:
            shapes[f"{here}self_attn.vision_expert_query_key_value.bias"] = (qkv,)
    return shapes | {f"model.vision.{name}": shape for name, shape in tower.items()}


def _glm4v() -> Shapes:
    shapes: Shapes = {
        "transformer.embedding.word_embeddings.weight": (151552, 4096),
        "transformer.rotary_pos_emb.inv_freq": (32,),
        "transformer.encoder.final_layernorm.weight": (4096,),
        "transformer.output_layer.weight": (151552, 4096),
    }
    for number in range(40):
        here = f"transformer.encoder.layers.{number}."
        shapes |= {
            here + "input_layernorm.weight": (4096,),
            here + "post_attention_layernorm.weight": (4096,),
            here + "self_attention.query_key_value.weight": (4608, 4096),
            here + "self_attention.query_key_value.bias": (4608,),
            here + "self_attention.dense.weight": (4096, 4096),
            here + "mlp.dense_h_to_4h.weight": (27392, 4096),
            here + "mlp.dense_4h_to_h.weight": (4096, 13696),
        }
    tower = _tower(6401, 4096, 4096, 13696)
    return shapes | {f"transformer.vision.{name}": shape for name, shape in tower.items()}


PUBLISHED: dict[str, Shapes] = {
    "cogvlm_17b_224": _cogvlm(
        32000, 12288, 11008, True, False, _tower(257, 4096, None, 11008)
    ),
    "cogvlm_17b_490": _cogvlm(
        32000, 12288, 11008, True, False, _tower(1226, 4096, None, 11008)
    ),
    "cogvlm2_19b": _cogvlm(128256, 6144, 14336, True, True, _tower(9217, 4096, 1792, 14336)),
    "cogvlm2_caption": _cogvlm(
        128256, 6144, 14336, False, False, _tower(257, 4096, 1792, 14336)
    ),
    "glm4v_9b": _glm4v(),
}  # fmt: skip

PARAMETERS = {
    "cogvlm_17b_224": 17_637_948_928,
    "cogvlm_17b_490": 17_639_685_376,
    "cogvlm2_19b": 19_503_105_280,
    "cogvlm2_caption": 12_507_530_496,
    "glm4v_9b": 13_906_320_896,
}

# metadata.total_size and number of entries of CogVLM2's index file, the one that could be read.
COGVLM2_INDEX = (39_006_214_656, 1221)
CAPTION_TENSORS = 1029
