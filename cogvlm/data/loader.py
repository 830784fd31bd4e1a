"""A rank's batches: the parts of its loader processes, put together by stream, made ahead of time.

How many processes there are changes nothing: a step's samples are sorted by stream before they are
cut into micro-batches.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import xxhash
from torch.utils.data import DataLoader

from cogvlm.data.parts import DataPlan, Part, PartReader, Skipped
from cogvlm.data.sequences import packed
from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import IGNORE, Batch, Sample, collate

_PREFETCH_STEPS = 2


@dataclass(frozen=True)
class Work:
    """A rank's share of a step."""

    step: int
    batches: tuple[Batch, ...]  # micro-batches; images are uint8
    keys: tuple[str, ...]  # of its samples, by stream
    images: int
    tokens: int  # without padding
    targets: int
    empty: int  # slots without a sample
    skipped: tuple[Skipped, ...]
    wait_s: float = 0.0  # how long the rank waited for it

    @property
    def key_sum(self) -> int:
        """A number that the same set of keys gives in any order, 62 bits."""
        return sum(xxhash.xxh3_64_intdigest(key.encode()) for key in self.keys) & (2**62 - 1)


Works = Generator[Work, None, None]


def work_of(parts: Sequence[Part], plan: DataPlan, micro_batch: int) -> Work:
    """Put a step's parts together, by stream, and cut them into micro-batches."""
    model = plan.model_at(parts[0].step)
    streams = sorted(item for part in parts for item in part.streams.items())
    rows: list[list[Sample]] = []
    for _, filled in streams:
        samples = [sample for _, sample in filled]
        tokens = plan.pack_tokens
        rows += packed(samples, tokens) if tokens else [[sample] for sample in samples]
    samples = [sample for row in rows for sample in row]
    chunks = [rows[at : at + micro_batch] for at in range(0, len(rows), micro_batch)]
    return Work(
        step=parts[0].step,
        batches=tuple(collate(chunk, model) for chunk in chunks),
        keys=tuple(key for _, filled in streams for key, _ in filled),
        images=sum(len(sample.images) for sample in samples),
        tokens=sum(len(sample.ids) for sample in samples),
        targets=sum(label != IGNORE for sample in samples for label in sample.labels[1:]),
        empty=sum(part.slots for part in parts) - len(samples),
        skipped=tuple(skip for part in parts for skip in part.skipped),
    )


def blank(model: ModelConfig) -> Batch:
    """Return a batch without images and targets: what a rank runs while others still have some."""
    return collate([[Sample([model.eos_id], [IGNORE])]], model)


def loader(
    plan: DataPlan,
    *,
    steps: range,
    micro_batch: int,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    pin: bool = False,
) -> Works:
    """Yield a rank's work step by step, made ahead of time.

    Args:
        plan: What the run is fed.
        steps: Which steps, from 0.
        micro_batch: Rows of a micro-batch.
        rank: This rank.
        ranks: World size.
        workers: Loader processes; 0: a thread of this process.
        pin: Put batches into page-locked memory.
    """
    reader = PartReader(plan, rank=rank, ranks=ranks, steps=steps)
    parts: Any = iter(
        DataLoader(
            reader,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=_PREFETCH_STEPS if workers else None,
            worker_init_fn=_leave_signals_to_the_rank,
        )
    )

    def works() -> Works:
        for _ in steps:
            together = [_checked(next(parts)) for _ in range(max(workers, 1))]
            work = work_of(together, plan, micro_batch)
            if pin:
                pinned = tuple(batch.apply(torch.Tensor.pin_memory) for batch in work.batches)
                work = replace(work, batches=pinned)
            yield work

    try:
        yield from ahead(works(), _PREFETCH_STEPS)
    finally:
        # Left to the garbage collector, processes live as long as an error's traceback.
        if workers:
            parts._shutdown_workers()


def _leave_signals_to_the_rank(worker: int) -> None:
    """Ignore what a scheduler sends to all processes: the rank still needs this one's batches."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _checked(part: Part) -> Part:
    if part.error:
        raise ValueError(part.error)
    return part


def ahead(source: Works, depth: int) -> Works:
    """Run a generator in a thread, `depth` items ahead; tell how long each was waited for."""
    made: queue.Queue[Work | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def run() -> None:
        last: BaseException | None = None
        try:
            for item in source:
                if not _put(made, item, stop):
                    return
        except BaseException as error:  # noqa: BLE001 (raised again by the reader)
            last = error
        _put(made, last, stop)

    thread = threading.Thread(target=run, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            begin = time.perf_counter()
            item = made.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield replace(item, wait_s=time.perf_counter() - begin)
    finally:
        stop.set()
        thread.join()


def _put(made: queue.Queue[Any], item: object, stop: threading.Event) -> bool:
    """Put an item; False once nobody wants it any more."""
    while not stop.is_set():
        try:
            made.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
