"""FLOPs of a sample, from the config: what utilisation (MFU) and the plan are computed from.

A weight costs 2 FLOPs for every token that it meets: forward, once more for the input's gradient
where something below is trained, and once more for its own gradient where it is trained itself.
A frozen tower therefore runs forward only, and a text token costs 4 per language weight while the
experts train. Attention between tokens costs its two products, in the decoder at half because it
is causal.

Conventions: all positions of an image count as image tokens, although the last one (EOI) meets
the language weights; the head sees text tokens, although without experts it runs on all. What the
model leaves out (`skip_unused`) is not counted, nor are norms, activation functions and
recomputation.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import astuple, dataclass
from functools import lru_cache

from cogvlm.model.config import ModelConfig
from cogvlm.model.groups import group_of, shapes
from cogvlm.model.registry import TOWERS

_TOWER = {"patch_and_pos", "vit"}
_UNDER_DECODER = {*_TOWER, "adapter", "boi_eoi", "embeddings"}
_DECODER = {"llm", "expert"}
_PARTS = {"expert_query_key_value": "qkv", "expert_dense": "dense", "mlp": "ffn"}
_MATRIX = re.compile(rf"model\.layers\.(\d+)\.\w+\.(language|vision)_({'|'.join(_PARTS)})\.")


@dataclass(frozen=True)
class Flops:
    """FLOPs by where they are spent."""

    tower: int  # patch embedding, blocks and their attention
    projector: int  # with the attention that two kinds of it have
    image: int  # image tokens through the decoder's matrices
    text: int  # text tokens through the decoder's matrices
    head: int  # text tokens to logits, and the image loss's head
    attention: int  # between the tokens of the decoder

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


def count(
    config: ModelConfig, *, images: int, text_tokens: int, trained: Collection[str] = ()
) -> Flops:
    """Return the FLOPs of one sample, forward and backward.

    Args:
        config: The model.
        images: Images of the sample.
        text_tokens: Its other tokens.
        trained: The parameter groups that are trained; with none, forward only.
    """
    trained = frozenset(trained)
    image, text, attention = _decoder(config, images, text_tokens, trained)
    return Flops(
        tower=images * _tower(config, trained),
        projector=images * _projector(config, trained),
        image=image,
        text=text,
        head=_head(config, images, text_tokens, trained),
        attention=attention,
    )


def _matmul(weights: int, tokens: int, trains: bool, below: bool) -> int:
    return 2 * weights * tokens * (1 + trains + below)


def _attention(queries: int, keys: int, width: int, backward: bool) -> int:
    """Two products of all queries and keys; each has two gradients."""
    return 4 * queries * keys * width * (3 if backward else 1)


def _tower(config: ModelConfig, trained: frozenset[str]) -> int:
    """FLOPs of one image."""
    vision, patches = config.vision, config.vision.grid_size**2
    tokens = patches + 1 if TOWERS[vision.tower].has_cls else patches
    layers = vision.num_layers + 1 + vision.feature_layer
    trains = bool(trained & _TOWER)
    patch_weights = 3 * vision.patch_size**2 * vision.width
    block_weights = sum(_matrices(config, "vit").values())
    return (
        _matmul(patch_weights, patches, "patch_and_pos" in trained, below=False)
        + _matmul(block_weights, tokens, "vit" in trained, below=trains)
        + layers * _attention(tokens, tokens, vision.width, trains)
    )


def _projector(config: ModelConfig, trained: frozenset[str]) -> int:
    """FLOPs of one image."""
    patches, tokens = config.vision.grid_size**2, config.image_tokens
    trains, below = "adapter" in trained, bool(trained & _TOWER)
    matrices, first = _projector_matrices(config)
    total = 0
    for name, (weights, meets) in matrices.items():
        # A norm before the first matrix is trained, too, and needs the gradient of its output.
        total += _matmul(weights, meets, trains, below or (trains and name != first))
    if config.projector.kind in ("transformer", "resampler"):
        total += _attention(tokens, patches, config.hidden_size, trains or below)
    return total


def _decoder(
    config: ModelConfig, images: int, text_tokens: int, trained: frozenset[str]
) -> tuple[int, int, int]:
    """FLOPs of a sample: image tokens, text tokens, attention."""
    image_tokens = images * config.span_size
    width, length = config.num_heads * config.head_size, image_tokens + text_tokens
    llm, expert = "llm" in trained, "expert" in trained
    below = llm or bool(trained & _UNDER_DECODER)  # the norms before the matrices belong to llm
    image = text = attention = 0
    for (layer, part), (language, vision) in _decoder_matrices(config).items():
        text += _matmul(language, text_tokens, llm, below)
        if not _is_skipped(config, layer, part):
            image += _matmul(vision, image_tokens, expert, below)
            if not vision or config.expert.kind == "lora":
                image += _matmul(language, image_tokens, llm, below)
        below |= expert and vision > 0
        if part == "qkv":
            attention += _attention(length, length, width, below) // 2
    return image, text, attention


def _is_skipped(config: ModelConfig, layer: int, part: str) -> bool:
    """Whether no loss needs this from image tokens; without experts they are not told apart."""
    is_unused = layer == config.num_layers - 1 and part != "qkv" and not config.loss.image_ssl
    return is_unused and config.skip_unused and config.has_experts


def _head(config: ModelConfig, images: int, text_tokens: int, trained: frozenset[str]) -> int:
    trains = ("embeddings" if config.tie_embeddings else "head") in trained
    below = bool(trained & (_UNDER_DECODER | _DECODER))
    total = _matmul(config.vocab_size * config.hidden_size, text_tokens, trains, below)
    if config.loss.image_ssl:
        weights, predict = config.hidden_size * config.vision.width, config.span_size - 2
        total += _matmul(weights, images * predict, "image_head" in trained, below)
    return total


@lru_cache
def _matrices(config: ModelConfig, group: str) -> dict[str, int]:
    """Weights of a group's matrices and convolutions by name."""
    return {
        name: math.prod(shape)
        for name, shape in shapes(config).items()
        if group_of(name) == group and len(shape) > 1 and not name.endswith(".queries")
    }


@lru_cache
def _projector_matrices(config: ModelConfig) -> tuple[dict[str, tuple[int, int]], str]:
    """Weights and the tokens of an image that meet them; and the projector's first parameter."""
    patches, tokens = config.vision.grid_size**2, config.image_tokens
    meets = {name: (weights, tokens) for name, weights in _matrices(config, "adapter").items()}
    if config.projector.kind == "resampler":
        for name, (weights, _) in meets.items():
            if name.endswith("in_proj_weight"):  # a third for queries, two for keys and values
                meets[name] = weights // 3, tokens + 2 * patches
            elif name.endswith("linear_proj.linear_proj.weight"):
                meets[name] = weights, patches
    return meets, next(name for name in shapes(config) if group_of(name) == "adapter")


@lru_cache
def _decoder_matrices(config: ModelConfig) -> dict[tuple[int, str], tuple[int, int]]:
    """Weights by layer and part, in the order they run: language, and vision or 0."""
    weights: Counter[tuple[int, str, str]] = Counter()
    for name, shape in shapes(config).items():
        if (match := _MATRIX.match(name)) and len(shape) > 1:
            weights[int(match[1]), _PARTS[match[3]], match[2]] += math.prod(shape)
    return {
        (layer, part): (weights[layer, part, "language"], weights[layer, part, "vision"])
        for layer in range(config.num_layers)
        for part in _PARTS.values()
    }
