"""The child process of `expert_layer`: times its variants in turns; prints JSON by name and round.

    python -m benchmarks.expert_step ROUNDS

Rates are in GFLOP/s. A share is relative to the plain GEMM just before and just after, because the
speed of a shared machine changes by a tenth within seconds.

Shape letters as in `cogvlm.model.decoder`.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.mask_routing import Masks, layer_forward, masks
from cogvlm.model.config import ModelConfig, Projector
from cogvlm.model.decoder import Context
from cogvlm.model.expert import join, split
from cogvlm.model.init import build
from cogvlm.model.layout import IGNORE, Route, Sample, collate
from cogvlm.model.towers import Vision

SAMPLES, VISION, LANGUAGE = 4, 256, 64
HIDDEN, HEADS, MLP, LAYERS = 1024, 16, 2752, 2
SQUARE = 2048

_TOLERANCE = 1e-5
_MATRICES = ((HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), *2 * ((HIDDEN, MLP),), (MLP, HIDDEN))

Step = Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]]
"""Returns the outputs; the gradients of the inputs, then of the trained weights."""


@dataclass(frozen=True)
class Setting:
    """The layers, and a batch for them in sequence order."""

    layers: list[nn.Module]
    trained: list[nn.Parameter]
    context: Context
    where: Masks
    hidden_ND: Tensor
    gradient_ND: Tensor  # of the output


def main() -> None:
    """Compare the variants, then time them."""
    torch.set_num_threads(1)
    keep_memory()
    setting = make_setting()
    compiled = [torch.compile(layer, fullgraph=True) for layer in setting.layers]
    steps = {
        "masked": masked(setting),
        "eager": ours(setting.layers, setting),
        "compiled": ours(compiled, setting),
    }
    wanted = steps["masked"]()
    for name in ("eager", "compiled"):
        compare(name, steps[name](), wanted, setting.context.route)
    layer_flops = product_flops() + attention_flops()
    work = {
        **{name: (step, LAYERS * layer_flops) for name, step in steps.items()},
        "products": (products(), product_flops()),
    }
    rates: dict[str, list[float]] = {name: [] for name in ("plain", *work)}
    shares: dict[str, list[float]] = {name: [] for name in work}
    plain, plain_flops = square(), 2 * SQUARE**3
    before = plain_flops / cpu_s(plain)
    for turn in range(int(sys.argv[1])):
        names = [*work] * 2
        for name in names[turn % len(work) :][: len(work)]:  # each is first and last in turn
            run, flops = work[name]
            rate, after = flops / cpu_s(run), plain_flops / cpu_s(plain)
            rates["plain"].append(after / 1e9)
            rates[name].append(rate / 1e9)
            shares[name].append(rate / statistics.mean([before, after]))
            before = after
    sys.stdout.write(f"\n{json.dumps({'rates': rates, 'shares': shares})}\n")


def cpu_s(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    results = run()
    seconds = time.process_time() - started
    del results  # after the clock is read, before the next variant starts
    return seconds


def keep_memory() -> None:
    """Keep malloc from returning memory to the system, like torch's allocator on a GPU.

    New pages for a large tensor cost several times the computation on it, and it is chance which
    tensors get them. This does nothing on systems without mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def make_setting() -> Setting:
    """Return random layers and a batch: a token, an image and text in every row."""
    config = ModelConfig(
        vocab_size=64,
        hidden_size=HIDDEN,
        num_layers=LAYERS,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        head_size=HIDDEN // HEADS,
        mlp_size=MLP,
        max_positions=VISION + LANGUAGE,
        bos_id=1,
        eos_id=2,
        pad_id=0,
        vision=Vision(image_size=14, width=16, num_layers=1, num_heads=1, mlp_size=16),
        # BOI is one more vision token; EOI is a language token.
        projector=Projector(kind="resampler", num_queries=VISION - 1, num_heads=1),
    )
    model = build(config)
    torch.manual_seed(0)
    trained = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".vision_expert_" in name or ".vision_mlp." in name)
        if parameter.requires_grad:
            trained.append(parameter)
            parameter.data += 0.02 * torch.randn_like(
                parameter
            )  # it was a copy of the language weight
    sample = Sample(
        ids=[config.bos_id] * (VISION + LANGUAGE),
        labels=[IGNORE] * (VISION + LANGUAGE),
        spans=[(1, 1 + config.span_size)],
        images=[torch.zeros(3, 14, 14)],
    )
    batch = collate([[sample]] * SAMPLES, config)
    shapes = len(batch.route.vision_V), len(batch.route.language_T)
    assert shapes == (SAMPLES * VISION, SAMPLES * LANGUAGE), shapes
    hidden_ND, gradient_ND = torch.randn(2, sum(shapes), HIDDEN)
    context, where = model.model.context(batch), masks(batch.route)
    return Setting(list(model.model.layers), trained, context, where, hidden_ND, gradient_ND)


