"""Fetch URLs from the open web: bounded, polite, and never to a private address.

The rest of the system uses `shared_fetcher(config).run(...)`; see `fetcher.Fetcher.run`.
Importing this costs little: no thread, no socket and no libcurl state before the first
fetcher is made.
"""

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.faults import Faults
from pipelines.fetch.fetcher import Fetcher
from pipelines.fetch.results import Result
from pipelines.fetch.runs import FetchStats, NetworkUnhealthy, Request, Response
from pipelines.fetch.service import close_shared_fetcher, shared_fetcher

__all__ = [
    "Faults",
    "FetchConfig",
    "FetchStats",
    "Fetcher",
    "NetworkUnhealthy",
    "Request",
    "Response",
    "Result",
    "close_shared_fetcher",
    "shared_fetcher",
]
