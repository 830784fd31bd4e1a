"""Which language model a CogVLM is built on: the `config.json` of the Llama families.

Llama 1, 2 and 3, Vicuna and what else has their layers: grouped queries, tied embeddings and
stretched RoPE included. Anything else is refused by the field that differs.
"""

from __future__ import annotations

from typing import Any

from cogvlm.model.config import Rope, RopeScaling


def read(data: dict[str, Any]) -> dict[str, Any]:
    """Return the language fields of a ModelConfig from a Llama `config.json`.

    Raises:
        ValueError: A field says that this is no Llama, with its name and value.
    """
    only = {
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "pretraining_tp": 1,
    }
    for name, value in only.items():
        if data.get(name, value) != value:
            raise ValueError(
                f"config.json {name} is {data[name]!r}; only Llama bases with {value!r} are "
                "supported"
            )
    try:
        return _fields(data)
    except KeyError as error:
        raise ValueError(f"config.json has no field {error.args[0]!r}") from error


def _fields(data: dict[str, Any]) -> dict[str, Any]:
    heads = data["num_attention_heads"]
    ends = data["eos_token_id"]
    eos_id, *stop_ids = ends if isinstance(ends, list) else [ends]
    pad_id = data.get("pad_token_id")
    return {
        "vocab_size": data["vocab_size"],
        "hidden_size": data["hidden_size"],
        "num_layers": data["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": data.get("num_key_value_heads") or heads,
        "head_size": data.get("head_dim") or data["hidden_size"] // heads,
        "mlp_size": data["intermediate_size"],
        "norm_eps": data["rms_norm_eps"],
        "max_positions": data["max_position_embeddings"],
        "tie_embeddings": data.get("tie_word_embeddings", False),
        "bos_id": data["bos_token_id"],
        "eos_id": eos_id,
        "stop_ids": tuple(stop_ids),
        # Llama has no padding token. Its unk (0) serves in v1; a row that text uses must not.
        "pad_id": _default_pad(data) if pad_id is None or pad_id < 0 else pad_id,
        "rope": _rope(data),
    }


def _default_pad(data: dict[str, Any]) -> int:
    return 128_002 if data["vocab_size"] >= 128_256 else 0


def _rope(data: dict[str, Any]) -> Rope:
    """Read both spellings: `rope_theta` with `rope_scaling`, and newer files' `rope_parameters`."""
    parameters = data.get("rope_parameters") or data.get("rope_scaling") or {}
    base = float(data.get("rope_theta") or parameters.get("rope_theta") or 10_000.0)
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return Rope(base=base)
    if kind == "linear":
        return Rope(base=base, scaling=RopeScaling(kind="linear", factor=parameters["factor"]))
    if kind == "llama3":
        return Rope(
            base=base,
            scaling=RopeScaling(
                kind="llama3",
                factor=parameters["factor"],
                low_freq_factor=parameters["low_freq_factor"],
                high_freq_factor=parameters["high_freq_factor"],
                original_max_positions=parameters["original_max_position_embeddings"],
            ),
        )
    raise ValueError(f"config.json rope_scaling type is {kind!r}; known: default, linear, llama3")