def ours(layers: Sequence[nn.Module], setting: Setting) -> Step:
    """Return a step of two streams."""
    route = setting.context.route
    inputs = [stream.requires_grad_() for stream in split(setting.hidden_ND, route)]
    gradients = split(setting.gradient_ND, route)

    def step() -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        streams = inputs
        for layer in layers:
            streams = layer(*streams, setting.context)
        return streams, torch.autograd.grad(streams, [*inputs, *setting.trained], gradients)

    return step


def masked(setting: Setting) -> Step:
    """Return a step of the baseline, with one input and one output."""
    route = setting.context.route
    shape = (*route.shape, HIDDEN)
    input_BLD = setting.hidden_ND.view(shape).clone().requires_grad_()
    gradient_BLD = setting.gradient_ND.view(shape)

    def step() -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        hidden_BLD = input_BLD
        for layer in setting.layers:
            hidden_BLD = layer_forward(layer, hidden_BLD, setting.where, setting.context)
        leaves = [input_BLD, *setting.trained]
        return [hidden_BLD], torch.autograd.grad([hidden_BLD], leaves, [gradient_BLD])

    return step


def compare(
    name: str,
    actual: tuple[Sequence[Tensor], Sequence[Tensor]],
    wanted: tuple[Sequence[Tensor], Sequence[Tensor]],
    route: Route,
) -> None:
    """Raise ValueError if a step of two streams differs from the baseline's."""
    (outputs, (text_TD, vision_VD, *weights)) = actual
    ((output_BLD,), (input_BLD, *wanted_weights)) = wanted
    pairs = [
        ("output", join(*outputs, route), output_BLD.flatten(0, 1)),
        ("input gradient", join(text_TD, vision_VD, route), input_BLD.flatten(0, 1)),
        *(("weight gradient", *pair) for pair in zip(weights, wanted_weights, strict=True)),
    ]
    for what, one, other in pairs:
        error = float((one - other).abs().max() / other.abs().max())
        if not error < _TOLERANCE:
            raise ValueError(f"{name}: {what} differs from mask routing's by {error:.1e}")


def products() -> Callable[[], None]:
    """Return the matrix products of one layer, written into existing memory."""
    calls = []
    for size_in, size_out in _MATRICES:
        for tokens, trains in ((SAMPLES * VISION, True), (SAMPLES * LANGUAGE, False)):
            weight_EI, x_TI = torch.randn(size_out, size_in), torch.randn(tokens, size_in)
            y_TE = torch.randn(tokens, size_out)
            calls.append((x_TI, weight_EI.T, y_TE.clone()))
            calls.append((y_TE, weight_EI, x_TI.clone()))
            if trains:
                calls.append((y_TE.T, x_TI, weight_EI.clone()))

    def run() -> None:
        for one, other, out in calls:
            torch.mm(one, other, out=out)

    return run


def square() -> Callable[[], Tensor]:
    """Return one large product, written into existing memory."""
    one, other, out = torch.randn(3, SQUARE, SQUARE)
    return lambda: torch.mm(one, other, out=out)


def product_flops() -> int:
    """Return the FLOPs of a layer's matrices: three products for vision tokens, two for others."""
    weights = sum(size_in * size_out for size_in, size_out in _MATRICES)
    return 2 * weights * SAMPLES * (3 * VISION + 2 * LANGUAGE)


def attention_flops() -> int:
    """Return the FLOPs of a layer's attention: two products, two gradients each, half causal."""
    return SAMPLES * 3 * 4 * (VISION + LANGUAGE) ** 2 * HIDDEN // 2


if __name__ == "__main__":
    main()
