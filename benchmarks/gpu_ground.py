"""GLIP on a GPU: images per second from JPEG to boxes, and how busy the GPU is.

    python -m benchmarks.gpu_ground [--images 128] [--batch 8] [--record]

GLIP-T and GLIP-L with random weights, in fp32 and bf16, on JPEGs of 750 x 1250 that are resized to
800 x 1333, with captions of 16 word pieces and four phrases. Threads decode a few calls ahead;
everything else is the detector's work: resizing, text, network, suppression. The bias of the scores
is set so that the maximal number of candidates reaches the suppression, more than in photos.

The rate is measured over the wall time of one pass after a warm-up. The busy share comes from a
second pass under the profiler: the share of time in which at least one kernel or copy ran. Memory
is the peak that torch allocated, weights included. Without CUDA this prints one line and ends; with
`--record` the table is written to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import datetime
import io
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks import measure
from grounding.detector import Span
from grounding.glip.config import PRESETS, GlipConfig
from grounding.glip.detector import GlipDetector, Source
from grounding.glip.model import build
from grounding.glip.spans import WordPieces, read_word_pieces
from shards.image import decode

BUSY_GOAL = 0.9

_BATCHES_A_CALL, _CALLS_AHEAD, _DECODERS = 8, 2, 8
_SHORT, _LONG = 800, 1333
_WORDS, _PHRASES = 14, 4
_SCORE_BIAS = -2.5
_TOY: dict[str, Any] = {
    "swin_width": 24, "swin_depths": (1, 1, 1, 1), "channels": 32, "text_width": 48,
    "text_layers": 1, "text_mlp": 48, "blocks": 1, "fusion_width": 64, "text_vocab": 64,
}  # fmt: skip

Decoded = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Work:
    """The input of a pass."""

    jpegs: list[bytes]
    caption: str
    spans: list[Span]


@dataclass(frozen=True)
class Measured:
    """The figures of a model."""

    images_per_s: float
    busy: float  # share of the time; NaN on a CPU
    peak_gib: float
    boxes: int


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    options = _parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stdout.write("gpu_ground: skipped, torch finds no CUDA device\n")
        return 0
    lines = [
        "| model | precision | images/s | GPU busy | goal | peak GiB |",
        "|---|---|---:|---:|---|---:|",
    ]
    configs = [GlipConfig(name="toy", **_TOY)]
    if not options.toy:
        configs = [PRESETS[name]() for name in ("glip_tiny", "glip_large")]
    work, missed = _work(options), False
    for config in configs:
        for precision in ("fp32", "bf16"):
            measured = _measure(config, precision, work, options)
            missed |= measured.busy < BUSY_GOAL
            lines.append(_row(config.name, precision, measured))
    sys.stdout.write("\n".join([_machine(options.device), "", *lines, ""]))
    if options.record:
        path = _record(lines, options.device)
        sys.stdout.write(f"recorded in {path.relative_to(measure.ROOT)}\n")
    return int(missed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_ground", description=__doc__)
    parser.add_argument("--images", type=int, default=128, help="images per pass")
    parser.add_argument("--batch", type=int, default=8, help="images per call")
    parser.add_argument("--record", action="store_true", help="keep the table")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--toy", action="store_true", help="run everything at tiny sizes")
    return parser.parse_args(arguments)


def _work(options: argparse.Namespace) -> Work:
    """Return JPEGs of smooth noise, and a caption whose words are one piece each."""
    random = np.random.default_rng(0)
    height, width = (60, 100) if options.toy else (750, 1250)
    jpegs = []
    for _ in range(options.images):
        coarse = random.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((width, height)).save(file, "JPEG", quality=90)
        jpegs.append(file.getvalue())
    words = [f"w{number:02}" for number in range(_WORDS)]
    starts = [12 * phrase for phrase in range(_PHRASES)]  # three words of four characters each
    return Work(jpegs, " ".join(words), [(start, start + 7) for start in starts])


def _measure(
    config: GlipConfig, precision: str, work: Work, options: argparse.Namespace
) -> Measured:
    on_gpu = options.device == "cuda"
    sides = (64, 107) if options.toy else (_SHORT, _LONG)
    model = build(config, seed=0)
    torch.nn.init.constant_(model.rpn.head.bias0, _SCORE_BIAS)
    detector = GlipDetector(
        Source(model, _word_pieces(config)),
        device=options.device,
        precision=precision,
        batch=options.batch,
        short_side=sides[0],
        long_side=sides[1],
    )
    a_call = _BATCHES_A_CALL * options.batch
    _pass(detector, Work(work.jpegs[: 2 * options.batch], work.caption, work.spans), a_call)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    boxes = _pass(detector, work, a_call)
    seconds = time.perf_counter() - started
    peak_gib = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    busy = _busy(detector, work, a_call) if on_gpu else float("nan")
    return Measured(len(work.jpegs) / seconds, busy, peak_gib, boxes)


def _word_pieces(config: GlipConfig) -> WordPieces:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [f"w{number:02}" for number in range(config.text_vocab - len(special))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join(special + words))
        return read_word_pieces(file, config.max_tokens)


def _pass(detector: GlipDetector, work: Work, a_call: int) -> int:
    """Run the detector on all images; returns the number of boxes."""
    boxes = 0
    for images in _decoded(work.jpegs, a_call):
        captions, spans = [work.caption] * len(images), [work.spans] * len(images)
        detections = detector.detect(images, captions, spans)
        boxes += sum(len(detection) for of_image in detections for detection in of_image)
    return boxes


def _decoded(jpegs: Sequence[bytes], a_call: int) -> Iterator[list[Decoded]]:
    """Yield the images of each call while those of the next calls are being decoded."""
    calls = [jpegs[start : start + a_call] for start in range(0, len(jpegs), a_call)]
    with ThreadPoolExecutor(_DECODERS) as pool:
        ahead: list[list[Future[Decoded]]] = []
        for call in calls:
            ahead.append([pool.submit(decode, jpeg) for jpeg in call])
            if len(ahead) > _CALLS_AHEAD:
                yield [future.result() for future in ahead.pop(0)]
        for futures in ahead:
            yield [future.result() for future in futures]


def _busy(detector: GlipDetector, work: Work, a_call: int) -> float:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        _pass(detector, work, a_call)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    events = [event for event in profiler.events() or [] if event.device_type == DeviceType.CUDA]
    return covered([(e.time_range.start, e.time_range.end) for e in events]) / 1e6 / seconds


def covered(intervals: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _row(name: str, precision: str, measured: Measured) -> str:
    busy, goal = "", ""
    if measured.busy == measured.busy:
        met = "met" if measured.busy >= BUSY_GOAL else "MISSED"
        busy, goal = f"{measured.busy:.1%}", f">= {BUSY_GOAL:.0%} {met}"
    return (
        f"| {name} | {precision} | {measured.images_per_s:,.1f} | {busy} | {goal} "
        f"| {measured.peak_gib:.1f} |"
    )


def _machine(device: str) -> str:
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    return f"{name}, torch {torch.__version__}"


def _record(lines: list[str], device: str) -> Path:
    today = datetime.date.today().isoformat()
    method = "\n".join(line for line in (__doc__ or "").splitlines() if not line.startswith("    "))
    parts = [f"# GLIP on a GPU, {today}", "", method.strip(), "", _machine(device), ""]
    parts += [*measure.machine(), "", *lines, ""]
    measure.RESULTS.mkdir(exist_ok=True)
    path = measure.RESULTS / f"gpu-ground-{today}.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
