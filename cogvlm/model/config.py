"""What a model is: one frozen config, the rules it must keep, and its JSON form.

Every size and every ablation of the CogVLM paper (arXiv 2311.03079v2, Table 4) is a field here;
the model text holds no number of its own. `presets` has the named models.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from cogvlm.model.registry import TEMPLATES, TOWERS
from cogvlm.model.rules import Rule, check, known, literal, parse, positive
from cogvlm.model.towers import Vision

ProjectorKind = Literal[
    "linear",
    "mlp2x_gelu",
    "transformer",
    "glu",
    "conv_glu",
    "downsample_2x2",
    "downsample_3x3",
    "resampler",
]
ExpertPart = Literal["qkv", "dense", "ffn"]


@dataclass(frozen=True, kw_only=True)
class Projector:
    """What turns patch features into vectors of the language model (paper, section 2.1)."""

    kind: ProjectorKind = "glu"
    """`glu` is CogVLM's, `conv_glu` CogVLM2's and GLM-4V's, the rest are VILA's and LLaVA's."""
    mlp_size: int = 0
    """Inner channels of `glu`, `conv_glu` and `transformer`."""
    conv_width: int = 0
    """Output channels of the 2 x 2 convolution of `conv_glu`."""
    num_queries: int = 0
    """Tokens per image that `resampler` makes."""
    num_heads: int = 0
    """Attention heads of `transformer` and `resampler`."""
    scale: float = 1.0
    """Factor on the whole block, boundaries included; GLM-4V has 1/8."""

    def __post_init__(self) -> None:
        literal("projector", self, "kind")
        needs = {
            "glu": ("mlp_size",),
            "conv_glu": ("mlp_size", "conv_width"),
            "transformer": ("mlp_size", "num_heads"),
            "resampler": ("num_queries", "num_heads"),
        }
        positive("projector", self, *needs.get(self.kind, ()))

    def num_tokens(self, grid_size: int) -> int:
        """Return how many tokens an image of grid_size x grid_size patches becomes."""
        if self.kind == "resampler":
            return self.num_queries
        return math.ceil(grid_size / self.stride) ** 2

    @property
    def stride(self) -> int:
        """Patches along one side that become one token."""
        return {"conv_glu": 2, "downsample_2x2": 2, "downsample_3x3": 3}.get(self.kind, 1)


@dataclass(frozen=True, kw_only=True)
class Expert:
    """The visual expert: a second set of weights for image tokens (paper, section 2.1)."""

    layers: Literal["all", "none"] | int | tuple[int, ...] = "all"
    """`all`, `none`, a list of layers, or k for layers 0, k, 2k, … (which of k is ours)."""
    parts: tuple[ExpertPart, ...] = ("qkv", "dense", "ffn")
    """Which matrices are doubled; `("ffn",)` is the paper's FFN-only ablation."""
    kind: Literal["full", "lora"] = "full"
    """Own matrices, or the language model's plus a low-rank difference."""
    rank: int = 128
    """Rank of `lora` (128 in the authors' rebuttal)."""
    alpha: float = 128.0
    """The low-rank difference is multiplied by alpha / rank (unpublished: ours is 1)."""
    init: Literal["llm", "random"] = "llm"
    """Initial weights: copies of the language model's, or random ones."""
    qkv_bias: bool = False
    """Whether the expert's query-key-value matrix has a bias, as CogVLM2's has."""

    def __post_init__(self) -> None:
        literal("expert", self, "kind")
        literal("expert", self, "init")
        if isinstance(self.layers, str):
            known("expert", self, "layers", ("all", "none"))
        is_lora, known_parts = self.kind == "lora", typing.get_args(ExpertPart)
        are_parts = bool(self.parts) and {*self.parts} <= {*known_parts}
        is_no_step = isinstance(self.layers, int) and self.layers <= 0
        check(
            "expert",
            self,
            ("parts", are_parts, f"one or more of {', '.join(known_parts)}"),
            ("layers", not is_no_step, "k of every k-th, so positive"),
            ("rank", not is_lora or self.rank > 0, "positive"),
            ("qkv_bias", not (is_lora and self.qkv_bias), "false with kind lora"),
        )

    def parts_of(self, layer: int) -> tuple[ExpertPart, ...]:
        """Return the doubled matrices of a layer; empty where it has no expert."""
        if isinstance(self.layers, str):
            has = self.layers == "all"
        elif isinstance(self.layers, int):
            has = layer % self.layers == 0
        else:
            has = layer in self.layers
        return self.parts if has else ()


