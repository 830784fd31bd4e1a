"""CPU milliseconds per image of the fetcher alone, against a server on this machine.

Goes in: the number of images. Comes out: one line per case with the CPU time of this process
(libcurl thread, callbacks, hand-over); the server runs in a child process and is not counted. For
comparison, a bare libcurl multi loop was published to take 0.19 ms over HTTP with a new connection
and 0.16 ms kept alive, with bodies of 193 KB.

    python -m benchmarks.fetch_floor --images 2000
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import pathlib
import sys
import time
from multiprocessing.connection import Connection

from pipelines.fetch import FetchConfig, Fetcher, Request


def serve(pipe: Connection) -> None:
    """Run a server in a child process until the parent stops it."""
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
    from helpers.pipelines.servers import WebServer

    with WebServer(max_requests=1_000_000, max_s=300) as server:
        pipe.send(server.port)
        pipe.recv()


def measure(port: int, images: int, path: str, connections: int) -> tuple[float, float]:
    """Return (CPU ms, wall ms) per image for `images` requests of one route."""
    config = FetchConfig(
        allow_addresses=("127.0.0.0/8",),
        connections=connections,
        host_connections=connections,
        host_rate_per_s=1e6,
        decode_threads=2,
    )
    fetcher = Fetcher(config)
    url = f"http://127.0.0.1:{port}{path}"
    requests = [Request(n, f"{url}{n}") for n in range(images)]
    cpu, wall = time.process_time(), time.monotonic()
    stats = fetcher.run(requests, handle=lambda *_: None, deadline_s=200)
    cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - wall
    fetcher.close()
    if stats.outcomes != {"success": images}:
        raise RuntimeError(f"the local server failed: {stats.outcomes}")
    return cpu_s * 1000 / images, wall_s * 1000 / images


def main() -> None:
    """Measure small and average bodies and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    child.start()
    port = ours.recv()
    for size, query in itertools.product((1_000, 193_000), ("keep", "close")):
        path = f"/good/{size}?{query}=1&n="
        cpu_ms, wall_ms = measure(port, options.images, path, options.connections)
        sys.stdout.write(
            f"{size:>7} bytes, {query:>5}: {cpu_ms:.3f} ms CPU, {wall_ms:.3f} ms wall per image\n"
        )
    ours.send("stop")
    child.join(5)


if __name__ == "__main__":
    main()
