"""img2dataset as its users run it, for `fetch_vs_img2dataset`.

    python -m benchmarks.peer_img2dataset LIST.parquet OUT

One process, 32 threads, 256 px keep_ratio, JPEG at quality 95, webdataset output; all else default.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Download a list."""
    from img2dataset import download

    download(
        url_list=sys.argv[1],
        output_folder=sys.argv[2],
        input_format="parquet",
        url_col="URL",
        caption_col="TEXT",
        output_format="webdataset",
        processes_count=1,
        thread_count=32,
        image_size=256,
        resize_mode="keep_ratio",
        resize_only_if_bigger=True,
        encode_format="jpg",
        encode_quality=95,
        number_sample_per_shard=10_000,
    )


if __name__ == "__main__":  # it starts processes that import this module again
    main()