@dataclass(frozen=True, kw_only=True)
class Attn:
    """Attention of the language model."""

    image_mask: Literal["causal", "full"] = "causal"
    """`full` lets the tokens of one image see each other in both directions (an ablation)."""
    qkv_bias: bool = False
    """Whether the language query-key-value matrix has a bias, as GLM-4V's has."""

    def __post_init__(self) -> None:
        literal("attn", self, "image_mask")


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position ids of image tokens (paper, section 2.2)."""

    image: Literal["shared", "sequential", "2d"] = "shared"
    """One id for all patches of an image; one each; or row and column (ours, no paper has it)."""

    def __post_init__(self) -> None:
        literal("position", self, "image")


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How a language base stretches its rotary frequencies, in Hugging Face's terms."""

    kind: Literal["linear", "llama3"]
    """`linear` divides every frequency; `llama3` leaves the fast ones alone."""
    factor: float
    """By how much the context grows."""
    low_freq_factor: float = 1.0
    """`llama3`: wavelengths above original_max_positions / this are fully stretched."""
    high_freq_factor: float = 4.0
    """`llama3`: wavelengths below original_max_positions / this are left alone."""
    original_max_positions: int = 8192
    """`llama3`: the context of the unstretched model in tokens."""

    def __post_init__(self) -> None:
        literal("rope.scaling", self, "kind")
        check("rope.scaling", self, ("factor", self.factor >= 1, "at least 1"))


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary position embedding."""

    base: float = 10_000.0
    """Base of the geometric series of frequencies."""
    fraction: float = 1.0
    """Share of a head's channels that rotate, from the first on; 1/2 in GLM-4V."""
    interleaved: bool = False
    """Pairs are neighbours (GLM-4V) instead of channel j and j + half (Llama)."""
    scaling: RopeScaling | None = None
    """Stretched frequencies, or none."""

    def __post_init__(self) -> None:
        check(
            "rope",
            self,
            ("base", self.base > 1, "above 1"),
            ("fraction", 0 < self.fraction <= 1, "in (0, 1]"),
        )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the model is trained on besides the next token."""

    image_ssl: float = 0.0
    """Weight of predicting the next position's tower feature at image positions (an ablation)."""

    def __post_init__(self) -> None:
        check("loss", self, ("image_ssl", self.image_ssl >= 0, "at least 0"))


