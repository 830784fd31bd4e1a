"""A row on its way, and the two ways it may go on: another hop, another attempt.

In: a task and the `Result` of its last hop. Out: the changed task, or what it ends
with. Pure: the engine files what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.results import Result
from pipelines.fetch.runs import Request, Run
from pipelines.fetch.urls import Target, redirect_target, target
from shards.outcomes import TRANSIENT, Outcome


@dataclass(slots=True, eq=False)
class Task:
    """A row on its way, or a probe of the health gate (`run` is None)."""

    run: Run | None
    request: Request
    target: Target
    attempt: int = 0
    hops: int = 0
    last: str = ""  # outcome of the attempt before
    ends_at: float | None = None  # monotonic: this attempt's deadline, set as it begins
    waits: bool = False  # for its host's turn


def next_hop(task: Task, result: Result, config: FetchConfig) -> Result | None:
    """Send `task` where its redirect leads; return what it ends with instead, or None.

    Scheme and form of the new URL are judged here, its port and address when the socket is
    opened, the time that the attempt has left when it is this hop's turn.
    """
    assert result.location is not None
    task.hops += 1
    if task.hops > config.max_redirects:
        message = f"more than {config.max_redirects} redirects"
        return Result(Outcome.TOO_MANY_REDIRECTS, message, result.head)
    where = redirect_target(task.target.url, result.location)
    if isinstance(where, Outcome):
        return Result(where, "redirect", result.head)
    task.target = where
    return None


def next_attempt(
    task: Task, result: Result, config: FetchConfig, *, free_at: float, now: float
) -> tuple[float, Task] | None:
    """Return (when, task) of a further attempt after a failure, None if it is final.

    Args:
        task: what failed.
        result: how.
        config: number of attempts and the wait between them.
        free_at: when its host may be asked again; a wait past the run's deadline is
            not waited, so that the row keeps its true outcome.
        now: the present time of the same monotonic clock.
    """
    assert task.run is not None
    if result.outcome not in TRANSIENT or task.attempt >= config.retries:
        return None
    due = max(free_at, now + config.retry_delay_s * 2**task.attempt)
    start = target(task.request.url)
    if due >= task.run.deadline_at or isinstance(start, Outcome):
        return None
    again = Task(task.run, task.request, start, task.attempt + 1)
    again.last = result.outcome
    return due, again
