"""What the entry modules share: errors as one line, and the launcher's settings."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext

from pipelines.harness.accounting import InternalErrorsError
from pipelines.harness.failures import (
    JobFailedError,
    as_text,
    leave_out_reports,
    mendable,
    quiet_stderr,
)
from pipelines.harness.launch import Launch
from pipelines.harness.parsing import LOCAL_RUNNERS, Parsed
from shards import commandline
from shards.files.store import Store


def report_errors(action: Callable[[], None], *, verbose: bool = False) -> int:
    """Run a job's command; returns its exit code.

    What the user can mend becomes one line and code 2, a failed remote job, or rows that
    ended with a fault of ours, one line and code 1.

    Args:
        action: The command.
        verbose: Whether tracebacks are shown as well.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with nullcontext() if verbose else quiet_stderr():
        for handler in () if verbose else logging.getLogger().handlers:
            leave_out_reports(handler)
        try:
            return commandline.run(lambda: _mended(action, verbose))
        except (JobFailedError, InternalErrorsError) as error:
            return commandline.fail(str(error), code=1)


def _mended(action: Callable[[], None], verbose: bool) -> None:
    """Run a command; what the user can mend is a plain ValueError, also where a worker met it."""
    try:
        action()
    except Exception as error:
        text = error.text if isinstance(error, JobFailedError) else as_text(error)
        line = mendable(text) if isinstance(error, RuntimeError) else None
        if verbose and (line is not None or commandline.is_mendable(error)):
            traceback.print_exc()
        if line is None:
            raise
        raise ValueError(line) from error


def launch_of(parsed: Parsed, store: Store) -> Launch:
    """Return how to run in an output, from a parsed command line.

    Raises:
        ValueError: The options contradict each other.
    """
    values = parsed.values
    local = parsed.runner.rpartition(".")[2].lower() in LOCAL_RUNNERS
    if values.workers is not None and not local:
        raise ValueError(
            f"--workers is for local runs; {parsed.runner} takes --max_num_workers (Dataflow) or "
            "its own setting"
        )
    if values.task_index >= values.num_tasks:
        raise ValueError(
            f"--task_index {values.task_index} with --num_tasks {values.num_tasks}: give an index "
            f"from 0 to {values.num_tasks - 1}"
        )
    for removing in ("overwrite", "reselect"):
        if values.num_tasks > 1 and getattr(values, removing, False):
            raise ValueError(
                f"--{removing} with --num_tasks would remove what other launchers write"
            )
    return Launch(
        store=store,
        beam_flags=parsed.beam,
        local=local,
        workers=values.workers or 1,
        mode=values.worker_mode,
        items_per_process=values.items_per_process,
        num_tasks=values.num_tasks,
        task_index=values.task_index,
        lease_s=values.lease_s,
        stall_timeout_s=values.stall_timeout_s,
        launcher_pid=os.getpid() if local else None,
        allow_library_change=values.allow_library_change,
        gc_min_age_s=values.gc_min_age_s,
    )
