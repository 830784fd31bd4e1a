"""What the entry modules share: errors as one line, and the launcher's settings."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable

from pipelines.fetch import NetworkUnhealthy
from pipelines.harness.failures import JobFailedError, mendable
from pipelines.harness.launch import Launch
from pipelines.harness.parsing import LOCAL_RUNNERS, Parsed
from pipelines.metadata.reader import UnreadableError
from shards.files.commit import ClaimVoidError
from shards.files.store import Store

__all__ = ["Parsed", "launch_of", "report_errors", "say"]


def report_errors(action: Callable[[], None]) -> int:
    """Run a command; returns its exit code.

    What the user can mend becomes one line and code 2, a failed remote job one line and code 1.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_not_beams_worker_log)
    try:
        action()
    except (ValueError, NetworkUnhealthy, ClaimVoidError) as error:
        if isinstance(error, ValueError) and type(error) not in (ValueError, UnreadableError):
            raise  # a library's own (Arrow's, JSON's, Unicode's): a fault of ours
        return _fail(str(error))
    except JobFailedError as error:
        told = mendable(error.text)
        return _fail(str(error), code=1) if told is None else _fail(told)
    except RuntimeError as error:
        told = mendable(str(error))
        if told is None:
            raise
        return _fail(told)
    return 0


def _not_beams_worker_log(record: logging.LogRecord) -> bool:
    """Leave out what Beam relays from local workers: an error reaches the launcher anyway."""
    return not record.getMessage().startswith("Worker: ")


def _fail(message: str, code: int = 2) -> int:
    one_line = " ".join(message.removesuffix("]").split(" [while running")[0].split())
    sys.stderr.write(f"error: {one_line}\n")
    return code


def say(lines: Iterable[str]) -> None:
    """Print lines for the user."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


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
    if local:
        values.workers = values.workers or 1
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
    )
