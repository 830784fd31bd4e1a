"""The options of the download stage: how images are stored, and how they are fetched."""

from __future__ import annotations

from pipelines.harness.options import launch, natural, output, positive, seconds

DOWNLOAD_OPTIONS = (
    output(
        "download",
        "store",
        "profile of stored images: stage1 = 256 px, stage2 = 512 px, ground = 800/1333 px",
        choices=("stage1", "stage2", "ground"),
        default="stage2",
    ),
    output(
        "download", "image_size", "stored size in pixels, as resize_mode takes it", type=positive
    ),
    output(
        "download",
        "resize_mode",
        "as img2dataset names them; keep_ratio sizes the short side",
        choices=("no", "keep_ratio", "keep_ratio_largest", "border", "center_crop", "fixed"),
    ),
    output("download", "max_long_side", "longest stored side in pixels", type=positive),
    output("download", "encode_format", "format of stored images", choices=("jpg", "png", "webp")),
    output(
        "download", "encode_quality", "quality of stored JPEG and WebP, 1 to 100", type=positive
    ),
    output(
        "download",
        "resizer",
        "pillow, or torch (faster; needs torch on the workers)",
        choices=("pillow", "torch"),
        default="pillow",
    ),
    output(
        "download",
        "max_pixels",
        "most pixels of an image that is decoded",
        type=positive,
        default=64_000_000,
    ),
    output(
        "download",
        "max_body_bytes",
        "most bytes of a body that is fetched",
        type=positive,
        default=20_000_000,
    ),
    output(
        "download",
        "ignore_opt_out",
        "also fetch what X-Robots-Tag or tdm-reservation opts out",
        flag=True,
    ),
    output(
        "download",
        "fetch_engine",
        "groundwork, or img2dataset: no guards against hostile URLs (see --i_trust_these_urls)",
        choices=("groundwork", "img2dataset"),
        default="groundwork",
    ),
    launch("i_trust_these_urls", "accept that img2dataset's fetcher has no guards", flag=True),
    launch("connections", "concurrent transfers per process", type=positive, default=64),
    launch("fetch_deadline_s", "longest time for one fetch", type=seconds, default=20.0),
    launch("retries", "further attempts after a transient failure", type=natural, default=2),
    launch("host_rate", "requests per second: HOST=N, default=N", metavar="HOST=N,…"),
    launch("max_mbps", "megabits per second received, per process", type=seconds),
    launch("dns_servers", "resolvers to ask instead of the system's", metavar="ADDRESS,…"),
    launch("user_agent", "sent with every request; include a way to contact you"),
    launch("spool_dir", "local folder for images of unfinished shards"),
    launch("items_per_process", "concurrent shards per process", type=positive, default=2),
    launch("item_deadline_s", "longest time for one shard's fetches", type=seconds, default=1200.0),
)

RETRY_FAILED = launch(
    "retry_failed",
    "retry only the rows that failed transiently (dns_error, timeout, http_server_error, …)",
    flag=True,
)
