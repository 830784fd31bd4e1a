"""`--fetch_engine=img2dataset`: what our engine keeps, it keeps, at the same sizes."""

import io
import os
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines.servers import WebServer
from helpers.shards.pictures import encoded, exif, photo
from PIL import Image

from examples.web import Page, serve
from filters import build_chain
from pipelines import filter as filter_job
from pipelines.download_job.fetch_img2dataset import fetch
from pipelines.download_job.guarded_fetch import fetch as guarded_fetch
from pipelines.download_job.shard import DownloadConfig
from pipelines.download_job.shard_facts import Facts
from pipelines.fetch import FetchConfig, close_shared_fetcher
from pipelines.filter_job.rules import decoded_rules
from pipelines.harness.leases import Running
from shards.files.commit import ItemId
from shards.image import StoreSpec
from shards.outcomes import Outcome

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("img2dataset") is None, reason="extra [img2dataset] is absent"),
]

FETCH = FetchConfig(
    allow_addresses=("127.0.0.0/8",),
    host_rate_per_s=1e6,
    host_connections=8,
    connections=8,
    retries=0,
    deadline_s=5.0,
    max_body_bytes=200_000,
)


def pages():
    wide = encoded(photo(700, 100), "PNG")
    whole = encoded(photo(400, 300, seed=9), "JPEG", quality=90)
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    alpha = Image.fromarray(np.dstack([photo(90, 60), np.full((60, 90), 80, np.uint8)]))
    deep = Image.fromarray(np.arange(80 * 60, dtype=np.uint16).reshape(60, 80) * 13)
    return {
        "/plain.jpg": Page(encoded(photo(400, 300), "JPEG", quality=90)),
        "/upright.jpg": Page(encoded(photo(201, 333), "JPEG", quality=90)),
        "/odd.jpg": Page(encoded(photo(301, 299), "JPEG", quality=90)),
        "/small.png": Page(encoded(photo(40, 30), "PNG")),
        "/photo.webp": Page(encoded(photo(300, 200), "WEBP")),
        "/grey.jpg": Page(encoded(Image.fromarray(photo(300, 200)).convert("L"), "JPEG")),
        "/alpha.png": Page(encoded(alpha, "PNG")),
        "/deep.png": Page(encoded(deep, "PNG")),
        "/long.jpg": Page(encoded(photo(900, 170), "JPEG")),
        "/turned.jpg": Page(encoded(photo(300, 200), "JPEG", exif=exif(6))),
        "/gone.jpg": Page(b"gone", 404),
        "/broken.jpg": Page(status=503),
        "/page.jpg": Page(b"<html>no picture</html>"),
        "/half.jpg": Page(whole[: len(whole) // 2]),
        "/cut.jpg": Page(whole[: len(whole) // 2], claimed_length=len(whole)),
        "/bomb.png": Page(encoded(Image.new("L", (9000, 9000)), "PNG")),
        "/big.png": Page(encoded(noise, "PNG")),
        "/wide.png": Page(wide),
        "/empty.jpg": Page(b""),
        "/mine.jpg": Page(whole, headers={"X-Robots-Tag": "noai"}),
    }


def config(**spec):
    chains = {"generic": build_chain("cogvlm", {})}
    return DownloadConfig(
        fetch=FETCH,
        spec=StoreSpec(**{"image_size": 128, "quality": 95, "max_long_side": 512, **spec}),
        engine="img2dataset",
        item_deadline_s=60.0,
        spool_dir=None,
        rules=decoded_rules(chains),
    )


def fill(engine, settings, urls, folder, deadline_s=60.0):
    facts = Facts(len(urls), str(folder / "spool"), Running(ItemId("download", "0")))
    try:
        clock = engine(settings, [{"url": url} for url in urls], facts, deadline_s)
        facts.close_open_rows()
        images = [facts.image(i) if fact.spooled else None for i, fact in enumerate(facts.rows)]
    finally:
        facts.close()
    return facts.rows, images, clock


def ours(settings, rows, facts, deadline_s):
    return guarded_fetch(settings, rows, facts, deadline_s)


@pytest.fixture
def own_fetcher():
    yield
    close_shared_fetcher()


@pytest.mark.parametrize("mode", ["keep_ratio", "center_crop", "border", "keep_ratio_largest"])
def test_keeps_what_our_engine_keeps(mode, tmp_path, own_fetcher):
    settings = config(resize_mode=mode)
    with serve(made := pages()) as base:
        urls = [base + path for path in made]
        expected, _, _ = fill(ours, settings, urls, tmp_path)
        actual, images, clock = fill(fetch, settings, urls, tmp_path)
    facts = {
        path: [(f.outcome, f.original, f.stored, f.stored and f.sha256) for f in pair]
        for path, *pair in zip(made, expected, actual, strict=True)
    }
    different = {path: pair for path, pair in facts.items() if pair[0] != pair[1]}
    assert different == {}
    assert Counter(f.outcome for f in actual)[Outcome.SUCCESS] == 10
    assert clock["fetch"]["outcomes"][Outcome.HTTP_NOT_FOUND] == 1
    for fact, image in zip(actual, images, strict=True):
        if image is not None:
            assert Image.open(io.BytesIO(image)).size == fact.stored


def test_png_and_webp(tmp_path):
    for kind, quality in (("png", 6), ("webp", 90)):
        with serve(pages()) as base:
            settings = config(encode_format=kind, quality=quality)
            rows, images, _ = fill(fetch, settings, [base + "/plain.jpg"], tmp_path)
        assert rows[0].stored == (171, 128)
        assert Image.open(io.BytesIO(images[0])).format == kind.upper()


def test_rows_left_at_the_deadline_are_counted_as_such(tmp_path):
    with WebServer(max_s=20) as server:
        base = f"http://127.0.0.1:{server.port}"
        urls = [f"{base}/status/404", f"{base}/drip", "not a url"]
        rows, _, _ = fill(fetch, config(), urls, tmp_path, deadline_s=2.0)
    actual = [fact.outcome for fact in rows]
    assert actual == [Outcome.HTTP_NOT_FOUND, Outcome.DEADLINE, Outcome.BAD_URL]


def test_fixed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--resize_mode fixed: img2dataset has no such mode"):
        fill(fetch, config(resize_mode="fixed"), ["http://127.0.0.1/"], tmp_path)


def test_a_missing_install_names_the_extra(tmp_path, monkeypatch):
    import importlib.metadata

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(ValueError, match=r"pip install 'groundwork-vl\[img2dataset\]'"):
        fill(fetch, config(), ["http://127.0.0.1/"], tmp_path)


def test_a_fault_of_ours_ends_the_item(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Facts, "succeed", full)
    with serve(pages()) as base, pytest.raises(OSError, match="No space left"):
        fill(fetch, config(), [base + "/plain.jpg", base + "/odd.jpg"], tmp_path)


def write_metadata(path, urls):
    rows = len(urls)
    table = pa.table(
        {
            "URL": urls,
            "TEXT": [f"a photograph of thing number {i}" for i in range(rows)],
            "WIDTH": pa.array([400] * rows, pa.int32()),
            "HEIGHT": pa.array([300] * rows, pa.int32()),
            "punsafe": pa.array([0.01] * rows, pa.float32()),
        }
    )
    pq.write_table(table, path)


def test_the_whole_job(tmp_path, capsys):
    metadata, out = tmp_path / "meta.parquet", tmp_path / "run"
    with serve(made := pages()) as base:
        write_metadata(metadata, [base + path for path in made])
        command = [
            "--input", f"laion2b_en_joined={metadata}", "--output", str(out), "--store", "stage1",
            "--allow_address", "127.0.0.0/8", "--retries", "0", "--fetch_engine=img2dataset",
            "--shard_size", "5",
        ]  # fmt: skip
        assert filter_job.main(command) == 2
        assert "--i_trust_these_urls" in capsys.readouterr().err
        assert not os.path.exists(out / "shards")
        before = [os.fstat(number) for number in (1, 2)]
        assert filter_job.main([*command, "--i_trust_these_urls"]) == 0
    after = [os.fstat(number) for number in (1, 2)]
    # Two shards at a time, and img2dataset turns the streams away around every image.
    assert [(s.st_dev, s.st_ino) for s in after] == [(s.st_dev, s.st_ino) for s in before]
    paths = sorted((out / "shards").glob("*.parquet"))
    assert len(paths) == 4
    sidecar = pa.concat_tables(pq.read_table(path) for path in paths)
    actual = Counter(sidecar["outcome"].to_pylist())
    assert actual[Outcome.SUCCESS] == 11  # big.png is below the default cap
    assert actual[Outcome.HTTP_NOT_FOUND] == 1
    assert sum(actual.values()) == len(made)
