"""One call of a fetcher of its own."""

from __future__ import annotations

from pipelines.fetch import FetchConfig, Fetcher, Request, Response


def fetch(config: FetchConfig, *urls: str, deadline_s: float = 20.0) -> list[Response]:
    """Fetch with a fetcher of its own; return responses in the order of `urls`."""
    responses: dict[int, Response] = {}
    fetcher = Fetcher(config)
    try:
        fetcher.run(
            [Request(number, url) for number, url in enumerate(urls)],
            handle=lambda request, response: responses.__setitem__(request.index, response),
            deadline_s=deadline_s,
        )
    finally:
        fetcher.close()
    return [responses[number] for number in range(len(urls))]
