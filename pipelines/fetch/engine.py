"""The fetch thread's work: which row starts, where a redirect leads, what is tried again.

In: runs submitted by any thread. Out: every row of them given to the decode pool once.
One thread owns all of this, so nothing here is locked; `submit`, `wake` and `close` are
the only doors for others.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from functools import partial

import certifi
import pycurl

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.delivery import DecodePool, Delivery
from pipelines.fetch.faults import Faults
from pipelines.fetch.guard import Guard
from pipelines.fetch.headers import Head, retry_after_s
from pipelines.fetch.health import HealthGate
from pipelines.fetch.hosts import HostTable, shipped_rates
from pipelines.fetch.limits import Limits
from pipelines.fetch.loop import Loop
from pipelines.fetch.resolver import Resolver
from pipelines.fetch.results import Result
from pipelines.fetch.runs import NetworkUnhealthy, Request, Run
from pipelines.fetch.tasks import Task, next_attempt, next_hop
from pipelines.fetch.transfer import Transfer
from pipelines.fetch.urls import Target, is_numeric, target
from shards.outcomes import Outcome

_LOG = logging.getLogger(__name__)
_IDLE_S = 1.0
_PROBE_NUMBER = -1


class Engine:
    """Everything the fetch thread holds."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._guard = Guard(config.ports, config.allow_addresses)
        self._ca_file = config.ca_file or certifi.where()
        self._loop = Loop(config.connections)
        self._resolver = Resolver(self._loop, config) if config.dns_servers else None
        self._hosts: HostTable[Task] = HostTable(
            connections=config.host_connections,
            rate_per_s=config.host_rate_per_s,
            rates={**shipped_rates(), **config.host_rates},
            max_connections=config.connections,
            back_off_cap_s=config.retry_after_cap_s,
        )
        self._gate = HealthGate(config)
        self.faults = Faults()
        self.pool = DecodePool(config, self.wake, self.faults)
        self._limits = Limits(config, self.pool)
        self._inbox: deque[tuple[Run, list[Task]]] = deque()
        self._runs: list[Run] = []
        self._idle: list[Transfer] = []
        self._active: dict[pycurl.Curl, tuple[Transfer, Task]] = {}
        self._resolving: dict[int, Task] = {}  # by id(task)
        self._later: list[tuple[float, int, Task]] = []  # retries by due time
        self._deadlines: list[tuple[float, int, Task]] = []  # of attempts begun, ended ones too
        self._serial = 0
        self._probes: list[bool] = []
        self._door = threading.Lock()
        self.closing = False

    # Doors for other threads.

    def submit(self, run: Run) -> None:
        """Take a run; its caller waits on `run.finished`.

        URLs are judged here, in the caller's thread: ten thousand of them would hold up
        every transfer of the fetch thread.
        """
        tasks = []
        refused = []
        for request in run.requests:
            where = self.faults.attempt(partial(target, request.url))
            if isinstance(where, Outcome):
                where = Result(where, "url", Head())
            if isinstance(where, Result):
                refused.append(Delivery(run, request, where))
            else:
                tasks.append(Task(run, request, where))
        with self._door:
            if self.closing:
                raise RuntimeError("the fetcher was closed")
            for delivery in refused:
                self.pool.put(delivery)
            self._inbox.append((run, tasks))
            self.wake()

    def wake(self) -> None:
        """Make the fetch thread look again. May be called from any thread."""
        if not self.closing:
            self._loop.wake()

    def stop(self) -> None:
        """End the loop soon. May be called from any thread."""
        with self._door:
            self.wake()
            self.closing = True

    # The fetch thread.

    def work(self) -> None:
        """Serve runs until `stop`; whatever goes wrong here is raised in every caller."""
        error: BaseException = RuntimeError("the fetcher was closed")
        try:
            while not self.closing:
                self._step()
        except BaseException as caught:  # noqa: BLE001  raised again in every thread that waits
            _LOG.error("the fetch thread failed", exc_info=caught)
            error = caught
        finally:
            with self._door:
                self.closing = True
            self._shut(error)

    def _step(self) -> None:
        now = time.monotonic()
        self._admit(now)
        self._end_runs(now)
        self._end_attempts(now)
        if self._gate.take_probe(now):
            self._send_probes(now)
        while self._may_start(now) and (taken := self._hosts.take(now)) is not None:
            self._begin(taken[1])
        if self._resolver is not None:
            self._resolver.tick(now)
        self._resume()
        for curl, code in self._loop.poll(self._wait_s(time.monotonic())):
            self._ended(curl, code)

    def _admit(self, now: float) -> None:
        while self._inbox:
            run, tasks = self._inbox.popleft()
            self._runs.append(run)
            for task in tasks:
                self._offer(task, now)
        while self._later and self._later[0][0] <= now:
            self._offer(heapq.heappop(self._later)[2], now)

    def _offer(self, task: Task, now: float) -> None:
        assert task.run is not None
        rank = (task.run.number, task.attempt, task.request.index)
        task.waits = True
        self._hosts.offer(task.target.host, rank, task, now)

    def _may_start(self, now: float) -> bool:
        transfers = len(self._active) + len(self._resolving)
        return not self._gate.closed and self._limits.may_start(now, transfers)

    def _resume(self) -> None:
        """Let paused transfers continue, oldest first, as far as memory allows."""
        for place, (transfer, _) in enumerate(list(self._active.values())):
            if not transfer.paused or not self._limits.may_grow(oldest=place == 0):
                continue
            if not transfer.resume():
                self._ended(transfer.curl, pycurl.E_WRITE_ERROR)

    def _has_room(self, transfer: Transfer, size: int) -> bool:
        oldest = next(iter(self._active)) is transfer.curl
        return self._limits.take(size, oldest=oldest)

    def _wait_s(self, now: float) -> float:
        """Return how long nothing but the network, or a wake-up, can call for work.

        A source of work that is forgotten here waits for up to `_IDLE_S`; one that counts while
        it may not start makes the loop spin on waits of zero. So hosts count only while the gate
        is open and the limits let a transfer start.
        """
        due = [run.deadline_at for run in self._runs]
        due += [heap[0][0] for heap in (self._later, self._deadlines) if heap]
        due += [at for at in (self._gate.next_wake(),) if at is not None]
        if self._resolver is not None and (at := self._resolver.next_wake()) is not None:
            due.append(at)
        if len(self._hosts) and not self._gate.closed:
            at = self._limits.next_wake(now)
            if at is None and self._may_start(now):
                at = self._hosts.next_wake()
            due += [] if at is None else [at]
        return min(_IDLE_S, max(0.0, min(due, default=now + _IDLE_S) - now))

    def _begin(self, task: Task) -> None:
        task.waits = False
        if task.ends_at is None:
            self._serial += 1
            task.ends_at = time.monotonic() + self._config.deadline_s
            heapq.heappush(self._deadlines, (task.ends_at, self._serial, task))
            if task.run is not None:
                task.run.attempts += 1
        host = task.target.host
        if self._resolver is None or is_numeric(host):
            self._launch(task, ())
            return
        self._resolving[id(task)] = task
        self._resolver.ask(host, lambda addresses: self._resolved(task, addresses))

    def _resolved(self, task: Task, addresses: tuple[str, ...]) -> None:
        if self._resolving.pop(id(task), None) is None:
            return  # its run has ended
        if addresses:
            self._launch(task, addresses)
        else:
            self._judge(task, Result(Outcome.DNS_ERROR, "no address", Head(), looked_up=False))

    def _launch(self, task: Task, addresses: tuple[str, ...]) -> None:
        assert task.ends_at is not None
        left_s = task.ends_at - time.monotonic()
        if left_s <= 0:
            self._judge(task, _late())
            return
        transfer = self._idle.pop() if self._idle else self._new_transfer()
        run, request = task.run, task.request
        look = None if run is None else partial(run.look, request)

        def start() -> None:
            probe = run is None
            transfer.start(task.target, left_s, look, addresses=addresses, head_only=probe)
            self._loop.add(transfer.curl)

        fault = self.faults.attempt(start)
        if fault is not None:
            transfer.close()
            self._judge(task, fault)
            return
        self._active[transfer.curl] = (transfer, task)

    def _new_transfer(self) -> Transfer:
        return Transfer(self._config, self._guard, self._ca_file, self._has_room)

    def _ended(self, curl: pycurl.Curl, code: int) -> None:
        transfer, task = self._active.pop(curl)
        held = transfer.held_bytes
        if transfer.local_error is not None:
            raise transfer.local_error  # out of sockets: not one row's fault, and every row's end
        result = self.faults.attempt(partial(transfer.finish, code))
        self._retire(transfer, held)
        self._limits.pay(result.received_bytes, time.monotonic())
        if task.run is not None:
            task.run.received_bytes += result.received_bytes
        self._judge(task, result)

    def _judge(self, task: Task, result: Result) -> None:
        """Decide what a finished hop means: a further hop, a further attempt, or the end."""
        if task.run is None:
            self._probed(result)
            return
        now = time.monotonic()
        host = task.target.host
        self._hosts.release(host, now)
        if task.attempt == 0:
            self._gate.record(host, looked_up=result.looked_up, connected=result.connected)
        free_at = now
        status = result.head.status
        if status == 429 or (status == 503 and result.head.retry_after is not None):
            delay = retry_after_s(result.head.retry_after, time.time())
            free_at = self._hosts.back_off(host, now, delay)
        elif status:
            self._hosts.answered(host)
        if task.run.cancelled:
            task.run.drop(1)
        else:
            self._go_on(task, result, free_at, now)

    def _go_on(self, task: Task, result: Result, free_at: float, now: float) -> None:
        """File the row for its next hop or attempt, or hand it over."""
        run = task.run
        assert run is not None
        if result.location is not None:
            end = self.faults.attempt(partial(next_hop, task, result, self._config))
            if end is None:
                run.redirects += 1
                self._offer(task, now)
                return
            result = end
        again = next_attempt(task, result, self._config, free_at=free_at, now=now)
        if again is None:
            self._deliver(run, task.request, result)
            return
        run.retries += 1
        self._serial += 1
        heapq.heappush(self._later, (again[0], self._serial, again[1]))

    def _deliver(self, run: Run, request: Request, result: Result) -> None:
        self.pool.put(Delivery(run, request, result))

    # Ends: of runs, by deadline or error; of the network; of the fetcher.

    def _end_runs(self, now: float) -> None:
        for run in [r for r in self._runs if r.finished.is_set()]:
            self._runs.remove(run)
        for run in [r for r in self._runs if r.cancelled or r.deadline_at <= now]:
            if not run.cancelled and self._gate.closed:
                run.fail(NetworkUnhealthy(f"{self._gate.complaint} when the deadline came"))
            self._leave(run, now)
            self._runs.remove(run)

    def _end_attempts(self, now: float) -> None:
        """End attempts that look up a name, or wait for a turn between redirects, for too long.

        libcurl keeps the deadline of transfers itself.
        """
        late = []
        while self._deadlines and self._deadlines[0][0] <= now:
            task = heapq.heappop(self._deadlines)[2]
            if self._resolving.pop(id(task), None) is not None:
                slow = Result(Outcome.DNS_ERROR, "look-up timed out", Head(), looked_up=False)
                self._judge(task, slow)
            elif task.waits:
                late.append(task)
        if late:
            ids = {id(task) for task in late}
            for task in self._hosts.remove(lambda waiting: id(waiting) in ids, now):
                self._go_on(task, _late(), now, now)

    def _leave(self, run: Run, now: float) -> None:
        """Take every row of a run that is not finished out of the machinery."""
        left = list(self._hosts.remove(lambda task: task.run is run, now))
        left += [task for _, _, task in self._later if task.run is run]
        self._later = [item for item in self._later if item[2].run is not run]
        heapq.heapify(self._later)
        for task in [t for t in self._resolving.values() if t.run is run]:
            del self._resolving[id(task)]
            self._hosts.release(task.target.host, now)
            left.append(task)
        for transfer, task in [a for a in self._active.values() if a[1].run is run]:
            del self._active[transfer.curl]
            self._retire(transfer, transfer.held_bytes)
            self._hosts.release(task.target.host, now)
            left.append(task)
        if run.cancelled:
            run.drop(len(left))
            return
        for task in left:
            message = f"after {task.last}" if task.last else "not finished in time"
            self._deliver(run, task.request, Result(Outcome.DEADLINE, message, Head()))

    def _retire(self, transfer: Transfer, held_bytes: int) -> None:
        self._loop.remove(transfer.curl)
        self._limits.release(held_bytes)
        self._idle.append(transfer)

    def _send_probes(self, now: float) -> None:
        _LOG.warning("fetching pauses: %s; probing", self._gate.complaint)
        self._probes = []
        for url in self._config.health_probe_urls:
            where = target(url)
            assert isinstance(where, Target), url
            self._begin(Task(None, Request(_PROBE_NUMBER, url), where))
        if not self._config.health_probe_urls:
            self._conclude(now)

    def _probed(self, result: Result) -> None:
        self._probes.append(result.head.status > 0)
        if len(self._probes) == len(self._config.health_probe_urls):
            self._conclude(time.monotonic())

    def _conclude(self, now: float) -> None:
        verdict = self._gate.probed(sum(self._probes), len(self._probes), now)
        if verdict is not None:
            for run in self._runs:
                run.fail(NetworkUnhealthy(verdict))

    def _shut(self, error: BaseException) -> None:
        """Fail all runs, free what this thread holds, and let the callers go."""
        self._runs += [run for run, _ in self._inbox]
        for run in self._runs:
            run.fail(error)
        try:
            for transfer in [*(t for t, _ in self._active.values()), *self._idle]:
                transfer.close()
            self.pool.close(timeout_s=5.0)
            if self._resolver is not None:
                self._resolver.close()
            self._loop.close()
        finally:
            for run in self._runs:
                run.finished.set()


def _late() -> Result:
    return Result(Outcome.TIMEOUT, "deadline of the attempt", Head())