_POSITIVE = (
    *("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_size"),
    *("mlp_size", "max_positions"),
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model: language base, tower, projector and experts."""

    vocab_size: int
    """Rows of the token embedding."""
    hidden_size: int
    """Channels of the residual stream."""
    num_layers: int
    """Decoder layers."""
    num_heads: int
    """Query heads."""
    num_kv_heads: int
    """Key and value heads; query head h reads head h // (num_heads / num_kv_heads)."""
    head_size: int
    """Channels of a head."""
    mlp_size: int
    """Inner channels of a layer's MLP."""
    norm_eps: float = 1e-5
    """Epsilon of the RMSNorms."""
    max_positions: int
    """Longest sequence in tokens, image tokens included."""
    tie_embeddings: bool = False
    """Whether the head is the token embedding."""
    bos_id: int | None
    """First token of a sequence, or none."""
    eos_id: int
    """Last token of an answer."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end generation besides eos_id."""
    pad_id: int
    """Padding token, also the id in image slots; its embedding gets no gradient."""
    boundary_ids: tuple[int, ...] = ()
    """Tokens in the slots of BOI and EOI where the official vocabulary has some (GLM-4V)."""
    template: str = "base"
    """The chat template that the weights were trained with; see the table of templates."""
    rope: Rope = field(default_factory=Rope)
    """Rotary position embedding."""
    rope_compute: Literal["fp32", "checkpoint"] = "fp32"
    """Precision of angles and rotation: `checkpoint` rounds as the official bf16 code does."""
    dropout: float = 0.0
    """On attention weights and on what attention and MLP add to the stream; the paper has 0.1."""
    boundaries: bool = True
    """Whether an image is enclosed by the learned vectors BOI and EOI."""
    skip_unused: bool = True
    """Loss and generation leave out the last layer's vision outputs, which reach neither."""
    vision: Vision
    """The image encoder."""
    projector: Projector
    """Patch features to language vectors."""
    expert: Expert = field(default_factory=Expert)
    """The visual expert."""
    attn: Attn = field(default_factory=Attn)
    """Attention of the language model."""
    position: Position = field(default_factory=Position)
    """Position ids of image tokens."""
    loss: Loss = field(default_factory=Loss)
    """What is trained besides the next token."""

    def __post_init__(self) -> None:
        positive("", self, *_POSITIVE)
        literal("", self, "rope_compute")
        known("", self, "template", TEMPLATES)
        known("", self, "vision.tower", TOWERS)
        check("", self, *self._token_rules(), *self._layer_rules(), *self._image_rules())

    def _token_rules(self) -> Iterator[Rule]:
        below = f"below vocab_size {self.vocab_size}"
        for name in ("bos_id", "eos_id", "pad_id"):
            token = getattr(self, name)
            yield name, token is None or 0 <= token < self.vocab_size, below
        has_slots = self.boundaries and len(self.boundary_ids) == 2
        may_be = "empty, or two tokens of a model with boundaries"
        yield "boundary_ids", not self.boundary_ids or has_slots, may_be

    def _layer_rules(self) -> Iterator[Rule]:
        divides = self.num_heads % self.num_kv_heads == 0
        yield "num_heads", divides, f"a multiple of num_kv_heads {self.num_kv_heads}"
        is_even = self.rope.fraction * self.head_size % 2 == 0
        channels = f"such that an even number of the {self.head_size} channels rotates"
        yield "rope.fraction", is_even, channels
        yield "dropout", 0 <= self.dropout < 1, "in [0, 1)"
        listed = self.expert.layers if isinstance(self.expert.layers, tuple) else ()
        are_ours = all(0 <= layer < self.num_layers for layer in listed)
        yield "expert.layers", are_ours, f"layers in 0 .. {self.num_layers - 1}"

    def _image_rules(self) -> Iterator[Rule]:
        kind, heads = self.projector.kind, self.projector.num_heads
        is_resampler = kind == "resampler"
        size, patch_size = self.vision.image_size, self.vision.patch_size
        fits = not TOWERS[self.vision.tower].whole_patches or size % patch_size == 0
        yield "vision.image_size", fits, f"a multiple of vision.patch_size {patch_size}"
        has_grid = kind != "conv_glu" or self.vision.grid_size % 2 == 0
        even = f"an even number of {patch_size} px patches for projector.kind conv_glu"
        yield "vision.image_size", has_grid, even
        divides = kind not in ("transformer", "resampler") or self.hidden_size % heads == 0
        yield "projector.num_heads", divides, f"a divisor of {self.hidden_size}"
        yield (
            "loss.image_ssl",
            not self.loss.image_ssl or (self.boundaries and not is_resampler),
            "0 without boundaries or with projector.kind resampler: image positions then predict "
            "no patch",
        )
        yield (
            "position.image",
            not (is_resampler and self.position.image == "2d"),
            "another kind with projector.kind resampler, whose tokens do not lie in a grid",
        )

    @property
    def image_tokens(self) -> int:
        """Tokens that one image becomes, boundaries not counted."""
        return self.projector.num_tokens(self.vision.grid_size)

    @property
    def span_size(self) -> int:
        """Sequence positions of one image, boundaries counted."""
        return self.image_tokens + 2 * self.boundaries

    @property
    def has_experts(self) -> bool:
        """Whether any layer treats image tokens with weights of their own."""
        return any(self.expert.parts_of(layer) for layer in range(self.num_layers))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data that `from_json` reads back."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> ModelConfig:
        """Build a config from `to_json`'s data.

        Raises:
            ValueError: An unknown or missing field, by name, or a broken rule.
        """
        return parse(ModelConfig, data)


def resized(config: ModelConfig, image_size: int) -> ModelConfig:
    """Return a config for images of another size, as between CogVLM's stages."""
    return dataclasses.replace(
        config, vision=dataclasses.replace(config.vision, image_size=image_size)
    )
