"""The Beam wiring: numbers of work items in, items done. Rows and images never pass here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.harness.failures import handed_on
from pipelines.harness.worker import Work, do_item, end_with_launcher


class DoItems(beam.PTransform[beam.Pipeline, PCollection[str]]):
    """Does the items of one stage whose numbers it was given; yields the names of done ones."""

    def __init__(self, work: Work, indices: Sequence[int]) -> None:
        super().__init__()
        self._work = work
        self._indices = list(indices)

    def expand(self, pipeline: beam.Pipeline) -> PCollection[str]:
        """Create the item numbers, spread them, do them."""
        names: PCollection[str] = (
            pipeline
            | "Items" >> beam.Create(self._indices, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Do" >> beam.ParDo(_DoItem(self._work))
        )
        return names


class _DoItem(beam.DoFn):
    """Runs items in `items_at_once` threads, so that one item's tail overlaps the next."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._done = Metrics.counter("groundwork", f"{work.config.stage}_items_done")

    def setup(self) -> None:
        end_with_launcher(self._work.launcher_pid)
        self._pool = ThreadPoolExecutor(self._work.items_at_once)

    def start_bundle(self) -> None:
        self._pending: deque[Future[str | None]] = deque()

    def process(self, index: int) -> Iterator[str]:
        while len(self._pending) >= self._work.items_at_once:
            yield from self._finish_one()
        self._pending.append(self._pool.submit(do_item, self._work, index))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        while self._pending:
            for name in self._finish_one():
                yield WindowedValue(name, window.max_timestamp(), (window,))

    def teardown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finish_one(self) -> Iterator[str]:
        try:
            name = self._pending.popleft().result()
        except Exception as error:
            raise handed_on(error) from error
        if name is not None:
            self._done.inc()
            yield name
