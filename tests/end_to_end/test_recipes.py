"""Every recipe plans with DRY_RUN, and does on toy data what it does at scale."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.cogvlm import tiny_models, toy_tokenizer
from helpers.paths import ROOT
from helpers.pipelines import laion_schemas, pack_files
from helpers.shards import toy_shards

from cogvlm.checkpoints import checkpoint
from cogvlm.model.config import Expert, ModelConfig
from cogvlm.model.variants.small import debug
from cogvlm.model.variants.vila import vila_7b
from cogvlm.training.watch import read_log
from examples import demo_spacy
from examples.corpus import encoded
from examples.scenes import scene
from examples.web import Page, serve
from shards import manifest
from shards.files.store import Store
from shards.lint import lint

RECIPES = ROOT / "examples" / "recipes"
NUM_SCENES = 24
FETCH = "--allow_address=127.0.0.1/32 --host_rate=127.0.0.1=2000 --shard_size=16"
TOY = (
    "--steps=2 --warmup_steps=0 --global_batch=2 --micro_batch=1 --workers=0 --device=cpu "
    "--precision=fp32 --image_size=56 --checkpoint_activations=none --ema=0"
)

pytestmark = pytest.mark.slow


def recipe(name: str, *flags: str, dry_run: bool = False, **environment: object) -> str:
    """Run a recipe and return what it said."""
    done = subprocess.run(
        ["bash", str(RECIPES / f"{name}.sh"), *flags],
        env={
            **os.environ,
            **{key: str(value) for key, value in environment.items()},
            "PYTHON": sys.executable,
            "TRAIN": f"{sys.executable} -m cogvlm.train",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "WORKERS": "1",
            "DRY_RUN": "1" if dry_run else "",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def planned_and_done(name: str, *flags: str, **environment: object) -> None:
    """Plan a recipe before anything is there, run it, plan it again: nothing may fail."""
    before = recipe(name, *flags, dry_run=True, **environment)
    assert not Path(str(environment["OUT"])).exists(), "a dry run wrote something"
    assert "+ " in before
    recipe(name, *flags, **environment)
    assert "can be planned once" not in recipe(name, *flags, dry_run=True, **environment)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    pages = {
        f"/{seed}.jpg": Page(encoded(scene(seed).image(), "JPEG")) for seed in range(NUM_SCENES)
    }
    with serve(pages) as base:
        yield base


def metadata(folder: Path, source: str, web: str, columns: dict[str, str], **values: Any) -> Path:
    """Write a corpus's metadata about the web, in its own schema and column names."""
    schema = laion_schemas.SCHEMAS[source]
    rows: list[dict[str, Any]] = [
        {
            columns.get("url", "url"): f"{web}/{seed}.jpg",
            columns.get("caption", "caption"): scene(seed).caption,
            **values,
        }
        for seed in range(NUM_SCENES)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "part-0.parquet")
    return folder


def samples(run: Path) -> int:
    """Return how many samples a run holds, which must keep the contract."""
    assert [str(each) for each in lint(Store(run))] == []
    return manifest.read(Store(run)).samples


def start(folder: Path, config: ModelConfig) -> Path:
    """Write a checkpoint with random weights and a tokenizer."""
    checkpoint.save(tiny_models.built(config), folder)
    toy_tokenizer.write(folder)
    return folder


def cogvlm() -> ModelConfig:
    return replace(debug(), vocab_size=512, max_positions=4096)


def last_step(run: Path) -> dict[str, Any]:
    return [line for line in read_log(run) if line["kind"] == "step"][-1]


def test_laion_400m(tmp_path: Path, web: str) -> None:
    names = {"url": "URL", "caption": "TEXT"}
    rows = metadata(tmp_path / "meta", "laion400m", web, names, NSFW="UNLIKELY", WIDTH=320,
                    HEIGHT=240)  # fmt: skip
    out = tmp_path / "out"
    planned_and_done("laion_400m", *FETCH.split(), METADATA=rows, OUT=out)
    assert samples(out) == NUM_SCENES


def test_coyo_700m(tmp_path: Path, web: str) -> None:
    scores = {"nsfw_score_opennsfw2": 0.1, "nsfw_score_gantman": 0.2, "width": 320, "height": 240}
    rows = metadata(tmp_path / "meta", "coyo700m", web, {"caption": "text"}, **scores)
    out = tmp_path / "out"
    planned_and_done("coyo_700m", *FETCH.split(), METADATA=rows, OUT=out)
    assert samples(out) == NUM_SCENES


