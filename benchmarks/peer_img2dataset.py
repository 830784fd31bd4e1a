"""img2dataset's own shard work for `fetch_vs_img2dataset`, measured after a warm-up.

    python -m benchmarks.peer_img2dataset FEW.parquet MANY.parquet OUT

One process, 32 threads, 256 px keep_ratio, JPEG at quality 95, webdataset output; all other
settings are its command's defaults. Its processes, logger and reader are left out, which favours
it. Prints how many CPU seconds more the long list took than the short one.
"""

from __future__ import annotations

import os
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq


def main() -> None:
    """Download both lists."""
    few, many, out = sys.argv[1:]
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    _shard(few, f"{out}-warm")
    marks = [time.process_time()]
    for urls, folder in ((few, f"{out}-few"), (many, out)):
        _shard(urls, folder)
        marks.append(time.process_time())
    sys.stdout.write(f"\n{marks[2] - marks[1] - (marks[1] - marks[0])}\n")


def _shard(urls: str, out: str) -> None:
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    os.makedirs(out, exist_ok=True)
    table = pq.read_table(urls).rename_columns(["url", "caption"])
    path = os.path.join(out, "0.feather")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    downloader = Downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=Resizer(256, "keep_ratio", True, encode_quality=95, encode_format="jpg"),
        thread_count=32,
        save_caption=True,
        extract_exif=True,
        output_folder=out,
        column_list=["url", "caption"],
        timeout=10,
        number_sample_per_shard=table.num_rows,
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"],
    )
    succeeded, _ = downloader((0, path))
    assert succeeded


if __name__ == "__main__":
    main()
