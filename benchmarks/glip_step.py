"""The child process of `glip_speed`: times a batch of GLIP-T and of its competitors, in turns.

    python -m benchmarks.glip_step ROUNDS [--toy]

Prints JSON: CPU seconds by name and round.

Shape letters: B images, H and W pixels, L tokens, P phrases.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.expert_step import cpu_s, keep_memory
from grounding.glip import deform
from grounding.glip.config import GlipConfig, PostConfig, glip_tiny
from grounding.glip.dyhead import HeadOutput
from grounding.glip.model import Glip, build
from grounding.glip.postprocess import candidates

BATCH, SIDE, TOKENS, PHRASES = 4, 480, 16, 4

_TOLERANCE = 1e-4
_CLS, _SEP, _FIRST_WORD = 101, 102, 1996

aten = torch.ops.aten


@dataclass(frozen=True)
class Setting:
    """A model and a batch for it."""

    model: Glip
    images_B3HW: Tensor
    ids_BL: Tensor
    phrase_map_BPL: Tensor


def main() -> None:
    """Compare the variants, then time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    setting = make_setting(options.toy)
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: detect(setting, TOKENS),
        "padded": lambda: detect(setting, setting.model.config.max_tokens),
    }
    with torch.inference_mode():
        compare(detect(setting, TOKENS), detect(setting, setting.model.config.max_tokens))
        runs["products"] = products(setting)
        runs["grounding_dino"] = grounding_dino(setting, options.toy)
        for name in ("products", "grounding_dino"):  # the others have run already
            runs[name]()
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(options.rounds):
            names = [*runs] * 2
            for name in names[turn % len(runs) :][: len(runs)]:
                seconds[name].append(cpu_s(runs[name]))
    sys.stdout.write(f"\n{json.dumps(seconds)}\n")


def make_setting(toy: bool) -> Setting:
    """Return random weights, images and captions."""
    sizes: dict[str, Any] = {
        "swin_width": 24, "swin_depths": (1, 1, 1, 1), "channels": 32, "text_width": 48,
        "text_layers": 1, "text_mlp": 48, "blocks": 1, "fusion_width": 64,
    }  # fmt: skip
    model = build(GlipConfig(name="toy", **sizes) if toy else glip_tiny(), seed=0)
    deform.arrange_for_cpu(model)
    random = torch.Generator().manual_seed(0)
    side = 64 if toy else SIDE
    ids_BL = torch.randint(_FIRST_WORD, 9999, (BATCH, TOKENS), generator=random)
    ids_BL[:, 0], ids_BL[:, -1] = _CLS, _SEP
    phrase_map_BPL = torch.zeros(BATCH, PHRASES, TOKENS)
    for phrase in range(PHRASES):
        phrase_map_BPL[:, phrase, 1 + 3 * phrase : 4 + 3 * phrase] = 1 / 3
    images_B3HW = torch.randn(BATCH, 3, side, side, generator=random)
    return Setting(model, images_B3HW, ids_BL, phrase_map_BPL)


def detect(setting: Setting, length: int) -> HeadOutput:
    """Run the detector up to its candidates with the text padded to a length."""
    padding = length - TOKENS
    ids_BL = torch.nn.functional.pad(setting.ids_BL, (0, padding))
    mask_BL = (torch.arange(length) < TOKENS).expand(BATCH, -1)
    head = setting.model(setting.images_B3HW, ids_BL, mask_BL)
    phrase_map_BPL = torch.nn.functional.pad(setting.phrase_map_BPL, (0, padding))
    sizes_hw_B2 = torch.tensor([setting.images_B3HW.shape[-2:]] * BATCH)
    anchors = setting.model.rpn.anchor_generator(head.box_deltas)
    candidates(head, anchors, phrase_map_BPL, sizes_hw_B2, PostConfig())
    return head


def compare(trimmed: HeadOutput, padded: HeadOutput) -> None:
    """Raise ValueError if padding the text changes the scores of real tokens."""
    for one, other in zip(trimmed.token_logits, padded.token_logits, strict=True):
        error = float((one - other[..., :TOKENS]).abs().max())
        if not error < _TOLERANCE:
            raise ValueError(f"padding the text changes token logits by {error:.1e}")


class Products(TorchDispatchMode):
    """Records every matrix product and convolution with the layout of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func.overloadpacket in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution):
            self.calls.append((func, tuple(map(_like, args))))
        elif "scaled_dot_product" in str(func):
            query, key, value = (_like(tensor) for tensor in args[:3])
            self.calls.append((torch.matmul, (query, key.transpose(-1, -2))))
            self.calls.append((torch.matmul, (query @ key.transpose(-1, -2), value)))
        elif "deform_conv2d" in str(func):  # of the small maps: as a plain convolution
            image, weight, bias, (stride, _) = args[0], args[1], args[4], args[5:7]
            parts = (_like(image), _like(weight), _like(bias), stride, 1)
            self.calls.append((torch.conv2d, parts))
        return func(*args, **(kwargs or {}))


def _like(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride()).normal_()


def products(setting: Setting) -> Callable[[], None]:
    """Return the products of `detect` with nothing between them, on random numbers."""
    # In inference mode the dispatch mode would see whole layers instead of their products.
    with torch.inference_mode(False), torch.no_grad(), Products() as noted:
        detect(setting, TOKENS)

    def run() -> None:
        for func, args in noted.calls:
            func(*args)

    return run


def grounding_dino(setting: Setting, toy: bool) -> Callable[[], object]:
    """Return transformers' GroundingDINO (its default sizes are the tiny variant's)."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    sizes: dict[str, Any] = {}
    if toy:
        sizes = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10}
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(**sizes)).eval()
    mask_BHW = torch.ones_like(setting.images_B3HW[:, 0]).long()
    return lambda: model(
        pixel_values=setting.images_B3HW,
        pixel_mask=mask_BHW,
        input_ids=setting.ids_BL,
        attention_mask=torch.ones_like(setting.ids_BL),
    )


if __name__ == "__main__":
    main()