def test_own_parquet(tmp_path: Path, web: str) -> None:
    rows = metadata(tmp_path / "meta", "generic", web, {})
    out = tmp_path / "out"
    planned_and_done("own_parquet", *FETCH.split(), METADATA=rows, OUT=out,
                     COLUMN_NAMES="url=url,caption=caption", NSFW_MISSING="keep")  # fmt: skip
    assert samples(out) == NUM_SCENES


def test_own_parquet_wants_to_know_about_missing_scores(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(RECIPES / "own_parquet.sh")],
        env={
            **os.environ,
            "METADATA": "m",
            "OUT": str(tmp_path),
            "COLUMN_NAMES": "url=u,caption=c",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "NSFW_MISSING: keep or drop" in done.stderr


def test_grounding_40m(tmp_path: Path, web: str) -> None:
    out = tmp_path / "out"
    given = {
        "METADATA": metadata(tmp_path / "meta", "generic", web, {}),
        "OUT": out,
        "DETECTOR": "blobs",
        "SPACY_MODEL": demo_spacy.build(tmp_path / "spacy"),
        "FILTER_FLAGS": FETCH,
        "SAMPLE": "0.99",
        "TARGET": NUM_SCENES,
        "DEVICES": " ",
    }
    told = recipe("grounding_40m", **given)
    assert "run this again with LABEL_ALL=1" in told
    assert not (out / "grounded").exists(), "the weeks began without a yes"
    recipe("grounding_40m", LABEL_ALL=1, **given)
    assert 0 < samples(out / "grounded") <= NUM_SCENES
    again = recipe("grounding_40m", LABEL_ALL=1, dry_run=True, **given)
    assert "can be planned once" not in again


def test_stages_1_and_2(tmp_path: Path) -> None:
    pairs = toy_shards.write_run(tmp_path / "pairs", toy_shards.captioned(8))
    boxes = toy_shards.write_run(tmp_path / "boxes", toy_shards.grounded(8), level="grounded")
    init = start(tmp_path / "start", cogvlm())
    runs = tmp_path / "runs"
    planned_and_done("stage1", *TOY.split(), PAIRS=pairs, INIT=init, OUT=runs)
    recipe("stage2", *TOY.split(), "--resize_at", "1", "28", PAIRS=pairs, GROUNDED=boxes,
           INIT=runs / "stage1", OUT=runs)  # fmt: skip
    assert [last_step(runs / name)["step"] for name in ("stage1", "stage2")] == [2, 2]


def test_sft_311k(tmp_path: Path) -> None:
    pack_files.sft_311k(tmp_path / "set")
    text = toy_shards.write_run(tmp_path / "text", toy_shards.texts(8), level="text")
    out = tmp_path / "out"
    planned_and_done("sft_311k", *TOY.split(), SET=tmp_path / "set", OUT=out, TEXT=text,
                     INIT=start(tmp_path / "start", cogvlm()))  # fmt: skip
    assert samples(out / "sft-311k") == 9
    assert last_step(out / "sft")["step"] == 2


def test_vila(tmp_path: Path) -> None:
    pack_files.mmc4(tmp_path / "mmc4")
    pack_files.llava_instruct(tmp_path / "llava")
    pack_files.flan(tmp_path / "flan")
    config = replace(cogvlm(), expert=Expert(layers="none"), projector=vila_7b().projector)
    out = tmp_path / "out"
    planned_and_done(
        "vila",
        *TOY.split(),
        PAIRS=toy_shards.write_run(tmp_path / "pairs", toy_shards.captioned(8)),
        MMC4=tmp_path / "mmc4" / "docs_shard_0.jsonl",
        MMC4_IMAGES=tmp_path / "mmc4" / "images",
        LLAVA=tmp_path / "llava" / "own.json",
        LLAVA_IMAGES=tmp_path / "llava" / "images",
        FLAN=tmp_path / "flan" / "f.jsonl",
        INIT=start(tmp_path / "start", config),
        OUT=out,
    )
    assert [last_step(out / f"stage{number}")["step"] for number in range(3)] == [2, 2, 2]
