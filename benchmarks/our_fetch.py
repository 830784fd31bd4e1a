"""Our whole job for `fetch_vs_img2dataset`, measured after a warm-up.

    python -m benchmarks.our_fetch FEW.parquet MANY.parquet OUT RESIZER

Runs filter, mix and download with Beam, plans and markers, which is more than the peer does. Prints
how many CPU seconds more the long list took than the short one.
"""

from __future__ import annotations

import sys
import time

from pipelines import filter as filter_job


def main() -> None:
    """Run both jobs."""
    few, many, out, resizer = sys.argv[1:]
    _run(few, f"{out}-warm", resizer)
    marks = [time.process_time()]
    for urls, folder in ((few, f"{out}-few"), (many, out)):
        _run(urls, folder, resizer)
        marks.append(time.process_time())
    sys.stdout.write(f"\n{marks[2] - marks[1] - (marks[1] - marks[0])}\n")


def _run(urls: str, out: str, resizer: str) -> None:
    options = (
        f"--input=generic={urls} --columns=url=URL,caption=TEXT --output={out} --preset=none "
        f"--store=stage1 --resizer={resizer} --connections=32 --retries=0 "
        "--allow_address=127.0.0.1/32 --host_rate=127.0.0.1=1000000"
    )
    assert filter_job.main(options.split()) == 0


if __name__ == "__main__":
    main()
