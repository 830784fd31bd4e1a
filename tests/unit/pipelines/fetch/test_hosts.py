"""Per-host limits with a clock of our own: nobody is asked too often, nobody is blocked."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.fetch.hosts import CATCH_UP_S, HostTable, rate_of, shipped_rates


def table(
    connections: int = 2, rate: float = 10.0, rates: dict[str, float] | None = None
) -> HostTable[str]:
    return HostTable(
        connections=connections,
        rate_per_s=rate,
        rates=rates or {},
        max_connections=8,
        back_off_cap_s=60.0,
    )


def take_all(hosts: HostTable[str], now: float) -> list[str]:
    taken = []
    while (item := hosts.take(now)) is not None:
        taken.append(item[1])
    return taken


def test_concurrency_is_limited_per_host_and_others_go_on() -> None:
    hosts = table(connections=2, rate=1000)
    for n, host in enumerate("aaaab"):
        hosts.offer(host, (n,), f"{host}{n}", 0.0)
    assert take_all(hosts, 0.0) == ["a0", "a1", "b4"]
    assert take_all(hosts, 1.0) == []
    hosts.release("a", 1.0)
    assert take_all(hosts, 1.0) == ["a2"]
    assert len(hosts) == 1


def test_rate_is_limited_and_the_next_wake_is_known() -> None:
    hosts = table(connections=8, rate=10)
    for n in range(4):
        hosts.offer("a", (n,), str(n), 0.0)
    assert take_all(hosts, 0.0) == ["0", "1"]  # one start may be caught up with
    assert hosts.next_wake() == pytest.approx(0.1)
    assert take_all(hosts, 0.05) == []
    assert take_all(hosts, 0.1) == ["2"]
    assert take_all(hosts, 0.2) == ["3"]
    assert hosts.next_wake() is None


def test_a_waiting_row_goes_before_later_rows_as_soon_as_its_host_is_free() -> None:
    hosts = table(connections=1, rate=1000)
    for n, host in enumerate("aabcd"):
        hosts.offer(host, (n,), f"{host}{n}", 0.0)
    assert hosts.take(0.0) == ("a", "a0")
    assert hosts.take(0.0) == ("b", "b2")
    hosts.release("a", 1.0)
    assert hosts.take(1.0) == ("a", "a1")
    assert hosts.take(1.0) == ("c", "c3")


def test_back_off_holds_the_host_doubles_without_a_number_and_is_capped() -> None:
    hosts = table(connections=8, rate=1000)
    for n in range(8):
        hosts.offer("a", (n,), str(n), 0.0)
    assert hosts.take(0.0) == ("a", "0")
    assert hosts.back_off("a", 0.0, 5.0) == 5.0
    assert (take_all(hosts, 4.9), hosts.next_wake()) == ([], 5.0)
    assert hosts.take(5.0) == ("a", "1")
    assert hosts.back_off("a", 10.0, None) == 12.0
    assert hosts.back_off("a", 12.0, None) == 16.0
    assert hosts.back_off("a", 16.0, 1e9) == 76.0
    hosts.answered("a")
    assert hosts.back_off("a", 100.0, None) == 101.0


def test_a_busier_host_gets_connections_in_proportion() -> None:
    hosts = table(connections=2, rate=10, rates={"cdn": 1000.0, "slow": 1.0, "mid": 25.0})
    for host in ("cdn", "slow", "mid"):
        for n in range(20):
            hosts.offer(host, (n,), host, 0.0)
    taken: list[str] = []
    for step in range(50):
        taken += take_all(hosts, float(step))
    assert {host: taken.count(host) for host in set(taken)} == {"cdn": 8, "slow": 1, "mid": 5}


RATES = {"a.org": 1.0, ".b.org": 2.0, ".c.b.org": 3.0}
LOOK_UPS = [
    ("a.org", 1.0),
    ("x.a.org", 9.0),
    ("b.org", 9.0),
    ("x.b.org", 2.0),
    ("x.c.b.org", 3.0),
    ("xb.org", 9.0),
    ("", 9.0),
]


@pytest.mark.parametrize(("host", "expected"), LOOK_UPS)
def test_rates_by_name_and_suffix(host: str, expected: float) -> None:
    assert rate_of(host, RATES, 9.0) == expected


def test_the_shipped_list_names_source_and_date_and_only_raises() -> None:
    rates = shipped_rates()
    assert len(rates) > 10
    assert min(rates.values()) > 10
    assert rate_of("cdn.shopify.com", rates, 10.0) > rate_of("example.org", rates, 10.0)


def test_removed_work_is_gone_and_the_rest_still_comes() -> None:
    hosts = table(connections=8, rate=1000)
    for n, host in enumerate("abab"):
        hosts.offer(host, (n,), f"{host}{n}", 0.0)
    assert sorted(hosts.remove(lambda work: work.startswith("a"), 0.0)) == ["a0", "a2"]
    assert take_all(hosts, 0.0) == ["b1", "b3"]


steps = st.lists(
    st.tuples(st.sampled_from(["offer", "take", "release", "wait"]), st.sampled_from("abc")),
    max_size=120,
)


@settings(max_examples=150)
@given(steps, st.integers(1, 3), st.sampled_from([2.0, 10.0, 40.0]))
def test_limits_hold_and_no_work_is_lost(
    plan: list[tuple[str, str]], connections: int, rate: float
) -> None:
    hosts = table(connections=connections, rate=rate)
    now, offered, taken = 0.0, 0, 0
    active: dict[str, int] = defaultdict(int)
    starts: dict[str, list[float]] = defaultdict(list)

    def take() -> bool:
        nonlocal taken
        item = hosts.take(now)
        if item is None:
            return False
        taken += 1
        active[item[0]] += 1
        starts[item[0]].append(now)
        assert active[item[0]] <= connections
        return True

    for step, host in plan:
        if step == "offer":
            hosts.offer(host, (offered,), f"{host}{offered}", now)
            offered += 1
        elif step == "take":
            take()
        elif step == "release" and active[host]:
            active[host] -= 1
            hosts.release(host, now)
        elif step == "wait":
            now += 0.03
        assert len(hosts) == offered - taken
    for _ in range(4 * offered):
        for host in "abc":
            while active[host]:
                active[host] -= 1
                hosts.release(host, now)
        while take():
            pass
        now = max(now, hosts.next_wake() or now)
    assert taken == offered
    for times in starts.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                span = times[last] - times[first] + CATCH_UP_S
                assert last - first <= rate * span + 1e-6
