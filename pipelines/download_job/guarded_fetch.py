"""The default engine: our own guarded fetcher, judged by the head, stored by `shards.image`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa

from pipelines.download_job.engine import DecodedRules, EngineConfig
from pipelines.download_job.shard_facts import Facts
from pipelines.fetch import Faults, Request, Response, Result, shared_fetcher
from shards.identity import canonical_urls
from shards.image import ImageError, Stored, StoreSpec, check_cost, check_size, probe
from shards.image.children import store_in_child
from shards.outcomes import Outcome

_FAULTS = Faults()  # of this process: each is logged once, however many shards meet it


def fetch(
    config: EngineConfig, rows: Sequence[Mapping[str, Any]], facts: Facts, deadline_s: float
) -> Mapping[str, Any]:
    """Fetch the open rows of a shard; every one of them has its fact afterwards.

    Args:
        config: How to fetch and store.
        rows: The shard's planned rows.
        facts: Where to put what became of them.
        deadline_s: Seconds after which what is left gets the outcome `deadline`.

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

    def handle(request: Request, response: Response) -> None:
        if response.outcome != Outcome.SUCCESS:
            facts.fail(request.index, response.outcome, response.message or None)
            return
        try:
            stored = _stored(response.body, config.spec, rules)
        except ImageError as error:
            facts.fail(request.index, error.outcome, error.detail, response.body)
        except _RuleError as error:
            facts.fail(request.index, error.reason, error.detail, response.body)
        except OSError:
            raise  # no process, no memory for one: not the picture's fault
        except Exception as error:  # noqa: BLE001  one picture never costs the others' rows
            fault = _FAULTS.result(error)
            facts.fail(request.index, fault.outcome, fault.message, response.body)
        else:
            facts.succeed(request.index, hashlib.sha256(response.body).hexdigest(), stored)

    def inspect(_: Request, head: bytes) -> str | None:
        verdict = _FAULTS.attempt(partial(_judge_head, head, config.spec.max_pixels, rules))
        return verdict.outcome if isinstance(verdict, Result) else verdict

    stats = shared_fetcher(config.fetch).run(
        requests, handle=handle, inspect=inspect, deadline_s=deadline_s
    )
    return {"fetch": asdict(stats)}


class _RuleError(Exception):
    """A rule of the metadata rejects what the picture turned out to be."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _stored(body: bytes, spec: StoreSpec, rules: DecodedRules) -> Stored:
    stored = store_in_child(body, spec)
    reason = rules.reason(stored.original_width, stored.original_height)
    if reason is not None:
        raise _RuleError(reason, f"{stored.original_width} x {stored.original_height}")
    return stored


def _judge_head(head: bytes, max_pixels: int, rules: DecodedRules) -> str | None:
    """Reject by the header alone: a bad shape costs no decoding, often no transfer either."""
    try:
        seen = probe(head)
        if seen is None:
            return None
        check_size(seen.width, seen.height, max_pixels)
        check_cost(seen)
    except ImageError as error:
        return error.outcome
    return rules.reason(seen.width, seen.height)
