"""The health gate: when it closes, how it probes, when it gives up."""

from __future__ import annotations

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.health import HealthGate

CONFIG = FetchConfig(health_window=100, health_min_events=20, health_pause_s=5.0, health_rounds=3)


def feed(gate: HealthGate, good: int, bad: int, prefix: str = "h") -> None:
    """Record look-ups of distinct hosts, failures first."""
    for n in range(good + bad):
        gate.record(f"{prefix}{n}", looked_up=n >= bad, connected=None)


def test_it_closes_above_the_share_and_not_before_enough_hosts() -> None:
    few, even, sick = HealthGate(CONFIG), HealthGate(CONFIG), HealthGate(CONFIG)
    feed(few, good=0, bad=19)
    feed(even, good=80, bad=0)
    feed(even, good=0, bad=20, prefix="dead")
    feed(sick, good=15, bad=5)
    assert (few.closed, even.closed, sick.closed) == (False, False, True)
    assert sick.complaint == "25 % of the last 20 look-ups failed"


def test_a_host_counts_once_and_old_hosts_are_forgotten() -> None:
    gate = HealthGate(CONFIG)
    feed(gate, good=30, bad=0)
    for _ in range(1000):
        gate.record("dead.example", looked_up=False, connected=None)
    assert not gate.closed
    feed(gate, good=200, bad=0, prefix="later")
    feed(gate, good=0, bad=20, prefix="dead")
    assert not gate.closed
    gate.record("straw", looked_up=False, connected=None)
    assert gate.closed


def test_connects_have_their_own_share() -> None:
    gate = HealthGate(CONFIG)
    for n in range(40):
        gate.record(f"h{n}", looked_up=True, connected=n % 2 == 0)
    assert not gate.closed
    gate.record("one more", looked_up=True, connected=False)
    assert gate.closed


def test_good_probes_reopen_it_and_a_full_window_must_pass() -> None:
    gate = HealthGate(CONFIG)
    feed(gate, good=0, bad=20)
    assert (gate.take_probe(1.0), gate.take_probe(1.0)) == (True, False)
    assert gate.probed(answered=1, asked=2, now=2.0) is None
    assert not gate.closed
    feed(gate, good=0, bad=99, prefix="again")
    assert not gate.closed
    gate.record("hundredth", looked_up=False, connected=None)
    assert gate.closed


def test_bad_probes_pause_and_then_stop() -> None:
    gate = HealthGate(CONFIG)
    feed(gate, good=0, bad=20)
    verdicts, waits = [], []
    for now in (0.0, 5.0, 10.0):
        assert gate.take_probe(now)
        verdicts.append(gate.probed(answered=1, asked=3, now=now))
        waits.append(gate.next_wake())
    assert verdicts[:2] == [None, None]
    assert waits == [5.0, 10.0, None]
    assert verdicts[2] is not None
    assert "100 % of the last 20 look-ups failed" in verdicts[2]
    assert not gate.closed  # the next run starts afresh
