"""Runs a stage's items on a Beam runner, and ends a local run that no longer moves.

FnApiRunner retries nothing and hangs for ever when a worker process dies, so durability
comes from done-markers, and a watchdog ends what stands still. Beam is imported
here, in `transforms` and in `local_worker`, nowhere else.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.runner import PipelineResult, PipelineState
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.harness.failures import JobFailedError
from pipelines.harness.transforms import DoItems
from pipelines.harness.worker import Work

STALLED = 3
"""Exit code of a run that the watchdog ended."""

_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_WORKER_MODULE = "pipelines.harness.local_worker"
_POLL_S = 0.5
_GRACE_S = 10.0
_LOOK_S = 10.0
_START_S = 60.0  # until the first worker is there
_TOGETHER_S = 10.0  # from the first to the last

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pulse:
    """What the watchdog looks at: any change of `state` counts as progress."""

    state: Callable[[], object]
    stall_timeout_s: float


def run_items(
    work: Work,
    indices: Sequence[int],
    beam_flags: Sequence[str],
    *,
    workers: int,
    mode: str,
    local: bool,
    pulse: Pulse,
) -> None:
    """Do the given items; returns when the runner says that all went through.

    Raises:
        JobFailedError: A remote runner gave up. A local one raises what Beam raises.
    """
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    options = PipelineOptions(
        _local_flags(beam_flags, workers, mode)
        if local
        else _remote_flags(beam_flags, work.config.stage)
    )
    in_processes = local and workers > 1 and mode == "processes"
    watchdog = Watchdog(pulse, workers if in_processes else 0) if local else None
    pipeline = beam.Pipeline(_process_runner() if in_processes else None, options)
    _ = pipeline | DoItems(work, indices)
    try:
        if watchdog:
            watchdog.start()
        _wait(pipeline.run(), work.config.stage, local)
    finally:
        if watchdog:
            watchdog.stop()


def _wait(result: PipelineResult, stage: str, local: bool) -> None:
    failures = () if local else _remote_failures()
    try:
        result.wait_until_finish()
    except failures as error:
        raise JobFailedError(stage, str(error)) from error
    if result.state != PipelineState.DONE:
        raise JobFailedError(stage, f"it ended as {result.state}")


def _remote_failures() -> tuple[type[Exception], ...]:
    """Return what remote runners raise for a job that failed: Dataflow's is not a RuntimeError."""
    # Importing it would cost the other runners a second; the runner in use has done so.
    module = sys.modules.get("apache_beam.runners.dataflow.dataflow_runner")
    return (RuntimeError, module.DataflowRuntimeException) if module else (RuntimeError,)


def _remote_flags(beam_flags: Sequence[str], stage: str) -> list[str]:
    flags = _common_flags(beam_flags)
    if not any(flag.partition("=")[0] == "--job_name" for flag in flags):
        # Beam's own default holds the user's name and tells nobody which stage this is.
        flags.append(f"--job_name=groundwork-{stage}-{uuid.uuid4().hex[:8]}")
    return flags


def _local_flags(beam_flags: Sequence[str], workers: int, mode: str) -> list[str]:
    flags = _common_flags(beam_flags)
    kept = [flag for flag in flags if not flag.startswith("--runner")]
    if "--runner" in flags:
        position = flags.index("--runner")
        kept = [flag for i, flag in enumerate(flags) if i not in (position, position + 1)]
    # Processes are the runner's environment, not one of Beam's modes: see `_process_runner`.
    running = "multi_threading" if workers > 1 and mode == "threads" else "in_memory"
    return [
        *kept,
        f"--runner={_FN_API_RUNNER}",
        f"--direct_running_mode={running}",
        f"--direct_num_workers={workers}",
    ]


def _common_flags(beam_flags: Sequence[str]) -> list[str]:
    if any(flag in ("--save_main_session", "--no_save_main_session") for flag in beam_flags):
        return list(beam_flags)
    return [*beam_flags, "--no_save_main_session"]


def _process_runner() -> fn_runner.FnApiRunner:
    """Return a runner whose workers are `local_worker`: what `multi_processing` lacks."""
    # It warns that `in_memory` has one worker; the environment below has as many as asked for.
    logging.getLogger(fn_runner.__name__).setLevel(logging.ERROR)
    command = f"exec {shlex.quote(sys.executable)} -m {_WORKER_MODULE} {os.getpid()}"
    return fn_runner.FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))


class Watchdog:
    """Ends this process and its workers when a run makes no progress or a worker has died.

    Args:
        pulse: What counts as progress.
        expected: Worker processes that must be there once the run is under way.
    """

    def __init__(self, pulse: Pulse, expected: int) -> None:
        self._pulse = pulse
        self._expected = expected
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._workers: set[int] = set()
        self._complete_by = time.monotonic() + _START_S
        self._thread.start()

    def stop(self) -> None:
        """Stop watching: the run ended by itself."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        # Looking costs listings, which an object store charges for; missing a worker does not.
        look_every_s = min(_LOOK_S, self._pulse.stall_timeout_s / 10)
        last, since = self._pulse.state(), time.monotonic()
        looked = since
        while not self._stopped.wait(_POLL_S):
            fault = self._fault(time.monotonic())
            # Workers also end when the run does, well or not: then `stop` comes first.
            if fault is not None and not self._stopped.wait(_GRACE_S):
                self._end(fault)
            if time.monotonic() - looked < look_every_s:
                continue
            looked, state = time.monotonic(), self._pulse.state()
            if state != last:
                last, since = state, looked
            elif looked - since > self._pulse.stall_timeout_s:
                self._end(f"no row and no item finished for {self._pulse.stall_timeout_s:g} s")

    def _fault(self, now: float) -> str | None:
        """Return what is wrong with the workers. Beam would wait for a missing one for ever."""
        alive = workers(os.getpid())
        gone = self._workers - alive
        if alive and not self._workers:
            self._complete_by = now + _TOGETHER_S
        self._workers |= alive
        if gone:
            return f"worker process {gone.pop()} died"
        missing = self._expected - len(self._workers)
        if missing > 0 and now > self._complete_by:
            return f"{missing} worker processes died as they started"
        return None

    def _end(self, why: str) -> None:
        if self._stopped.is_set():
            return
        logger.error("%s; ended. What is done is kept: run the same command again to resume", why)
        for worker in workers(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        sys.stderr.flush()
        os._exit(STALLED)


def workers(pid: int) -> set[int]:
    """Return the living Beam workers among a process's children (none where /proc is absent)."""
    children = set()
    with suppress(FileNotFoundError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                children |= {int(child) for child in file.read().split()}
    return {child for child in children if _is_worker(child)}


def _is_worker(pid: int) -> bool:
    # Whoever runs a job in process may have children of its own, and every fetcher has decoders:
    # they come and go. A process that ended but was not waited for has an empty command line.
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return _WORKER_MODULE.encode() in file.read()
    except OSError:
        return False
