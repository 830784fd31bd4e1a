"""Decoder layers with experts on a CPU, compared with plain GEMM and with mask routing.

    python -m benchmarks.expert_layer [--full]

Two layers of hidden size 1024, 16 heads, MLP 2752, in float32 on one thread; 4 samples of 256
vision and 64 language tokens; forward and backward with frozen language weights. The baseline has
the same weights, norms and attention and routes by boolean masks, as public CogVLM code does;
outputs and gradients of all variants agree to 1e-5 before anything is timed.

Counted are 2 FLOPs per weight and token for the forward pass, as many for the input's gradient, and
for vision tokens as many again for the weight gradients. Attention counts half, norms and
activations nothing. The plain GEMM multiplies square matrices of 2048; the goals are shares of its
rate. The layers' matrix products alone, with nothing between them, are also shown. All figures are
CPU time of one process, with variants in turns and plain GEMMs between them. Figures are medians of
the rounds; a share is relative to the plain GEMMs just before and after, and a ratio divides two
shares. Freed memory stays with the process, as on a GPU.

On a CPU routing hardly matters. The goals say that two streams cost nothing and compile to one
graph, not that they are faster; `benchmarks.gpu_step` measures that.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import measure
from benchmarks.measure import Figure

TITLE = "Expert layers against plain GEMM and mask routing"
EAGER_SHARE, COMPILED_SHARE, RATIO = 0.72, 0.80, 0.95

_ROUNDS, _MANY_ROUNDS = 12, 24
_NAMES = {
    "plain": "plain GEMM",
    "products": "the layers' products alone",
    "masked": "mask routing, eager",
    "eager": "ours, eager",
    "compiled": "ours, compiled to one graph",
}


def figures(full: bool) -> list[Figure]:
    """Measure in a child process, so that this one stays small, and return the figures."""
    rounds = _MANY_ROUNDS if full else _ROUNDS
    printed = measure.run(["-m", "benchmarks.expert_step", str(rounds)]).output
    result = json.loads(printed.splitlines()[-1])
    rates: dict[str, list[float]] = result["rates"]
    shares: dict[str, list[float]] = result["shares"]

    def ratio(one: str, other: str) -> float:
        return measure.median(a / b for a, b in zip(shares[one], shares[other], strict=True))

    eager, compiled = measure.median(shares["eager"]), measure.median(shares["compiled"])
    return [
        *(Figure(title, measure.median(rates[name]), "GFLOP/s") for name, title in _NAMES.items()),
        measure.at_least("ours, eager: share of plain GEMM", eager, "", EAGER_SHARE),
        measure.at_least("ours, compiled: share of plain GEMM", compiled, "", COMPILED_SHARE),
        Figure("mask routing: share of plain GEMM", measure.median(shares["masked"]), ""),
        Figure("ours, eager: share of the layers' products", ratio("eager", "products"), ""),
        Figure("ours, compiled: share of the layers' products", ratio("compiled", "products"), ""),
        measure.at_least("ours : mask routing, eager", ratio("eager", "masked"), "x", RATIO),
        Figure("ours, compiled : mask routing, eager", ratio("compiled", "masked"), "x"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    sys.stdout.write("\n".join(measure.table(figures(options.full))) + "\n")


if __name__ == "__main__":
    main()
