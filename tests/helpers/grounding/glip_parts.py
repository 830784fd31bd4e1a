"""Tiny GLIP models: sizes, weights and vocabulary of a golden folder, and detectors of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from helpers.paths import GOLDEN
from safetensors.torch import load_file
from torch import Tensor

from grounding.glip.config import GlipConfig, PostConfig
from grounding.glip.detector import GlipDetector, Source
from grounding.glip.model import Glip
from grounding.glip.spans import WordPieces, read_word_pieces

FOLDER = GOLDEN / "glip_tiny"


def meta_of(path: Path) -> dict[str, Any]:
    return json.loads((path.parent / "meta.json").read_text())


def kind_of(path: Path) -> str:
    return path.stem.partition("_")[2]


def config_of(path: Path) -> GlipConfig:
    """Read the sizes of a model beside a case."""
    told = meta_of(path)["config"]
    swin, bert, head = told["swin"], told["bert"], told["head"]
    return GlipConfig(
        name=kind_of(path),
        swin_width=swin["embed_dim"],
        swin_depths=tuple(swin["depths"]),
        swin_heads=tuple(swin["num_heads"]),
        swin_window=swin["window_size"],
        channels=head["channels"],
        text_vocab=bert["vocab_size"],
        text_width=bert["hidden_size"],
        text_layers=bert["num_hidden_layers"],
        text_heads=bert["num_attention_heads"],
        text_mlp=bert["intermediate_size"],
        text_positions=bert["max_position_embeddings"],
        max_tokens=head["max_text_len"],
        blocks=head["num_blocks"],
        fused=kind_of(path) == "fused",
        fusion_width=head["fusion_embed_dim"],
        fusion_heads=head["fusion_heads"],
        norm_groups=head["group_norm_groups"],
        class_columns=head["class_columns"],
        anchor_sizes=tuple(told["anchors"]["sizes"]),
        anchor_strides=tuple(told["anchors"]["strides"]),
    )


def weights_of(path: Path) -> dict[str, Tensor]:
    return load_file(path.parent / f"model_{kind_of(path)}.safetensors")


def model_of(path: Path) -> Glip:
    """Return the model, in torch's default type: float64 within `helpers.floats.in_float64`."""
    model = Glip(config_of(path))
    model.load_state_dict(weights_of(path))
    return model.eval()


def post_of(path: Path, name: str) -> PostConfig:
    told = meta_of(path)["config"]["strict_postprocess" if name == "strict" else "postprocess"]
    return PostConfig(**{key: value for key, value in told.items() if key != "score"})


def word_pieces_of(path: Path, folder: Path) -> WordPieces:
    """Write the vocabulary to a folder and read it."""
    file = folder / "vocab.txt"
    file.write_text("\n".join(meta_of(path)["config"]["vocab"]) + "\n")
    return read_word_pieces(file, config_of(path).max_tokens)


def detector_of(kind: str, folder: Path, **options: Any) -> GlipDetector:
    """Return a detector with our folder's weights, for small images."""
    path = FOLDER / f"io_{kind}.safetensors"
    small = {"short_side": 80, "long_side": 133, **options}
    return GlipDetector(Source(model_of(path), word_pieces_of(path, folder)), **small)


def phrase_map(tokens: list[list[int]], length: int) -> Tensor:
    """Return what sums the tokens of every phrase to their mean."""
    rows_PL = torch.zeros(len(tokens), length)
    for row, of_phrase in zip(rows_PL, tokens, strict=True):
        row[of_phrase] = 1 / len(of_phrase)
    return rows_PL
