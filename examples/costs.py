"""What the recipes cost at paper scale: `python -m examples.costs`.

Goes in: the size of each corpus, the rates below, and assumptions that you can change. Comes out:
CPU hours, requests per second, storage and GPU hours. The rates were measured on two shared cores
(`benchmarks/results/`), so CPU times are accurate to about a quarter. GPU hours are estimates,
since no GPU was available: FLOPs over an assumed share of an H100's peak.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from cogvlm.costs import flops
from cogvlm.costs.gpus import GPUS
from cogvlm.model.presets import preset
from cogvlm.training.config import TrainConfig
from cogvlm.training.presets import recipe

# Measured.
FILTER_ROWS_PER_CPU_S = 135_000
MIX_CPU_US_PER_ROW = 4.7 + 3.1  # the work itself, plus loading the segments of 5,400 parts
FETCH_CPU_MS = 10.4 + 1.2  # to 256 px with Pillow (torch: 5.6), plus a TLS handshake
PHRASES_PER_CPU_S = 1_157
STORED_KB = {"stage1": 43, "stage2": 149, "ground": 160}  # COCO's photos

# Counted, not measured: GLIP-T on a padded 800 x 1344 px image with its text tower.
GLIP_TFLOP = 2 * (684 + 22) / 1000
GPU = "h100"


@dataclass(frozen=True)
class Corpus:
    """Metadata to fetch."""

    name: str
    rows: int
    store: str = "stage1"
    phrases: bool = False  # with noun phrases and boxes


CORPORA = (
    Corpus("laion_400m.sh", 413_871_335),
    Corpus("coyo_700m.sh", 746_972_269),
    Corpus("grounding_40m.sh (LAION-115M)", 115_000_000, "ground", phrases=True),
    Corpus("LAION-2B-en and COYO-700M", 2_320_000_000 + 746_972_269),
)
TRAININGS = (
    ("stage1.sh", "stage1", "cogvlm_17b_224"),
    ("stage2.sh, 224 px half", "stage2", "cogvlm_17b_224"),
    ("stage2.sh, 490 px half", "stage2", "cogvlm_17b_490"),
    ("sft_311k.sh", "sft_v2", "cogvlm_17b_490"),
    ("vila.sh, stage 0", "vila_stage0", "vila_7b"),
    ("vila.sh, stage 1", "vila_stage1", "vila_7b"),
    ("vila.sh, stage 2", "vila_stage2", "vila_7b"),
)
_TEXT_TOKENS = 64  # of a sample, besides its images


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What is not known before the job has run."""

    kept: float = 0.8  # share of the rows left after filters and deduplication
    alive: float = 0.7  # share of the planned URLs that still give an image
    days: float = 7.0  # for the fetch
    mfu: float = 0.4  # share of the GPU's peak in training
    detector_mfu: float = 0.3  # the same while labelling


def main() -> int:
    """Print both tables; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.costs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, value in vars(Assumed()).items():
        parser.add_argument(f"--{name}", type=float, default=value, help=f"default {value:g}")
    values = vars(parser.parse_args())
    for name, value in values.items():
        if not 0 < value <= (1e4 if name == "days" else 1):
            most = "" if name == "days" else " and at most 1"
            parser.error(f"--{name} {value:g} must be above 0{most}")
    sys.stdout.writelines(f"{line}\n" for line in tables(Assumed(**values)))
    return 0


def tables(assumed: Assumed) -> Iterator[str]:
    """Yield the two tables as lines of Markdown."""
    heads = ("metadata to shards", "rows", "samples", "filter, mix", "fetch", "requests/s")
    yield _row(*heads, "stored", "boxes")
    yield f"|---|{'---:|' * 7}"
    for corpus in CORPORA:
        yield _corpus_row(corpus, assumed)
    yield ""
    yield "| training | samples | TFLOP a sample | GPU hours |"
    yield "|---|---:|---:|---:|"
    for name, training, model in TRAININGS:
        yield _training_row(name, training, model, assumed)


def _corpus_row(corpus: Corpus, assumed: Assumed) -> str:
    planned = corpus.rows * assumed.kept
    samples = planned * assumed.alive
    cpu_s = corpus.rows / FILTER_ROWS_PER_CPU_S + planned * MIX_CPU_US_PER_ROW / 1e6
    fetch_s = samples * FETCH_CPU_MS / 1e3
    boxes = "-"
    if corpus.phrases:
        gpu_s = samples * GLIP_TFLOP * 1e12 / (GPUS[GPU].peak * assumed.detector_mfu)
        boxes = f"{samples / PHRASES_PER_CPU_S / 3600:,.0f} vCPU h, {gpu_s / 3600:,.0f} GPU h"
    return _row(
        corpus.name,
        f"{corpus.rows / 1e6:,.0f} M",
        f"{samples / 1e6:,.0f} M",
        f"{cpu_s / 3600:,.1f} vCPU h",
        f"{fetch_s / 3600:,.0f} vCPU h",
        f"{planned / (assumed.days * 86400):,.0f}",
        f"{samples * STORED_KB[corpus.store] / 1e9:,.1f} TB",
        boxes,
    )


def _training_row(name: str, training: str, model: str, assumed: Assumed) -> str:
    config: TrainConfig = recipe(training).config
    steps = config.steps // 2 if "half" in name else config.steps
    samples = steps * config.global_batch
    per_sample = flops.count(
        preset(model), images=1, text_tokens=_TEXT_TOKENS, trained=config.trains
    ).total
    hours = samples * per_sample / (GPUS[GPU].peak * assumed.mfu) / 3600
    return _row(name, f"{samples / 1e6:,.1f} M", f"{per_sample / 1e12:.1f}", f"{hours:,.0f}")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
