"""`--retry_failed`: passing failures are fetched again, successes are not, nothing else moves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import shards
from examples.web import Page, serve
from pipelines import download
from pipelines import filter as filter_job
from shards.files.store import Store
from shards.lint import lint


class _Pages(dict[str, Page]):
    asked: list[str]

    def get(self, path: str, default: object = None) -> object:
        self.asked.append(path)
        return super().get(path, default)


@pytest.fixture
def web() -> Iterator[tuple[str, _Pages]]:
    pages = _Pages()
    pages.asked = []
    with serve(pages) as base:
        yield base, pages


def _picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 90, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def _run(base: str, folder: Path) -> Path:
    names = ["good", "busy", "gone", "also"]
    table = pa.table(
        {
            "url": [f"{base}/{name}.jpg" for name in names],
            "caption": [f"a picture of a {name} thing" for name in names],
            "nsfw_score": [0.1] * len(names),
        }
    )
    pq.write_table(table, folder / "meta.parquet")
    arguments = [f"--input={folder}/meta.parquet", f"--output={folder}/run", "--shard_size=2"]
    allow = ["--allow_address=127.0.0.1/32", "--retries=0"]
    assert filter_job.main([*arguments, *allow]) == 0
    return folder / "run"


def test_passing_failures_are_fetched_again(web: tuple[str, _Pages], tmp_path: Path) -> None:
    base, pages = web
    pages |= {f"/{name}.jpg": Page(_picture(shade)) for shade, name in enumerate(["good", "also"])}
    pages["/busy.jpg"] = Page(b"later", 503)
    run = _run(base, tmp_path)
    before = {record.sample.key: record.image for record in shards.read(run)}
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["counts"]["download"]["left_out"] == {
        "http_not_found": 1,
        "http_server_error": 1,
    }

    pages["/busy.jpg"] = Page(_picture(200))
    pages.asked.clear()
    assert download.main([f"--output={run}", "--retry_failed", "--retries=0"]) == 0

    assert pages.asked == ["/busy.jpg"]
    after = {record.sample.key: record.image for record in shards.read(run)}
    assert before.items() < after.items()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["counts"]["download"]["left_out"] == {"http_not_found": 1}
    assert sorted(shard["generation"] for shard in manifest["shards"]) == [0, 1]
    assert list(lint(Store(run))) == []

    pages.asked.clear()
    assert download.main([f"--output={run}", "--retry_failed"]) == 0
    assert pages.asked == [], "nothing is left that another try may change"


def test_a_fault_of_ours_costs_its_row_and_fails_the_run_at_its_end(
    web: tuple[str, _Pages],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pipelines.download_job import guarded_fetch

    base, pages = web
    bodies = {f"/{name}.jpg": _picture(40 * at) for at, name in enumerate(("good", "busy", "gone"))}
    pages.update({path: Page(body) for path, body in bodies.items()}, **{"/also.jpg": Page(b"x")})
    sound = guarded_fetch.store_in_child

    def faulty(body: bytes, spec: object) -> object:
        if body == bodies["/busy.jpg"]:
            raise ZeroDivisionError("planted")
        return sound(body, spec)

    monkeypatch.setattr(guarded_fetch, "store_in_child", faulty)
    with pytest.raises(AssertionError):  # the run's own exit code is 1
        _run(base, tmp_path)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 1 rows ended with a fault of this program (internal_error)")
    run = tmp_path / "run"
    outcomes = [
        outcome
        for file in (run / "shards").glob("*.parquet")
        for outcome in pq.read_table(file).column("outcome").to_pylist()
    ]
    assert sorted(outcomes) == ["internal_error", "not_an_image", "success", "success"]
    assert list(lint(Store(run))) == []

    monkeypatch.undo()
    assert download.main([f"--output={run}", "--retry_failed"]) == 0
    assert len(list(shards.read(run))) == 3
