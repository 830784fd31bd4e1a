"""The default engine: our own guarded fetcher, judged by the head, stored by `shards.image`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipelines.download_job.engine import DecodedRules, EngineConfig
from pipelines.download_job.shard_facts import Facts
from pipelines.fetch import Request, Response, shared_fetcher
from shards.identity import canonical_urls
from shards.image import ImageError, Stored, StoreSpec, probe, store
from shards.outcomes import Outcome


def fetch(
    config: EngineConfig,
    rows: Sequence[Mapping[str, Any]],
    facts: Facts,
    deadline_s: float,
    careful: bool,
) -> Mapping[str, Any]:
    """Fetch the open rows of a shard; every one of them has its fact afterwards.

    Args:
        config: How to fetch and store.
        rows: The shard's planned rows.
        facts: Where to put what became of them.
        deadline_s: Seconds after which what is left gets the outcome `deadline`.
        careful: Decode each image in a child process.

    Returns:
        Clock facts of the fetching for the marker's `run` part.
    """
    rules = DecodedRules(config.rules)
    urls = canonical_urls(pa.array([row["url"] for row in rows], pa.string())).to_pylist()
    requests = []
    for index in facts.open_rows():
        if urls[index] is None:
            facts.fail(index, Outcome.BAD_URL, None)
        else:
            requests.append(Request(index, urls[index]))
    into_store = _careful_store if careful else store

    def handle(request: Request, response: Response) -> None:
        if response.outcome != Outcome.SUCCESS:
            facts.fail(request.index, response.outcome, response.message or None)
        else:
            _keep(request.index, response.body, facts, config.spec, rules, into_store)

    def inspect(_: Request, head: bytes) -> str | None:
        return _judge_head(head, config.spec.max_pixels, rules)

    stats = shared_fetcher(config.fetch).run(
        requests, handle=handle, inspect=inspect, deadline_s=deadline_s
    )
    return {"fetch": asdict(stats)}


def _careful_store(body: bytes, spec: StoreSpec) -> Stored:
    from shards.image.careful import store_in_child

    return store_in_child(body, spec)


def _keep(
    index: int,
    body: bytes,
    facts: Facts,
    spec: StoreSpec,
    rules: DecodedRules,
    into_store: Callable[[bytes, StoreSpec], Stored],
) -> None:
    try:
        stored = into_store(body, spec)
    except ImageError as error:
        facts.fail(index, error.outcome, error.detail, body)
        return
    reason = rules.reason(stored.original_width, stored.original_height)
    if reason is not None:
        facts.fail(index, reason, f"{stored.original_width} x {stored.original_height}", body)
    else:
        facts.succeed(index, hashlib.sha256(body).hexdigest(), stored)


def _judge_head(head: bytes, max_pixels: int, rules: DecodedRules) -> str | None:
    """Reject by the header alone: a bad shape costs no decoding, often no transfer either."""
    try:
        seen = probe(head)
    except ImageError as error:
        return error.outcome
    if seen is None:
        return None
    if seen.width * seen.height > max_pixels:
        return Outcome.TOO_MANY_PIXELS
    return rules.reason(seen.width, seen.height)
