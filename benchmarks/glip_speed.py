"""GLIP-T on a CPU, compared with its own matrix products, with padded text, and with GroundingDINO.

    python -m benchmarks.glip_speed [--full]

Random weights and a batch of 4 images of 480 x 480 with captions of 16 word pieces, in float32 on
one thread, from normalised images to ranked candidates. Padded means 256 word pieces, which the
original always reads; before anything is timed, the scores of the real ones must agree to 1e-4. The
products are the convolutions and matrix products of that run on tensors of the same shapes and
layouts, with nothing between them: attention as its two products, a deformable convolution as the
product after its lookup. GroundingDINO is transformers' at the sizes of its tiny variant, which has
the same image and text towers, on the same batch, up to boxes and token scores.

All figures are CPU time of one process, with variants in turns. Rates are medians over the rounds;
ratios are taken within a round, and their median is shown. Freed memory stays with the process.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import measure
from benchmarks.glip_step import BATCH
from benchmarks.measure import Figure

TITLE = "GLIP-T against its products, padded text and GroundingDINO"
PADDED_RATIO, PRODUCTS_RATIO = 1.2, 1.3

_ROUNDS, _MANY_ROUNDS = 3, 7
_NAMES = {
    "ours": "GLIP-T",
    "padded": "GLIP-T, text padded to 256",
    "grounding_dino": "GroundingDINO-tiny of transformers",
    "products": "the products of GLIP-T alone",
}


def figures(full: bool) -> list[Figure]:
    """Measure in a child process and return the figures."""
    rounds = _MANY_ROUNDS if full else _ROUNDS
    return of_seconds(measure.run(["-m", "benchmarks.glip_step", str(rounds)]).output)


def of_seconds(printed: str) -> list[Figure]:
    """Return the figures from the output of the child."""
    seconds: dict[str, list[float]] = json.loads(printed.splitlines()[-1])

    def times(one: str, other: str) -> float:
        pairs = zip(seconds[one], seconds[other], strict=True)
        return measure.median(a / b for a, b in pairs)

    rates = {name: measure.median(BATCH / turn_s for turn_s in seconds[name]) for name in _NAMES}
    return [
        *(Figure(title, rates[name], "images/s") for name, title in _NAMES.items()),
        measure.at_least("GLIP-T : text padded", times("padded", "ours"), "x", PADDED_RATIO),
        measure.below("time : products alone", times("ours", "products"), "x", PRODUCTS_RATIO),
        Figure("GLIP-T : GroundingDINO-tiny", times("grounding_dino", "ours"), "x"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    sys.stdout.write("\n".join(measure.table(figures(options.full))) + "\n")


if __name__ == "__main__":
    main()
